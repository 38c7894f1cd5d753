// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// defaultCPUPeriod is in microseconds.
const defaultCPUPeriod = 100_000

func convertResources(h *davit.Resources) protocol.Resources {
	r := protocol.Resources{
		Memory: h.Memory, MemorySwap: h.MemorySwap, MemoryReservation: h.MemoryReservation,
		CPUShares: uint64(max(h.CPUShares, 0)), CPUPeriod: uint64(max(h.CPUPeriod, 0)), CPUQuota: h.CPUQuota,
		CPURealtimePeriod: uint64(max(h.CPURealtimePeriod, 0)), CPURealtimeRuntime: h.CPURealtimeRuntime,
		CpusetCpus: h.CpusetCpus, CpusetMems: h.CpusetMems,
		BlkioWeight:  h.BlkioWeight,
		BlkioReadBps: convertThrottles(h.BlkioDeviceReadBps), BlkioWriteBps: convertThrottles(h.BlkioDeviceWriteBps),
		BlkioReadIOps: convertThrottles(h.BlkioDeviceReadIOps), BlkioWriteIOps: convertThrottles(h.BlkioDeviceWriteIOps),
	}
	if h.MemorySwappiness != nil && *h.MemorySwappiness >= 0 {
		r.MemorySwappiness = new(uint64(*h.MemorySwappiness))
	}
	if h.OomKillDisable != nil {
		r.OomKillDisable = *h.OomKillDisable
	}
	if h.PidsLimit != nil {
		r.Pids = max(*h.PidsLimit, 0)
	}
	if r.Memory > 0 && r.MemorySwap == 0 {
		r.MemorySwap = 2 * r.Memory // Docker: as much swap as memory
	}
	if h.NanoCPUs > 0 {
		r.CPUPeriod = defaultCPUPeriod
		r.CPUQuota = h.NanoCPUs / 1e9 * defaultCPUPeriod
		r.CPUQuota += h.NanoCPUs % 1e9 * defaultCPUPeriod / 1e9
	}
	for _, d := range h.BlkioWeightDevice {
		r.BlkioWeightDevices = append(r.BlkioWeightDevices, protocol.DeviceRate{Path: d.Path, Rate: uint64(d.Weight)})
	}
	return r
}

func convertThrottles(devices []davit.ThrottleDevice) (out []protocol.DeviceRate) {
	for _, d := range devices {
		out = append(out, protocol.DeviceRate(d))
	}
	return out
}
