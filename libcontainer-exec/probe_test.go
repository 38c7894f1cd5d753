// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// TestProbeThatDoesNotBegin has execve(2) of a probe wait for somebody who holds a
// lease on the program (fcntl(2)). It is ended when its time is over, and so is the
// container, with such a probe on its way.
func TestProbeThatDoesNotBegin(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(h.root, "image/bin/slow")
	h.must(os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	for name, timeout := range map[string]time.Duration{"time is over": 200 * time.Millisecond, "container ends": time.Hour} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			l := h.launch("while sleep 1; do :; done", func(l *davit.Launch) {
				l.Container.Config.Healthcheck = &davit.Healthcheck{Test: []string{"CMD", "/bin/slow"}, Interval: 10 * time.Millisecond, Timeout: timeout, Retries: 1}
			})
			f, err := os.Open(path)
			h.must(err)
			defer f.Close()
			// Nobody reads the signal that asks for the lease: the kernel takes it back after
			// /proc/sys/fs/lease-break-time, which is 45 seconds.
			_, err = unix.FcntlInt(f.Fd(), unix.F_SETSIG, int(unix.SIGURG))
			h.must(err)
			_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
			h.must(err)
			p := h.start(l)
			if timeout < time.Minute {
				u := h.next(p, davit.StatusRunning)
				for u.Health.Status == davit.HealthStarting {
					u = h.next(p, davit.StatusRunning)
				}
				if got := u.Health.Log[0]; u.Health.Status != davit.HealthUnhealthy || got.ExitCode != -1 || got.Output != "Health check exceeded timeout (200ms)" || got.End.Sub(got.Start) > 20*time.Second {
					t.Errorf("health %+v", u.Health)
				}
			} else {
				h.until("the probe to wait", func() bool { return len(waiting(t, l.Container.ID)) > 0 })
			}
			begin := time.Now()
			h.must(p.Signal(t.Context(), 9, true))
			h.await(p)
			if d := time.Since(begin); d > 20*time.Second {
				t.Errorf("it ended after %v", d)
			}
			h.until("nothing of the probe is left", func() bool { return len(waiting(t, l.Container.ID)) == 0 })
		})
	}
}

// waiting returns the processes that davit-enter has begun for a container and that
// have not executed a program yet.
func waiting(t *testing.T, id string) (pids []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		comm, _ := os.ReadFile(name) // it may have ended
		groups, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cgroup"))
		if string(comm) == protocol.EnterPlace+"\n" && strings.Contains(string(groups), id) {
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	return pids
}
