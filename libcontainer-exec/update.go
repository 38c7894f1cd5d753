// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// Update changes the container's limits, and its restart policy, while it runs:
// those of its cgroup and those of its unit. When one of the two fails the
// other is as it was.
func (p *Process) Update(ctx context.Context, r davit.Resources, policy *davit.RestartPolicy) error {
	if err := p.update(ctx, &r, policy); err != nil {
		return fmt.Errorf("cannot update container %s: %w", p.name, err)
	}
	return nil
}

func (p *Process) update(ctx context.Context, r *davit.Resources, policy *davit.RestartPolicy) error {
	before, err := p.limits()
	if err != nil {
		return err
	}
	after := changeLimits(before, r)
	if err := p.setLimits(ctx, after, policy); err != nil {
		return err
	}
	p.rt.mu.Lock()
	unit := p.rt.units[p.id]
	p.rt.mu.Unlock()
	if err := p.rt.launcher.limit(ctx, unit, &after); err != nil {
		// The policy is not undone: it is of no cgroup, and whoever asked sets it
		// again with what was before.
		return errors.Join(err, p.setLimits(context.WithoutCancel(ctx), before, nil))
	}
	return nil
}

// limits reads those that the next run of the container would have.
func (p *Process) limits() (protocol.Resources, error) {
	var r protocol.Resources
	err := protocol.ReadFile(filepath.Join(p.dir, protocol.LimitsFile), &r)
	if !errors.Is(err, os.ErrNotExist) {
		return r, err
	}
	var spec protocol.Spec
	err = protocol.ReadFile(filepath.Join(p.dir, protocol.SpecFile), &spec)
	if errors.Is(err, os.ErrNotExist) {
		err = errGone
	}
	return spec.Container.Resources, err
}

// setLimits has the holder apply limits.
func (p *Process) setLimits(ctx context.Context, r protocol.Resources, policy *davit.RestartPolicy) error {
	if err := protocol.WriteFile(filepath.Join(p.dir, protocol.UpdateFile), &r); errors.Is(err, os.ErrNotExist) {
		return errGone // with its directory
	} else if err != nil {
		return err
	}
	req := &protocol.Request{Op: protocol.OpUpdate}
	if policy != nil {
		req.Policy = &protocol.Policy{Restart: policy.Name, MaxRetries: policy.MaximumRetryCount}
	}
	_, err := p.call(ctx, req)
	return err
}

// changeLimits returns the limits with those changed that are given.
func changeLimits(r protocol.Resources, given *davit.Resources) protocol.Resources {
	by := convertResources(given)
	r.Memory, r.MemorySwap = cmp.Or(by.Memory, r.Memory), cmp.Or(by.MemorySwap, r.MemorySwap)
	r.MemoryReservation = cmp.Or(by.MemoryReservation, r.MemoryReservation)
	r.MemorySwappiness = cmp.Or(by.MemorySwappiness, r.MemorySwappiness)
	r.OomKillDisable = r.OomKillDisable || by.OomKillDisable
	r.CPUShares = cmp.Or(by.CPUShares, r.CPUShares)
	r.CPUPeriod, r.CPUQuota = cmp.Or(by.CPUPeriod, r.CPUPeriod), cmp.Or(by.CPUQuota, r.CPUQuota)
	r.CPURealtimePeriod, r.CPURealtimeRuntime = cmp.Or(by.CPURealtimePeriod, r.CPURealtimePeriod), cmp.Or(by.CPURealtimeRuntime, r.CPURealtimeRuntime)
	r.CpusetCpus, r.CpusetMems = cmp.Or(by.CpusetCpus, r.CpusetCpus), cmp.Or(by.CpusetMems, r.CpusetMems)
	r.BlkioWeight = cmp.Or(by.BlkioWeight, r.BlkioWeight)
	if given.PidsLimit != nil {
		r.Pids = by.Pids
	}
	for _, list := range []struct{ to, by *[]protocol.DeviceRate }{
		{&r.BlkioWeightDevices, &by.BlkioWeightDevices},
		{&r.BlkioReadBps, &by.BlkioReadBps},
		{&r.BlkioWriteBps, &by.BlkioWriteBps},
		{&r.BlkioReadIOps, &by.BlkioReadIOps},
		{&r.BlkioWriteIOps, &by.BlkioWriteIOps},
	} {
		if len(*list.by) > 0 {
			*list.to = *list.by
		}
	}
	return r
}
