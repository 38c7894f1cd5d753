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
}
