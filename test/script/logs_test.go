// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
)

// TestSecretsStayOutOfTheLog gives the daemon secrets wherever a request has a
// place for them, has it fail and succeed with them at the level debug, and
// looks for them in all that was logged.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	h := newHost(t, "--insecure-registry", "127.0.0.1:5000")
	h.lockedRegistry(t)
	h.mustDocker(t, "tag", "busybox", "127.0.0.1:5000/private:1")
	secret := func(what string) string { return "planted-" + what + "-secret" }
	auth := base64.URLEncoding.EncodeToString([]byte(`{"username":"joe","password":"` + secret("password") + `","identitytoken":""}`))
	token := base64.URLEncoding.EncodeToString([]byte(`{"identitytoken":"` + secret("token") + `"}`))

	h.mustDocker(t, "run", "-d", "--name", "holds", "-e", "A="+secret("env"), "busybox", "sleep", "1000")
	h.mustDocker(t, "exec", "-e", "B="+secret("exec"), "holds", "true")
	if out, err := h.docker("exec", "-e", "B="+secret("exec"), "-u", "nosuchuser", "holds", "true"); err == nil {
		t.Errorf("exec of an unknown user: %s", out)
	}
	for _, args := range [][]string{
		{"run", "--rm", "-e", "A=" + secret("env"), "busybox", "nosuchcommand"},
		{"run", "--rm", "-e", "A=" + secret("env"), "--network", "nosuch", "busybox", "true"},
		{"create", "-e", "A=" + secret("env"), "--name", "holds", "busybox"},
	} {
		if out, err := h.docker(args...); err == nil {
			t.Errorf("docker %s: %s", strings.Join(args, " "), out)
		}
	}
	for _, header := range []string{auth, token} {
		out := h.curl(t, "-H", "X-Registry-Auth: "+header, "-X", "POST", "http://d/images/create?fromImage=127.0.0.1:5000/private&tag=1")
		if !strings.Contains(out, "pull access denied") && !strings.Contains(out, "cannot authenticate") {
			t.Errorf("a pull with a wrong password: %s", out)
		}
		h.curl(t, "-H", "X-Registry-Auth: "+header, "-X", "POST", "http://d/images/127.0.0.1:5000/private/push?tag=1")
		h.curl(t, "-H", "X-Registry-Auth: "+header, "http://d/images/search?term=127.0.0.1:5000/private")
	}
	h.curl(t, "-X", "POST", "-H", "Content-Type: application/x-tar", "--data-binary", "",
		"http://d/build?buildargs=%7B%22A%22%3A%22"+secret("build")+"%22%7D")
	h.curl(t, "-X", "POST", "-d", `{"Image":"busybox","Env":["A=`+secret("env")+`"],"HostConfig":5}`, "-H", "Content-Type: application/json", "http://d/containers/create")
	h.curl(t, "-X", "POST", "-d", `{"username":"joe","password":"`+secret("password")+`","serveraddress":"127.0.0.1:5000"}`, "-H", "Content-Type: application/json", "http://d/auth")
	for _, body := range []string{
		`{"Image":"busybox","Env":["=` + secret("env") + `"]}`, `{"Image":"busybox","Env":["` + secret("env") + `\u0000="]}`,
		`{"Image":"busybox","Env":"` + secret("env") + `"}`, `{"Image":"busybox","Labels":["` + secret("label") + `"]}`,
		`{"Image":"busybox","Env":["A=` + secret("env") + `"],"User":"nosuchuser:nosuchgroup","Hostname":"-"}`,
		`{"Image":"busybox","HostConfig":{"LogConfig":{"Type":"splunk","Config":{"splunk-token":"` + secret("token") + `"}}}}`,
	} {
		if answer := h.curl(t, "-X", "POST", "-H", "Content-Type: application/json", "-d", body, "http://d/containers/create"); strings.Contains(answer, `"Id"`) {
			var made struct {
				ID string `json:"Id"`
			}
			if err := json.Unmarshal([]byte(answer), &made); err != nil {
				t.Fatal(err)
			}
			h.curl(t, "-X", "POST", "http://d/containers/"+made.ID+"/start")
		}
	}
	h.curl(t, "-X", "POST", "http://d/images/create?repo=x&fromSrc=http://joe:"+secret("url")+"@127.0.0.1:1/x.tar")
	h.curl(t, "-X", "POST", "http://d/images/create?fromImage=joe:"+secret("url")+"@127.0.0.1:5000/x&tag=1")
	h.curl(t, "-X", "POST", "-H", "X-Registry-Auth: "+secret("header"), "http://d/images/create?fromImage=127.0.0.1:5000/private&tag=1")
	h.curl(t, "-X", "POST", "-H", "Content-Type: application/json", "-d", `{"Name":"v","Driver":"local","DriverOpts":{"o":"password=`+secret("volume")+`"}}`, "http://d/volumes/create")
	h.mustDocker(t, "rm", "-f", "holds")

	log, err := os.ReadFile(filepath.Join(h.dir, "davitd.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, seen := range []string{"type=create", "type=exec_create", "type=pull", "type=push", "path=/auth", "path=/build", "level=DEBUG"} {
		if !strings.Contains(string(log), seen) {
			t.Errorf("the log has no %s: what was to be looked at is not there", seen)
		}
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "planted-") || strings.Contains(line, auth) || strings.Contains(line, token) {
			t.Errorf("the log tells a secret: %s", line)
		}
	}
}

// lockedRegistry is a registry which nobody has the password of.
func (h *host) lockedRegistry(t *testing.T) {
	t.Helper()
	conf := filepath.Join(h.dir, "httpd.conf")
	if err := os.WriteFile(conf, []byte("/:nobody:knows\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("nsenter", "--net=/run/netns/"+h.inside, "busybox", "httpd", "-f", "-p", "127.0.0.1:5000", "-h", "/", "-c", conf, "-r", "registry")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // killed
	})
	testutil.Eventually(t, patience, "the registry to answer", func() bool {
		return exec.Command("nsenter", "--net=/run/netns/"+h.inside, "curl", "-s", "http://127.0.0.1:5000/v2/").Run() == nil
	})
}

// curl asks the daemon and returns the body of its answer.
func (h *host) curl(t testing.TB, args ...string) string {
	t.Helper()
	return command(t, "curl", append([]string{"-sS", "--unix-socket", h.socket()}, args...)...)
}

// TestLogNamesTheContainer finds the records of a container's jobs by its id,
// those of the job that makes it included.
func TestLogNamesTheContainer(t *testing.T) {
	h := newHost(t)
	id := h.mustDocker(t, "run", "-d", "--name", "named", "busybox", "sleep", "1000")
	h.mustDocker(t, "exec", "named", "true")
	h.mustDocker(t, "rm", "-f", id[:12])
	log, err := os.ReadFile(filepath.Join(h.dir, "davitd.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range []string{"create", "start", "allocate_interface", "exec_create", "exec_start", "release_interface", "delete"} {
		line := regexp.MustCompile(`(?m)^.*msg="job ends".* type=` + job + ` .*$`).Find(log)
		if !strings.Contains(string(line), " container=named container_id="+id+" ") {
			t.Errorf("the record of %s is: %s", job, line)
		}
	}
}

// TestRefusalIsAnErrorInTheJournal has a file play the journal, which takes the
// priority from the beginning of a line.
func TestRefusalIsAnErrorInTheJournal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stderr")
	c := exec.Command("sh", "-c", `exec 2>"$1"; export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec "$2" extra`,
		"sh", file, filepath.Join(binaries(t), "davitd"))
	if code := exitCode(c.Run()); code != 64 {
		t.Errorf("exit status %d", code)
	}
	if got, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(got), "<3>davitd: unexpected argument") {
		t.Errorf("it wrote %q, %v", got, err)
	}
}

// TestLogDefaults has a daemon with log options of its own: they hold where a
// container has none, and not for another driver.
func TestLogDefaults(t *testing.T) {
	h := newHost(t, "--log-driver", "local", "--log-opt", "max-size=4k", "--log-opt", "max-file=7", "--log-opt", "compress=false")
	if got := h.mustDocker(t, "info", "--format", "{{.LoggingDriver}}"); got != "local" {
		t.Errorf("docker info says %q", got)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"plain":  {nil, "local map[compress:false max-file:7 max-size:4k]"},
		"own":    {[]string{"--log-opt", "max-file=2"}, "local map[compress:false max-file:2 max-size:4k]"},
		"other":  {[]string{"--log-driver", "json-file"}, "json-file map[]"},
		"silent": {[]string{"--log-driver", "none"}, "none map[]"},
	} {
		h.mustDocker(t, append(append([]string{"create", "--name", name}, test.args...), "busybox", "true")...)
		if got := h.mustDocker(t, "inspect", "--format", "{{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Config}}", name); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	c := h.command("-H", "unix://"+h.socket()+"2", "--log-opt", "colour=red")
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "unknown log opt 'colour'") {
		t.Errorf("a daemon with an unknown option: %v\n%s", err, out)
	}
}

// TestLogsOverRestart has containers write while there is no daemon: both formats,
// those that run and those that have ended, and who follows goes on.
func TestLogsOverRestart(t *testing.T) {
	h := newHost(t)
	const count = `i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.01; done; echo err >&2; [ -e /stop ] || sleep 1000`
	for _, driver := range []string{"json-file", "local"} {
		for _, name := range []string{"run-", "ended-"} {
			h.mustDocker(t, "create", "--name", name+driver, "--log-driver", driver, "--log-opt", "max-size=1k", "--log-opt", "max-file=50", "busybox", "sh", "-c", count)
		}
		h.mustDocker(t, "cp", "/dev/null", "ended-"+driver+":/stop")
		h.mustDocker(t, "start", "run-"+driver, "ended-"+driver)
	}
	if err := h.end(t, syscall.SIGKILL); err == nil {
		t.Error("the daemon survived SIGKILL")
	}
	h.start(t)
	var want strings.Builder
	for n := range 400 {
		want.WriteString(strconv.Itoa(n+1) + "\n")
	}
	for _, driver := range []string{"json-file", "local"} {
		if out, err := h.stdout("logs", "--follow", "ended-"+driver); err != nil || out != want.String() {
			t.Errorf("%s, followed to its end: %v\n%s", driver, err, out)
		}
		testutil.Eventually(t, patience, "the one that runs has written all", func() bool {
			out, err := h.docker("logs", "--tail", "1", "run-"+driver)
			return err == nil && out == "err\n"
		})
		if out, err := h.stdout("logs", "run-"+driver); err != nil || out != want.String() {
			t.Errorf("%s, running: %v\n%s", driver, err, out)
		}
	}
}

// stdout is docker without what it writes to its standard error.
func (h *host) stdout(args ...string) (string, error) {
	c := exec.Command("docker", args...)
	c.Env = h.env()
	out, err := c.Output()
	return string(out), err
}
