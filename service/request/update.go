// SPDX-License-Identifier: Apache-2.0

package request

import (
	"cmp"

	"github.com/davit-engine/davit"
)

// Update changes what a container has by what an update gives, after Docker's
// checks of both.
func Update(h *davit.HostConfig, q *davit.ContainerUpdate, host *davit.HostFacts) (warnings []string, err error) {
	given := q.Resources
	if warnings, err = Limits(&given, host, true); err != nil {
		return nil, err
	}
	if err := checkConflicts(&h.Resources, &given); err != nil {
		return nil, err
	}
	r := h.Resources
	change(&r, &given)
	if _, err := Limits(&r, host, false); err != nil {
		return nil, err
	}
	h.Resources = r
	if p := q.RestartPolicy; p != nil {
		if h.AutoRemove && p.Name != "" && p.Name != "no" {
			return nil, davit.Errorf(davit.UpdateConflict, "Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
		h.RestartPolicy = *p
	}
	return warnings, checkRestart(h, host)
}

// checkConflicts refuses what does not go together with what there is.
func checkConflicts(has, given *davit.Resources) error {
	conflict := func(text string) error { return davit.Errorf(davit.UpdateConflict, "Conflicting options: %s", text) }
	switch {
	case given.NanoCPUs > 0 && has.CPUPeriod > 0:
		return conflict("Nano CPUs cannot be updated as CPU Period has already been set")
	case given.NanoCPUs > 0 && has.CPUQuota > 0:
		return conflict("Nano CPUs cannot be updated as CPU Quota has already been set")
	case given.CPUPeriod > 0 && has.NanoCPUs > 0:
		return conflict("CPU Period cannot be updated as NanoCPUs has already been set")
	case given.CPUQuota > 0 && has.NanoCPUs > 0:
		return conflict("CPU Quota cannot be updated as NanoCPUs has already been set")
	case given.MemorySwap == 0 && has.MemorySwap > 0 && given.Memory > has.MemorySwap:
		return davit.Errorf(davit.UpdateConflict, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	return nil
}

func change(r, by *davit.Resources) {
	r.BlkioWeight = cmp.Or(by.BlkioWeight, r.BlkioWeight)
	r.CPUShares = cmp.Or(by.CPUShares, r.CPUShares)
	r.NanoCPUs = cmp.Or(by.NanoCPUs, r.NanoCPUs)
	r.CPUPeriod = cmp.Or(by.CPUPeriod, r.CPUPeriod)
	r.CPUQuota = cmp.Or(by.CPUQuota, r.CPUQuota)
	r.CPURealtimePeriod = cmp.Or(by.CPURealtimePeriod, r.CPURealtimePeriod)
	r.CPURealtimeRuntime = cmp.Or(by.CPURealtimeRuntime, r.CPURealtimeRuntime)
	r.CpusetCpus = cmp.Or(by.CpusetCpus, r.CpusetCpus)
	r.CpusetMems = cmp.Or(by.CpusetMems, r.CpusetMems)
	r.Memory = cmp.Or(by.Memory, r.Memory)
	r.MemorySwap = cmp.Or(by.MemorySwap, r.MemorySwap)
	r.MemoryReservation = cmp.Or(by.MemoryReservation, r.MemoryReservation)
	r.PidsLimit = cmp.Or(by.PidsLimit, r.PidsLimit)
}
