// SPDX-License-Identifier: Apache-2.0

package values

import (
	"math"

	"github.com/davit-engine/davit"
)

// Stats is what a container uses, by the names that systemd's units have for it
// where they have one.
func Stats(s davit.ContainerStats) Properties {
	out := Properties{
		"CPUUsageNSec": s.CPU.Usage, "CPUUserNSec": s.CPU.User, "CPUSystemNSec": s.CPU.System, "CPUThrottledNSec": s.CPU.ThrottledTime,
		"MemoryCurrent": s.Memory.Usage, "MemoryPeak": s.Memory.MaxUsage, "MemoryMax": s.Memory.Limit,
		"TasksCurrent": s.Pids.Current, "TasksMax": s.Pids.Limit, "Timestamp": USec(s.Read),
	}
	if s.Pids.Limit == 0 {
		out["TasksMax"] = uint64(math.MaxUint64) // none, in systemd's form
	}
	var total davit.BlockIO
	for _, b := range s.BlockIO {
		total.ReadBytes, total.WriteBytes = total.ReadBytes+b.ReadBytes, total.WriteBytes+b.WriteBytes
		total.Reads, total.Writes = total.Reads+b.Reads, total.Writes+b.Writes
	}
	out["IOReadBytes"], out["IOWriteBytes"] = total.ReadBytes, total.WriteBytes
	out["IOReadOperations"], out["IOWriteOperations"] = total.Reads, total.Writes
	var link davit.LinkStats
	for _, n := range s.Networks {
		link.RxBytes, link.TxBytes = link.RxBytes+n.RxBytes, link.TxBytes+n.TxBytes
		link.RxPackets, link.TxPackets = link.RxPackets+n.RxPackets, link.TxPackets+n.TxPackets
	}
	out["IPIngressBytes"], out["IPEgressBytes"] = link.RxBytes, link.TxBytes
	out["IPIngressPackets"], out["IPEgressPackets"] = link.RxPackets, link.TxPackets
	return out
}
