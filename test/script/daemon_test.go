// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
)

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// davitd runs the daemon's binary to its end.
func davitd(t *testing.T, args ...string) (string, int) {
	t.Helper()
	out, err := exec.Command(filepath.Join(binaries(t), "davitd"), args...).CombinedOutput()
	return string(out), exitCode(err)
}

func TestBadArgumentsExit2AndTouchNothing(t *testing.T) {
	testutil.RequireRoot(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "daemon.json")
	base := []string{"--data-root", dir + "/lib", "--exec-root", dir + "/run", "-H", "unix://" + dir + "/s"}
	for _, test := range []struct {
		name, config string
		args         []string
		want         string
	}{
		{"unknown flag", "", []string{"--nosuch"}, "nosuch"},
		{"unknown key", `{"nosuch": 1}`, nil, "nosuch"},
		{"not JSON", `{`, nil, "daemon.json"},
		{"flag and file", `{"log-level": "debug"}`, []string{"--log-level", "info"}, "log-level"},
		{"wrong type", `{"mtu": "many"}`, nil, "mtu"},
		{"bad level", "", []string{"--log-level", "loud"}, "loud"},
		{"bad bip", "", []string{"--bip", "nonsense"}, "nonsense"},
		{"relative root", "", []string{"--data-root", "here"}, "here"},
		{"plain TCP", "", []string{"-H", "tcp://127.0.0.1:2375"}, "tcp"},
		{"icc without iptables", "", []string{"--icc=false", "--iptables=false"}, "icc"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string(nil), base...)
			if test.name == "relative root" {
				args = args[2:]
			}
			if test.name == "plain TCP" {
				args = args[:4]
			}
			if test.config != "" {
				if err := os.WriteFile(file, []byte(test.config), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config-file", file)
			}
			out, code := davitd(t, append(args, test.args...)...)
			if code != 64 || !strings.Contains(out, test.want) || strings.Count(out, "\n") > 2 {
				t.Errorf("exit status %d, output %q; want 64 and one line with %q", code, out, test.want)
			}
			if left, _ := filepath.Glob(dir + "/[lrs]*"); len(left) > 0 {
				t.Errorf("made %v", left)
			}
		})
	}
}

// TestDaemonDies kills the daemon while containers run: they go on, and the
// next daemon knows them all, those too that ended meanwhile.
func TestDaemonDies(t *testing.T) {
	h := newHost(t)
	h.mustDocker(t, "run", "-d", "--name", "runs", "-p", "8080:80", "busybox", "sh", "-c", "httpd -h /var/www; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done")
	h.mustDocker(t, "run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 1; exit 42")
	h.mustDocker(t, "run", "-d", "--rm", "--name", "goes", "busybox", "sleep", "1")
	again := h.mustDocker(t, "run", "-d", "--name", "again", "--restart", "always", "busybox", "sh", "-c", "echo round; sleep 0.5; exit 1")
	pid := h.mustDocker(t, "inspect", "--format", "{{.State.Pid}}", "runs")
	before := h.rules(t)
	if code := exitCode(h.end(t, syscall.SIGKILL)); code != -1 {
		t.Fatalf("exit status %d", code)
	}
	testutil.Eventually(t, patience, "the container to end without a daemon", func() bool {
		out, _ := exec.Command("pgrep", "-f", "sleep 1; exit 42").Output()
		return len(out) == 0
	})
	testutil.Eventually(t, patience, "the restart policy to be followed without a daemon", func() bool {
		log, err := os.ReadFile(h.dir + "/lib/containers/" + again + "/" + again + "-json.log")
		return err == nil && strings.Count(string(log), "round") > 1
	})
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Fatal("the container died with the daemon:", err)
	}
	h.start(t)
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.Pid}} {{.State.Status}}", "runs"); got != pid+" running" {
		t.Errorf("the container that ran is now %q, was %s", got, pid)
	}
	if got := h.mustDocker(t, "wait", "ends"); got != "42" {
		t.Errorf("exit code %q, want 42", got)
	}
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "ends"); got != "exited 42" {
		t.Errorf("got %q", got)
	}
	testutil.Eventually(t, patience, "the --rm container to be removed", func() bool {
		_, err := h.docker("inspect", "goes")
		return err != nil
	})
	if got := h.mustDocker(t, "inspect", "--format", "{{.RestartCount}}", "again"); got == "0" {
		t.Error("the restarts without a daemon were not counted")
	}
	if after := h.rules(t); after != before {
		t.Errorf("the firewall was\n%s\nand is\n%s", before, after)
	}
	out := command(t, "nsenter", "--net=/run/netns/"+h.outside, "wget", "-qO-", "http://"+insideAddress+":8080/")
	if !strings.Contains(out, "hello") {
		t.Errorf("published port: %q", out)
	}
	h.mustDocker(t, "exec", "runs", "true")
	log := h.mustDocker(t, "logs", "runs")
	for i, line := range strings.Split(log, "\n") {
		if want := "line " + strconv.Itoa(i+1); line != want {
			t.Fatalf("line %d of the log is %q", i+1, line)
		}
	}
	h.mustDocker(t, "stop", "-t", "1", "runs")
	if strings.Contains(h.rules(t), "8080") {
		t.Error("the port is still published")
	}
}

// TestPausedOutlivesDaemon kills the daemon, and the monitor, of containers
// that are paused: frozen processes of cgroup v1 do not even die.
func TestPausedOutlivesDaemon(t *testing.T) {
	h := newHost(t)
	loop := []string{"busybox", "sh", "-c", "i=0; while :; do echo $((i=i+1)); sleep 0.02; done"}
	stays := h.mustDocker(t, append([]string{"run", "-d", "--name", "stays"}, loop...)...)
	orphan := h.mustDocker(t, append([]string{"run", "-d", "--name", "orphan"}, loop...)...)
	h.mustDocker(t, "pause", "stays", "orphan")
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(h.dir + "/lib/containers/" + stays + "/" + stays + "-json.log")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	if code := exitCode(h.end(t, syscall.SIGKILL)); code != -1 {
		t.Fatalf("exit status %d", code)
	}
	var state struct{ Holder int }
	text, err := os.ReadFile(h.dir + "/run/containers/" + orphan + "/state.json")
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil || state.Holder == 0 {
		t.Fatal(err, string(text))
	}
	if err := syscall.Kill(state.Holder, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.start(t)
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.Status}}", "stays"); got != "paused" {
		t.Errorf("the paused container is %q", got)
	}
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "orphan"); got != "exited 137" {
		t.Errorf("the one whose monitor was killed is %q", got)
	}
	if after := size(); after != before {
		t.Errorf("its log has grown from %d to %d bytes", before, after)
	}
	h.mustDocker(t, "unpause", "stays")
	testutil.Eventually(t, patience, "the container to go on", func() bool { return size() > before })
}

// rules is the firewall without its counters.
func (h *host) rules(t testing.TB) string {
	t.Helper()
	out := command(t, "nsenter", "--net=/run/netns/"+h.inside, "iptables-save")
	var lines []string
	for _, l := range strings.Split(out, "\n") {
		l, _, _ = strings.Cut(l, " [")
		if !strings.HasPrefix(l, "#") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// TestConnectionSurvives holds a TCP connection through a published port
// while the daemon is killed and started.
func TestConnectionSurvives(t *testing.T) {
	h := newHost(t)
	h.mustDocker(t, "run", "-d", "--name", "echo", "-p", "7000:7000", "busybox", "nc", "-ll", "-p", "7000", "-e", "cat")
	c := exec.Command("nsenter", "--net=/run/netns/"+h.outside, "busybox", "nc", insideAddress, "7000")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, patience, "the server to listen", func() bool {
		out, err := h.docker("exec", "echo", "netstat", "-ltn")
		return err == nil && strings.Contains(out, ":7000")
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(out, buf); err != nil || string(buf) != text {
			t.Fatalf("got %q %v", buf, err)
		}
	}
	say("before\n")
	h.end(t, syscall.SIGKILL)
	say("without\n")
	h.start(t)
	say("after\n")
	in.Close()
	_ = c.Process.Kill()
	_ = c.Wait()
}

// TestTwoEngines runs a second, wholly separate engine beside the first.
func TestTwoEngines(t *testing.T) {
	a := newHost(t)
	a.mustDocker(t, "run", "-d", "--name", "same", "-p", "8080:80", "busybox", "httpd", "-f", "-h", "/var/www")
	b := a.neighbour(t)
	b.mustDocker(t, "run", "-d", "--name", "same", "-p", "8081:80", "busybox", "httpd", "-f", "-h", "/var/www")
	out, err := b.docker("run", "--name", "taken", "-p", "8080:80", "busybox", "true")
	if err == nil || !strings.Contains(out, "already in use") {
		t.Errorf("the other engine's port: %v %s", err, out)
	}
	for _, port := range []string{"8080", "8081"} {
		if got := command(t, "nsenter", "--net=/run/netns/"+a.outside, "wget", "-qO-", "http://"+insideAddress+":"+port); !strings.Contains(got, "hello") {
			t.Errorf("port %s: %q", port, got)
		}
	}
	if got := b.mustDocker(t, "network", "inspect", "bridge", "--format", `{{index .Options "com.docker.network.bridge.name"}}`); got == "davit0" {
		t.Error("both engines have the link davit0")
	}
	before := a.rules(t)
	b.mustDocker(t, "rm", "-f", "same", "taken")
	b.end(t, syscall.SIGKILL)
	b.start(t)
	b.end(t, syscall.SIGTERM)
	if after := a.rules(t); !strings.Contains(after, "--dport 8080") || strings.Contains(after, "--dport 8081") {
		t.Errorf("the firewall was\n%s\nand is\n%s", before, after)
	}
	if got := a.mustDocker(t, "ps", "--format", "{{.Names}} {{.State}}"); got != "same running" {
		t.Errorf("the first engine's container: %q", got)
	}
	a.mustDocker(t, "exec", "same", "true")
}

// TestFullDisk fills a small data root: errors are clear, nothing is left, and
// the engine goes on once there is space again.
func TestFullDisk(t *testing.T) {
	testutil.RequireRoot(t)
	mnt, err := os.MkdirTemp("", "davit-full-") //nolint:usetesting // t.TempDir would empty a mount that cannot be unmounted
	if err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", mnt)
	t.Cleanup(func() {
		command(t, "umount", mnt)
		_ = os.Remove(mnt)
	})
	h := newHost(t, "--data-root", mnt)
	big := filepath.Join(h.dir, "big")
	if err := os.MkdirAll(big, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "dd", "if=/dev/urandom", "of="+big+"/f", "bs=1M", "count=20", "status=none")
	command(t, "tar", "-C", big, "-cf", h.dir+"/big.tar", ".")
	used := func() string {
		var st syscall.Statfs_t
		if err := syscall.Statfs(mnt, &st); err != nil {
			t.Fatal(err)
		}
		return strconv.Itoa(int((st.Blocks - st.Bfree) * uint64(st.Bsize) >> 20))
	}
	before := used()
	out, err := h.docker("import", h.dir+"/big.tar", "big")
	if err == nil || !strings.Contains(out, "no space left") {
		t.Errorf("import on a full disk: %v %s", err, out)
	}
	if after := used(); after != before {
		t.Errorf("%s MiB used before and %s after", before, after)
	}
	if out, err := h.docker("images", "-q", "big"); err != nil || out != "" {
		t.Error(out, err)
	}
	h.mustDocker(t, "run", "--rm", "busybox", "true")
}

// TestSocketOfALiveDaemon is not taken over.
func TestSocketOfALiveDaemon(t *testing.T) {
	h := newHost(t)
	out, code := davitd(t, "-H", "unix://"+h.socket(), "--data-root", h.dir+"/lib2", "--exec-root", h.dir+"/run2")
	if code == 0 || !strings.Contains(out, h.socket()) {
		t.Errorf("exit status %d: %s", code, out)
	}
	out, code = davitd(t, "-H", "unix://"+h.dir+"/other.sock", "--data-root", h.dir+"/lib", "--exec-root", h.dir+"/run2")
	if code == 0 || !strings.Contains(out, h.dir+"/lib") {
		t.Errorf("the same data root: exit status %d: %s", code, out)
	}
	c, err := net.Dial("unix", h.socket())
	if err != nil {
		t.Fatal("the live daemon's socket is gone:", err)
	}
	c.Close()
}
