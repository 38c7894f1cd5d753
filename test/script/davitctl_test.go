// SPDX-License-Identifier: Apache-2.0

package script

import (
	"bufio"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
)

// busConfig is that of a system bus without policies: the daemon decides.
const busConfig = `<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/></policy></busconfig>`

// startBus runs a message bus for the host's daemons. It ends before the host
// is removed.
func (h *host) startBus(t *testing.T) {
	t.Helper()
	config := filepath.Join(h.dir, "bus.conf")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(busConfig, "SOCKET", h.dir+"/bus")), 0o600); err != nil {
		t.Fatal(err)
	}
	h.background(t, "dbus-daemon", "--config-file="+config, "--nofork")
	if err := os.Chmod(h.dir, 0o711); err != nil { //nolint:gosec // nobody is to reach the bus
		t.Fatal(err)
	}
	h.bus = "unix:path=" + h.dir + "/bus"
	testutil.Eventually(t, patience, "the bus to listen", func() bool {
		_, err := os.Stat(h.dir + "/bus")
		return err == nil
	})
}

// background runs a program in the host's network until the test ends.
func (h *host) background(t *testing.T, name string, args ...string) {
	t.Helper()
	c := exec.Command("nsenter", append([]string{"--net=/run/netns/" + h.inside, name}, args...)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // killed
	})
}

// startRegistry serves busybox as 127.0.0.1:5000/busybox:1.
func (h *host) startRegistry(t *testing.T) {
	t.Helper()
	for _, program := range []string{"docker-registry", "skopeo"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	config := filepath.Join(h.dir, "registry.yml")
	text := "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " + h.dir + "/registry}}\nhttp: {addr: \"127.0.0.1:5000\"}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.background(t, "docker-registry", "serve", config)
	testutil.Eventually(t, patience, "the registry to answer", func() bool {
		return exec.Command("nsenter", "--net=/run/netns/"+h.inside, "curl", "-s", "http://127.0.0.1:5000/v2/").Run() == nil
	})
	h.mustDocker(t, "save", "-o", h.dir+"/saved.tar", "busybox:latest")
	command(t, "nsenter", "--net=/run/netns/"+h.inside, "skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false",
		"docker-archive:"+h.dir+"/saved.tar", "docker://127.0.0.1:5000/busybox:1")
}

// TestDavitctl uses every command against a daemon that has been started a
// second time, with a container to restore.
func TestDavitctl(t *testing.T) {
	h := newHost(t)
	h.mustDocker(t, "run", "-d", "--name", "kept", "--restart", "always", "busybox", "sh", "-c", "echo kept; exec sleep 1000")
	if err := h.end(t, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.startBus(t)
	h.start(t)
	t.Cleanup(func() { h.bus = "" })
	h.startRegistry(t)
	h.scripts(t, "testdata/davitctl", "DBUS_SYSTEM_BUS_ADDRESS="+h.bus, "DAVITCTL="+filepath.Join(h.bin, "davitctl"), "AGENT="+h.fakeAgent(t))

	plot := h.davitctl(t, "boot-plot")
	for dec := xml.NewDecoder(strings.NewReader(plot)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is not XML: %v", err)
		}
	}
	for _, want := range []string{"serveapi", "restore (", "init_networkdriver (", "set up the default network (", "adopt containers (", "servebus", "acceptconnections (", "Ready after "} {
		if !strings.Contains(plot, want) {
			t.Errorf("the plot of the start has no %q", want)
		}
	}
}

// fakeAgent makes a pkttyagent that says that it was started, and returns its
// directory.
func (h *host) fakeAgent(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(h.dir, "agent")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "#!/bin/sh\necho agent \"$@\" >&2\nexec 3>&-\nexec sleep 1000\n"
	if err := os.WriteFile(filepath.Join(dir, "pkttyagent"), []byte(text), 0o755); err != nil { //nolint:gosec // nobody runs it
		t.Fatal(err)
	}
	return dir
}

// davitctl runs it, and fails the test when it does.
func (h *host) davitctl(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command(filepath.Join(h.bin, "davitctl"), args...)
	c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+h.bus)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("davitctl %s: %v\n%s", strings.Join(args, " "), err, h.tail())
	}
	return string(out)
}

// TestDavitctlIsInterrupted sends the signal of Ctrl-C: to a watch, which
// leaves the job alone, and to a run, whose job then ends.
func TestDavitctlIsInterrupted(t *testing.T) {
	h := newHost(t)
	if err := h.end(t, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.startBus(t)
	h.start(t)
	t.Cleanup(func() { h.bus = "" })
	h.background(t, "busybox", "nc", "-ll", "-p", "5000", "-e", "sleep", "1000") // a registry that does not answer
	testutil.Eventually(t, patience, "the registry to listen", func() bool {
		out, err := exec.Command("nsenter", "--net=/run/netns/"+h.inside, "ss", "-Hltn", "sport = :5000").Output()
		return err == nil && len(out) > 0
	})
	c := exec.Command(filepath.Join(h.bin, "davitctl"), "run", "127.0.0.1:5000/never")
	c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+h.bus)
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, patience, "the job to run", func() bool {
		return strings.Contains(h.davitctl(t, "list-jobs", "--state=running"), "never")
	})
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		t.Log(lines.Text())
	}
	if code := exitCode(c.Wait()); code != 130 {
		t.Errorf("exit status %d, not 130", code)
	}
	testutil.Eventually(t, patience, "the job to be cancelled", func() bool {
		return strings.Count(h.davitctl(t, "list-jobs", "--no-legend", "--state=finished"), "canceled") == 2 // it and the pull
	})
}
