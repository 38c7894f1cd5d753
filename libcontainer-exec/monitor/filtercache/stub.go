// SPDX-License-Identifier: Apache-2.0

package filtercache

import (
	"github.com/opencontainers/runc/libcontainer/configs"
	seccomp "github.com/seccomp/libseccomp-golang"
)

// stub returns what libcontainer needs of a profile beside the program. It
// puts rules before the program that answer ENOSYS to system calls which the
// profile cannot know: those with numbers above the largest that it names, of
// each architecture (runc's patchbpf.findLastSyscalls). So the rules for these
// stay. A rule that notifies stays, too: it makes libcontainer ask the kernel
// for a listener.
func stub(full *configs.Seccomp) (*configs.Seccomp, error) {
	architectures, err := architectures(full)
	if err != nil {
		return nil, err
	}
	largest := make([]seccomp.ScmpSyscall, len(architectures))
	keep := map[int]bool{}
	last := make([]int, len(architectures))
	for i, call := range full.Syscalls {
		if call.Action == configs.Notify {
			keep[i] = true
		}
		for a, arch := range architectures {
			// Unknown system calls are not counted, as there.
			if number, err := seccomp.GetSyscallFromNameByArch(call.Name, arch); err == nil && number > largest[a] {
				largest[a], last[a] = number, i
			}
		}
	}
	for a, i := range last {
		if largest[a] > 0 {
			keep[i] = true
		}
	}
	part := *full
	part.Syscalls = nil
	for i, call := range full.Syscalls {
		if keep[i] {
			part.Syscalls = append(part.Syscalls, call)
		}
	}
	return &part, nil
}

// architectures are those that the profile names and the host's own.
func architectures(full *configs.Seccomp) ([]seccomp.ScmpArch, error) {
	native, err := seccomp.GetNativeArch()
	if err != nil {
		return nil, err
	}
	all := []seccomp.ScmpArch{native}
	for _, name := range full.Architectures {
		arch, err := seccomp.GetArchFromString(name)
		if err != nil {
			return nil, err
		}
		all = append(all, arch)
	}
	return all, nil
}
