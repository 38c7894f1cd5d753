// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// CgroupSupport looks at what the cgroups mounted at root can limit, of either
// version; own is the path of a cgroup below the root of v2's hierarchy, which
// itself has no files for limits.
func CgroupSupport(root, own string) davit.CgroupSupport {
	exists := func(pattern ...string) bool {
		found, err := filepath.Glob(filepath.Join(append([]string{root}, pattern...)...))
		return err == nil && len(found) > 0
	}
	var can davit.CgroupSupport
	if controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")); err == nil {
		can = unifiedSupport(strings.Fields(string(controllers)), func(file string) bool {
			return exists(own, file) || exists("*", file)
		})
		can.BlkioWeight = can.BlkioWeight || can.BlkioThrottle && exists("io.cost.qos") // io.weight is its other half
		can.CPUs, can.Mems = list(root, "cpuset.cpus.effective"), list(root, "cpuset.mems.effective")
	} else {
		can = davit.CgroupSupport{
			Memory: exists("memory/memory.limit_in_bytes"), MemoryReservation: exists("memory/memory.soft_limit_in_bytes"),
			MemorySwappiness: exists("memory/memory.swappiness"), OomKillDisable: exists("memory/memory.oom_control"),
			Swap: exists("memory/memory.memsw.limit_in_bytes"), Pids: exists("pids/cgroup.procs"),
			CPUShares: exists("cpu/cpu.shares"), CPUQuota: exists("cpu/cpu.cfs_quota_us"), CPURealtime: exists("cpu/cpu.rt_runtime_us"),
			Cpuset: exists("cpuset/cpuset.cpus"), CPUs: list(root, "cpuset/cpuset.cpus"), Mems: list(root, "cpuset/cpuset.mems"),
			// BFQ has its weights in the children alone, and statistics in the root.
			BlkioWeight:       exists("blkio/blkio.weight") || exists("blkio/blkio.bfq.io_serviced"),
			BlkioWeightDevice: exists("blkio/blkio.weight_device") || exists("blkio/*/blkio.bfq.weight_device"),
			BlkioThrottle:     exists("blkio/blkio.throttle.read_bps_device"),
		}
	}
	_, err := os.Stat("/proc/self/ns/cgroup")
	can.Namespaces = err == nil
	return can
}

// unifiedSupport is what cgroup v2 can with the controllers. Real-time budgets,
// swappiness and a container without the killer of those who want too much
// memory are version 1's.
func unifiedSupport(controllers []string, has func(file string) bool) davit.CgroupSupport {
	on := func(name string) bool { return slices.Contains(controllers, name) }
	return davit.CgroupSupport{
		Memory: on("memory"), MemoryReservation: on("memory"), Swap: on("memory") && has("memory.swap.max"),
		Pids: on("pids"), CPUShares: on("cpu"), CPUQuota: on("cpu"), Cpuset: on("cpuset"),
		BlkioThrottle: on("io"), BlkioWeight: on("io") && (has("io.weight") || has("io.bfq.weight")),
		BlkioWeightDevice: on("io") && has("io.bfq.weight"),
	}
}

func list(root, file string) string {
	p, _ := os.ReadFile(filepath.Join(root, file)) // none: no processor is asked for
	return strings.TrimSpace(string(p))
}
