// SPDX-License-Identifier: Apache-2.0

package davit

// HostFacts is what does not change about the host while the daemon runs.
type HostFacts struct {
	Hostname        string
	KernelVersion   string // uname(2) release
	OperatingSystem string // PRETTY_NAME of os-release(5)
	OSVersion       string // VERSION_ID
	Architecture    string // uname(2) machine
	CgroupVersion   string // "1" or "2"
	NCPU            int
	MemTotal        int64 // bytes
	Seccomp         bool
	BootID          string // random_boot_id, proc_sys_kernel(5): another one after each boot
	AppArmor        bool   // the kernel enforces it
	Cgroups         CgroupSupport
}

// CgroupSupport says which limits the host's cgroups can set.
type CgroupSupport struct {
	Memory            bool
	MemoryReservation bool
	MemorySwappiness  bool // cgroup v1 only
	OomKillDisable    bool // likewise
	Swap              bool
	Pids              bool
	CPUShares         bool
	CPUQuota          bool // and its period
	CPURealtime       bool // cgroup v1 only
	Cpuset            bool
	CPUs, Mems        string // processors and memory nodes, "0-3,8" (cpuset(7))
	BlkioWeight       bool
	BlkioWeightDevice bool
	BlkioThrottle     bool // bytes and operations a second
	Namespaces        bool // cgroup_namespaces(7)
}
