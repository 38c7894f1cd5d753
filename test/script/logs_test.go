// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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
