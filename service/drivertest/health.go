// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// testHealth has a healthcheck fail until the container is unhealthy, and a
// second daemon be told of it.
func testHealth(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("unhealthy", fake.ShellDeaf)
	c.Config.Healthcheck = &davit.Healthcheck{Test: []string{"CMD", "/bin/sh", "-c", "exit 3"}, Interval: 10 * time.Millisecond, Retries: 2}
	r := h.create(t, rt, c)
	must(t, r.Start(t.Context(), nil))
	u := r.next()
	if u.Health == nil || u.Health.Status != davit.HealthStarting || len(u.Health.Log) > 0 {
		t.Fatalf("the update after the start is %+v, health %+v", u, u.Health)
	}
	var begun, ended string
	for u.Health.Status == davit.HealthStarting {
		u = r.next()
		if u.Status != davit.StatusRunning || u.Health == nil {
			t.Fatalf("an update of a container that is checked is %+v", u)
		}
		switch p := u.Probe; {
		case p == nil:
		case p.Ended && (p.ID != begun || p.ExitCode != 3):
			t.Fatalf("probe %s began, %+v ended", begun, p)
		case p.Ended:
			ended = p.ID
		case p.ID == begun:
			t.Fatalf("probe %s began twice", p.ID)
		default:
			begun = p.ID
		}
	}
	if begun == "" || begun != ended || u.Health.Status != davit.HealthUnhealthy || u.Health.FailingStreak < 2 {
		t.Fatalf("probe %q began, %q ended, and the health is %+v", begun, ended, u.Health)
	}
	rt = h.Open(t)
	adopted := running{result(rt.Adopt(t.Context(), &davit.Container{ID: c.ID, Name: c.Name}))(t), t, c.ID}
	u = adopted.next()
	if u.Health == nil || u.Health.Status != davit.HealthUnhealthy || len(u.Health.Log) < 2 || len(u.Health.Log) > 5 {
		t.Fatalf("the next daemon finds %+v", u.Health)
	}
	for _, p := range u.Health.Log {
		if p.ExitCode != 3 || p.Start.IsZero() || p.End.Before(p.Start) {
			t.Errorf("a probe is recorded as %+v", p)
		}
	}
	adopted.stop(rt)
}

// testOOM has the kernel kill a process that is not the container's first: that is
// told at once, and the container goes on.
func testOOM(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("hungry", fake.ShellHungry)
	c.HostConfig.Memory = 16 << 20
	r := h.run(t, rt, c)
	if u := r.next(); !u.OOM || u.Status != davit.StatusRunning || u.Pid != r.Pid() {
		t.Fatalf("the update after the memory was gone is %+v", u)
	}
	rt = h.Open(t)
	adopted := running{result(rt.Adopt(t.Context(), &davit.Container{ID: c.ID, Name: c.Name}))(t), t, c.ID}
	if u := adopted.next(); u.OOM || u.Status != davit.StatusRunning {
		t.Errorf("the next daemon finds %+v", u)
	}
	adopted.stop(rt)
}
