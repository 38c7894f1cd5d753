// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"errors"
	"testing"

	"github.com/davit-engine/davit"
)

func TestUpdate(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf, func(q *davit.Create) { q.HostConfig.Memory = 32 << 20 })
		m := h.rt.Monitor(id)
		change := davit.ContainerUpdate{Container: "web", Resources: davit.Resources{Memory: 48 << 20}, RestartPolicy: &davit.RestartPolicy{Name: "always"}}
		do(d, change)
		got := d.inspect(id).HostConfig
		if got.Memory != 48<<20 || got.MemorySwap != 64<<20 || got.RestartPolicy.Name != "always" || m.Limits().Memory != 48<<20 {
			t.Errorf("the record says %+v, the monitor has %+v", got, m.Limits())
		}

		// What cannot be written down is taken back.
		change.Resources.Memory = 40 << 20
		h.state.Fail("PutContainer", errors.New("the disk is full"))
		refused(d, change, davit.Failed)
		if got := d.inspect(id).HostConfig.Memory; got != 48<<20 || m.Limits().Memory != 48<<20 {
			t.Errorf("after a failure the record says %d, the monitor has %d", got, m.Limits().Memory)
		}
		change.Resources = davit.Resources{CPUShares: 512, PidsLimit: new(int64(10))} // it has none of them
		refused(d, change, davit.Failed)
		if got := m.Limits(); got.Memory != 48<<20 || got.CPUShares != 0 || got.PidsLimit != nil {
			t.Errorf("after a failure the monitor has %+v", got)
		}
		h.state.Fail("PutContainer", nil)
		change.Resources = davit.Resources{Memory: 40 << 20}
		// What the monitor cannot do is not written down.
		h.rt.Fail("Update", davit.Errorf(davit.NotSupported, "no"))
		refused(d, change, davit.NotSupported)
		if got := d.inspect(id).HostConfig.Memory; got != 48<<20 {
			t.Errorf("the record says %d", got)
		}
		h.rt.Fail("Update", nil)

		for _, q := range []davit.Resources{{Memory: 1}, {Memory: 1 << 30}, {MemorySwap: 8 << 20}, {CpusetCpus: "4000"}} {
			if _, err := try(d, davit.ContainerUpdate{Container: "web", Resources: q}); davit.KindOf(err) != davit.Invalid && davit.KindOf(err) != davit.Conflict {
				t.Errorf("%+v: %v", q, err)
			}
		}
		do(d, davit.Stop{Container: "web", Timeout: seconds(0)})
		do(d, change)
		if got := d.inspect(id).HostConfig.Memory; got != 40<<20 || m.Limits().Memory != 48<<20 {
			t.Errorf("of a stopped one the record says %d", got)
		}
	})
}

// TestUpdateInterrupted has a daemon die when the monitor has the new limits and
// the record not: the next one gives the monitor those of the record.
func TestUpdateInterrupted(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", func(q *davit.Create) { q.HostConfig.Memory = 32 << 20 })
		m := h.rt.Monitor(id)
		if err := m.Update(t.Context(), davit.Resources{Memory: 48 << 20, CPUShares: 512}, &davit.RestartPolicy{Name: "always"}); err != nil {
			t.Fatal(err)
		}
		d = d.boots()
		if got := m.Limits(); got.Memory != 32<<20 || got.CPUShares != 0 {
			t.Errorf("the record says %d, the monitor has %+v", d.inspect(id).HostConfig.Memory, got)
		}
		m.Exit(1)
		settle()
		if got := d.inspect(id).State.Status; got != davit.StatusExited {
			t.Errorf("with the policy of its record it is %s after its exit", got)
		}
	})
}
