// SPDX-License-Identifier: Apache-2.0

package script

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
)

func TestFault05_NamedDescriptorIsRefused(t *testing.T) {
	testutil.RequireRoot(t)
	for _, host := range []string{"fd://docker.socket", "fd://0", "fd://-1", "fd://3", "fd://*"} {
		dir := t.TempDir()
		out, code := davitd(t, "-H", host, "--data-root", dir+"/lib", "--exec-root", dir+"/run")
		if code != 64 || !strings.Contains(out, `"`+host+`"`) || strings.Contains(out, "goroutine ") {
			t.Errorf("%s: exit status %d: %s", host, code, out)
		}
	}
	dir := t.TempDir()
	if out, code := davitd(t, "-H", "fd://", "--data-root", dir+"/lib", "--exec-root", dir+"/run"); code == 0 || !strings.Contains(out, "fd://") || strings.Contains(out, "goroutine ") {
		t.Errorf("fd:// without sockets: exit status %d: %s", code, out)
	}
}

func TestFault07_HangupDoesNotKill(t *testing.T) {
	h := bareHost(t)
	h.start(t)
	for range 3 {
		if err := h.daemon.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	testutil.Eventually(t, patience, "the reload", func() bool { return strings.Contains(h.tail(), "configuration reloaded") })
	if answer, err := h.ping(); err != nil || !strings.HasPrefix(answer, "HTTP/1.0 200 ") {
		t.Errorf("after HUP it answers %q, %v", answer, err)
	}
}

// TestFault08_NetworkIsReleasedDuringTheShutdown ends a container while the
// daemon refuses jobs already: what it published must go, and its exit be known.
func TestFault08_NetworkIsReleasedDuringTheShutdown(t *testing.T) {
	h := newHost(t)
	before := h.rules(t)
	h.slowStop(t, "-p", "8080:80")
	if now := h.rules(t); now == before || !strings.Contains(now, "8080") {
		t.Fatalf("the port is not published: %s", now)
	}
	pid := h.mustDocker(t, "inspect", "--format", "{{.State.Pid}}", "stubborn")
	if err := h.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, patience, "new jobs to be refused", func() bool {
		out, err := h.docker("create", "busybox")
		return err != nil && strings.Contains(out, "shutting down")
	})
	command(t, "kill", "-KILL", pid)
	if err := <-h.exited; err != nil {
		t.Errorf("the daemon ended with %v\n%s", err, h.tail())
	}
	if now := h.rules(t); now != before {
		t.Errorf("the rules were\n%s\nand are\n%s", before, now)
	}
	h.start(t)
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "stubborn"); got != "exited 137" {
		t.Errorf("the container is %s", got)
	}
}

// TestFault10_StopWithoutTimeoutWaits gives the program the second that it
// needs: by REST, as the CLI always says how long.
func TestFault10_StopWithoutTimeoutWaits(t *testing.T) {
	h := newHost(t)
	for _, verb := range []string{"stop", "restart"} {
		h.mustDocker(t, "run", "-d", "--name", verb+"ped", "busybox", "sh", "-c", `trap "sleep 1; echo bye; exit 5" TERM; echo ready; while :; do sleep 0.05; done`)
		testutil.Eventually(t, patience, "the handler to be in place", func() bool { return h.mustDocker(t, "logs", verb+"ped") == "ready" })
		begin := time.Now()
		h.curl(t, "--fail", "-X", "POST", "http://d/containers/"+verb+"ped/"+verb)
		if took := time.Since(begin); took < time.Second || took > 8*time.Second {
			t.Errorf("%s took %v", verb, took)
		}
		if log := h.mustDocker(t, "logs", verb+"ped"); !strings.Contains(log, "bye") {
			t.Errorf("%s: the program was killed at once: %q", verb, log)
		}
	}
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.ExitCode}}", "stopped"); got != "5" {
		t.Errorf("exit code %s, want 5", got)
	}
}

func TestFault11_WaitForAnUnknownContainerIs404(t *testing.T) {
	h := bareHost(t)
	h.start(t)
	for _, condition := range []string{"", "?condition=next-exit", "?condition=removed"} {
		got := h.curl(t, "-X", "POST", "-w", " %{http_code}", "http://d/containers/nobody/wait"+condition)
		if !strings.HasSuffix(got, " 404") || !strings.Contains(got, "No such container: nobody") {
			t.Errorf("wait%s: %s", condition, got)
		}
	}
}
