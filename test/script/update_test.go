// SPDX-License-Identifier: Apache-2.0

package script

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
)

// limit reads a file of a process's cgroup: of a hierarchy of version 1, or of
// version 2.
func limit(t *testing.T, pid, controller, one, two string) string {
	t.Helper()
	own, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		file := filepath.Join("/sys/fs/cgroup", fields[1], fields[2], one)
		if fields[1] == "" {
			file = filepath.Join("/sys/fs/cgroup", fields[2], two)
		} else if fields[1] != controller {
			continue
		}
		p, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // the unified hierarchy beside those of version 1
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(p))
	}
	t.Fatalf("no cgroup has a %s: %s", one, own)
	return ""
}

// TestUpdateInterrupted kills the daemon when a container has its new limits and
// the record has not: nobody was told that it is done, so the next daemon gives
// the container those of the record.
func TestUpdateInterrupted(t *testing.T) {
	h := newHost(t)
	h.mustDocker(t, "run", "-d", "--name", "web", "--pids-limit", "40", "busybox", "sleep", "1000")
	pid := h.mustDocker(t, "inspect", "--format", "{{.State.Pid}}", "web")
	pids := func() string { return limit(t, pid, "pids", "pids.max", "pids.max") }
	memory := func() string { return limit(t, pid, "memory", "memory.limit_in_bytes", "memory.max") }
	before := memory()
	if got := pids(); got != "40" {
		t.Fatalf("pids.max is %s", got)
	}
	if err := h.end(t, syscall.SIGKILL); err == nil {
		t.Fatal("it was not killed")
	}
	c := h.command("-H", "unix://"+h.socket())
	c.Env = append(c.Environ(), "DAVIT_FAILPOINT=unrecorded")
	h.launch(t, c)
	testutil.Eventually(t, patience, "the daemon to answer", func() bool {
		answer, err := h.ping()
		return err == nil && strings.HasPrefix(answer, "HTTP/1.0 200 ")
	})
	if err := h.daemon.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, patience, "the fault to be armed", func() bool { return strings.Contains(h.tail(), "the fault comes now") })
	if out, err := h.docker("update", "--pids-limit", "50", "-m", "64m", "--memory-swap", "-1", "--restart", "always", "web"); err == nil {
		t.Fatalf("the update was answered: %s", out)
	}
	<-h.exited
	if pids() != "50" || memory() != "67108864" {
		t.Fatalf("the daemon died before the limits were set: pids.max %s, memory %s", pids(), memory())
	}
	h.start(t)
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.Pid}} {{.HostConfig.PidsLimit}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}", "web"); got != pid+" 40 0 no" {
		t.Errorf("the record says %s", got)
	}
	if pids() != "40" || memory() != before {
		t.Errorf("the container has pids.max %s and memory %s, not 40 and %s", pids(), memory(), before)
	}
	command(t, "kill", "-KILL", pid)
	if got := h.mustDocker(t, "wait", "web"); got != "137" {
		t.Errorf("it ended with %s", got)
	}
}
