// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"bufio"
	"log/slog"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// favorDynmods has the kernel move a process between cgroups without waiting
// for an RCU grace period, 6 to 12 ms of each container's start: the mount
// option favordynmods of cgroup2 (Linux 6.0). The lock is one for all
// hierarchies, so this helps v1 too. It is for the whole system, makes fork
// and exit slower by less than can be measured here, and stays until reboot.
func favorDynmods(log *slog.Logger) {
	target, options := cgroup2Mount()
	switch {
	case target == "":
		log.Info("cgroup2 is not mounted: containers start without favordynmods")
		return
	case slices.Contains(options, "favordynmods"):
		log.Debug("cgroup2 is mounted with favordynmods already", "mount", target)
		return
	}
	// A remount replaces all options: those that are there are said again.
	keep := []string{"favordynmods"}
	flags := uintptr(unix.MS_REMOUNT)
	for _, o := range options {
		switch o {
		case "nsdelegate", "memory_localevents", "memory_recursiveprot", "memory_hugetlb_accounting", "pids_localevents":
			keep = append(keep, o)
		case "ro":
			log.Info("cgroup2 is mounted read-only: containers start without favordynmods", "mount", target)
			return
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "nodev":
			flags |= unix.MS_NODEV
		case "noexec":
			flags |= unix.MS_NOEXEC
		case "relatime":
			flags |= unix.MS_RELATIME
		case "noatime":
			flags |= unix.MS_NOATIME
		}
	}
	if err := unix.Mount("", target, "", flags, strings.Join(keep, ",")); err != nil {
		log.Info("cannot remount cgroup2 with favordynmods: containers start some milliseconds later", "mount", target, "error", err)
		return
	}
	log.Info("remounted cgroup2 with favordynmods", "mount", target)
}

// cgroup2Mount returns where cgroup2 is mounted, and the options of both the
// mount and the file system (proc_pid_mountinfo(5)).
func cgroup2Mount() (target string, options []string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		mount, fs, found := strings.Cut(lines.Text(), " - ")
		m, s := strings.Fields(mount), strings.Fields(fs)
		if found && len(m) >= 6 && len(s) == 3 && s[0] == "cgroup2" && m[3] == "/" {
			return m[4], append(strings.Split(m[5], ","), strings.Split(s[2], ",")...)
		}
	}
	return "", nil
}
