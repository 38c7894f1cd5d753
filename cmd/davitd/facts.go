// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/internal/osrelease"
	libcontainerexec "github.com/davit-engine/davit/libcontainer-exec"
	"golang.org/x/sys/unix"
)

// hostFacts asks the kernel and os-release(5) what does not change.
func hostFacts() (davit.HostFacts, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return davit.HostFacts{}, fmt.Errorf("cannot ask for the kernel's version: %w", err)
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return davit.HostFacts{}, fmt.Errorf("cannot ask for the size of memory: %w", err)
	}
	f := davit.HostFacts{
		Hostname: unix.ByteSliceToString(u.Nodename[:]), KernelVersion: unix.ByteSliceToString(u.Release[:]),
		Architecture: unix.ByteSliceToString(u.Machine[:]), NCPU: runtime.NumCPU(),
		MemTotal: int64(si.Totalram) * int64(si.Unit), CgroupVersion: "1", OperatingSystem: "Linux",
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		f.CgroupVersion = "2"
	}
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err == nil {
		f.Seccomp = true
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		f.BootID = strings.TrimSpace(string(id))
	}
	release := osRelease()
	if name := release["PRETTY_NAME"]; name != "" {
		f.OperatingSystem = name
	}
	f.OSVersion = release["VERSION_ID"]
	f.AppArmor = linux.AppArmorEnabled("/sys")
	f.Cgroups = libcontainerexec.CgroupSupport("/sys/fs/cgroup", ownCgroup())
	return f, nil
}

// ownCgroup is the path of the daemon's cgroup of version 2 (cgroups(7)), "/"
// when it has none.
func ownCgroup() string {
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	return "/"
}

// osRelease reads os-release(5); a host without one has no entries.
func osRelease() map[string]string {
	for _, path := range osrelease.Paths {
		if text, err := os.ReadFile(path); err == nil {
			return osrelease.Parse(text)
		}
	}
	return nil
}

// helperDirs are where the monitor's programs are looked for, after the
// daemon's own directory.
var helperDirs = []string{"/usr/libexec/davit", "/usr/lib/davit"}

// helper finds a program that the daemon runs.
func helper(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find the daemon's own directory: %w", err)
	}
	dirs := append([]string{filepath.Dir(self)}, helperDirs...)
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot find %s in %s: install the davit package whole, or run make build", name, strings.Join(dirs, ", "))
}
