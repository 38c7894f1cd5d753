// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// limits returns what the kernel says of a container's limits, and what the
// holder would give its next run.
func (h *host) limits(l davit.Launch) map[string]string {
	h.t.Helper()
	files := map[string][]string{ // by controller
		"memory": {"memory.limit_in_bytes", "memory.soft_limit_in_bytes"}, "pids": {"pids.max"},
		"cpu": {"cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"}, "cpuset": {"cpuset.cpus"},
	}
	if cgroup.Unified() {
		files = map[string][]string{"": {"memory.max", "memory.low", "pids.max", "cpu.weight", "cpu.max", "cpuset.cpus.effective"}}
	}
	var state protocol.State
	h.must(protocol.ReadFile(filepath.Join(h.rt.dir(l.Container.ID), protocol.StateFile), &state))
	found := make(map[string]string)
	for controller, names := range files {
		for _, name := range names {
			p, err := os.ReadFile(filepath.Join(state.Cgroups[controller], name))
			if errors.Is(err, os.ErrNotExist) {
				continue // the host has not this controller
			}
			h.must(err)
			found[name] = strings.TrimSpace(string(p))
		}
	}
	if len(found) < 3 {
		h.t.Fatalf("of %v there is only %v", state.Cgroups, found)
	}
	return found
}

func wantLimits(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s %s is %q, not %q", when, name, got[name], value)
		}
	}
}

// refuses is a launcher whose units cannot be limited.
type refuses struct {
	launcher
	err error
}

func (r *refuses) limit(context.Context, string, *protocol.Resources, *protocol.Resources) error {
	return r.err
}

// TestUpdateUndone gives a container that has no limits some, and takes them
// away; what fails half way leaves none.
func TestUpdateUndone(t *testing.T) {
	h := newHost(t)
	l := h.launch("sleep 100")
	p := h.start(l).(davit.Updater)
	none := h.limits(l)
	pids := int64(40)
	some := davit.Resources{
		Memory: 64 << 20, MemoryReservation: 32 << 20, PidsLimit: &pids, CPUShares: 512, CPUQuota: 50_000, CPUPeriod: 200_000, CpusetCpus: "0",
	}
	h.must(p.Update(t.Context(), some, nil))
	limited := h.limits(l)
	for name, value := range none {
		if limited[name] == value && !strings.HasPrefix(name, "cpuset") { // the host may have one processor
			t.Errorf("limited, %s is still %q", name, value)
		}
	}
	h.must(p.Update(t.Context(), davit.Resources{}, nil))
	wantLimits(t, "without limits again,", h.limits(l), none)

	launcher := h.rt.launcher
	h.rt.launcher = &refuses{launcher, davit.Errorf(davit.UnitFailed, "systemd says no")}
	err := p.Update(t.Context(), some, &davit.RestartPolicy{Name: "always"})
	h.rt.launcher = launcher
	if davit.CodeOf(err) != davit.UnitFailed {
		t.Errorf("an update whose unit fails: %v", err)
	}
	wantLimits(t, "when the unit cannot be limited,", h.limits(l), none)
	process := p.(davit.Process)
	h.must(process.Signal(t.Context(), 9, false)) // the policy is as it was, too: it does not come again
	if r := h.await(process); r.updates[len(r.updates)-1].Status != davit.StatusExited {
		t.Errorf("it ended with %+v", r.updates)
	}
}

// TestUnknownRequest asks a holder for what it does not know, as a daemon asks
// an older one.
func TestUnknownRequest(t *testing.T) {
	h := newHost(t)
	p := h.start(h.launch("sleep 100"))
	_, err := p.(*Process).call(t.Context(), &protocol.Request{Op: "fly"})
	if davit.CodeOf(err) != davit.NotSupported || !strings.Contains(err.Error(), "restart the container") {
		t.Errorf("an unknown request: %v", err)
	}
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
}
