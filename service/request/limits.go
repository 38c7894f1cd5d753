// SPDX-License-Identifier: Apache-2.0

package request

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
)

// minMemory is the least that a start succeeds with: the first process of a
// container is runc's own until it executes the program.
const minMemory = 6 << 20

// maxMemory is more than a machine has, and can be doubled for what there is with
// swap.
const maxMemory = 1 << 60

// The ranges of the kernel's and of Docker.
const (
	minShares, maxShares = 2, 262144
	minPeriod, maxPeriod = 1000, 1000000 // microseconds
	minWeight, maxWeight = 10, 1000
	maxSwappiness        = 100
	minNanoCPUs          = 1e7 // a quota of 1 ms in each 100
)

// Limits checks limits against what the host can do, brings them into the form
// in which they are kept, and returns a warning for each that it discards. The
// words are Docker's. With update, a zero is a limit that is left as it is.
func Limits(r *davit.Resources, host *davit.HostFacts, update bool) (warnings []string, err error) {
	if r.MemorySwappiness != nil && *r.MemorySwappiness == -1 {
		r.MemorySwappiness = nil // what clients send for "not given"
	}
	warnings = discard(r, &host.Cgroups)
	for _, check := range []func(*davit.Resources, *davit.HostFacts, bool) error{checkMemory, checkCPU, checkSets, checkBlkio} {
		if err := check(r, host, update); err != nil {
			return nil, err
		}
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && r.Memory == 0 && !update {
		warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	if r.Memory > 0 && r.MemorySwap == 0 && !update {
		r.MemorySwap = 2 * r.Memory // as much swap as memory
	}
	if r.CPUShares != 0 {
		r.CPUShares = min(max(r.CPUShares, minShares), maxShares)
	}
	return warnings, nil
}

const unmounted = " or the cgroup is not mounted."

// discard drops the limits that the host's cgroups cannot set.
func discard(r *davit.Resources, can *davit.CgroupSupport) (warnings []string) {
	drop := func(given, supported bool, warning string, reset func()) {
		if given && !supported {
			reset()
			if warning != "" {
				warnings = append(warnings, "Your kernel does not support "+warning)
			}
		}
	}
	drop(r.Memory > 0, can.Memory, "memory limit capabilities"+unmounted+" Limitation discarded.", func() { r.Memory, r.MemorySwap = 0, -1 })
	drop(r.Memory > 0 && r.MemorySwap != -1, can.Swap, "swap limit capabilities"+unmounted+" Memory limited without swap.", func() { r.MemorySwap = -1 })
	drop(r.MemorySwappiness != nil, can.MemorySwappiness, "memory swappiness capabilities"+unmounted+" Memory swappiness discarded.",
		func() { r.MemorySwappiness = nil })
	drop(r.MemoryReservation > 0, can.MemoryReservation, "memory soft limit capabilities"+unmounted+" Limitation discarded.",
		func() { r.MemoryReservation = 0 })
	oom := "OomKillDisable. OomKillDisable discarded."
	if r.OomKillDisable != nil && !*r.OomKillDisable {
		oom = "" // nothing is lost
	}
	drop(r.OomKillDisable != nil, can.OomKillDisable, oom, func() { r.OomKillDisable = nil })
	pids := "PIDs limit capabilities" + unmounted + " PIDs limit discarded."
	if r.PidsLimit != nil && *r.PidsLimit <= 0 {
		pids = ""
	}
	drop(r.PidsLimit != nil, can.Pids, pids, func() { r.PidsLimit = nil })
	drop(r.CPUShares > 0, can.CPUShares, "CPU shares"+unmounted+" Shares discarded.", func() { r.CPUShares = 0 })
	drop(r.CPUPeriod != 0 || r.CPUQuota != 0, can.CPUQuota, "CPU CFS scheduler. CPU period/quota discarded.", func() { r.CPUPeriod, r.CPUQuota = 0, 0 })
	drop(r.CpusetCpus != "" || r.CpusetMems != "", can.Cpuset, "cpuset"+unmounted+" Cpuset discarded.", func() { r.CpusetCpus, r.CpusetMems = "", "" })
	drop(r.BlkioWeight > 0, can.BlkioWeight, "Block I/O weight"+unmounted+" Weight discarded.", func() { r.BlkioWeight = 0 })
	drop(len(r.BlkioWeightDevice) > 0, can.BlkioWeightDevice, "Block I/O weight_device"+unmounted+" Weight-device discarded.",
		func() { r.BlkioWeightDevice = nil })
	for _, t := range []struct {
		devices *[]davit.ThrottleDevice
		what    string
	}{
		{&r.BlkioDeviceReadBps, "BPS Block I/O read limit" + unmounted + " Block I/O BPS read limit discarded."},
		{&r.BlkioDeviceWriteBps, "BPS Block I/O write limit" + unmounted + " Block I/O BPS write limit discarded."},
		{&r.BlkioDeviceReadIOps, "IOPS Block read limit" + unmounted + " Block I/O IOPS read limit discarded."},
		{&r.BlkioDeviceWriteIOps, "IOPS Block write limit" + unmounted + " Block I/O IOPS write limit discarded."},
	} {
		drop(len(*t.devices) > 0, can.BlkioThrottle, t.what, func() { *t.devices = nil })
	}
	return warnings
}

func checkMemory(r *davit.Resources, _ *davit.HostFacts, update bool) error {
	switch {
	case r.Memory < 0:
		return invalid("Minimum memory limit allowed is 6MB, and it is %d: 0 is no limit", r.Memory)
	case r.Memory != 0 && r.Memory < minMemory:
		return invalid("Minimum memory limit allowed is 6MB")
	case max(r.Memory, r.MemorySwap, r.MemoryReservation) > maxMemory:
		return invalid("invalid memory limit %d: the most is %d bytes, and 0 is no limit", max(r.Memory, r.MemorySwap, r.MemoryReservation), int64(maxMemory))
	case r.MemorySwap > 0 && r.Memory == 0 && !update:
		return invalid("you should always set the memory limit when using memoryswap limit")
	case r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return invalid("minimum memoryswap limit should be larger than memory limit")
	case r.MemorySwap < -1:
		return invalid("invalid memoryswap limit %d: use -1 for unlimited", r.MemorySwap)
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < 0 || *r.MemorySwappiness > maxSwappiness):
		return invalid("invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation != 0 && r.MemoryReservation < minMemory:
		return invalid("minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > r.Memory:
		return invalid("minimum memory limit can not be less than memory reservation limit")
	}
	return nil
}

func checkCPU(r *davit.Resources, host *davit.HostFacts, _ bool) error {
	switch {
	case r.NanoCPUs > 0 && (r.CPUQuota != 0 || r.CPUPeriod != 0):
		return invalid("conflicting options: nano CPUs and CPU period or quota cannot both be set")
	case r.NanoCPUs > 0 && !host.Cgroups.CPUQuota:
		return invalid("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted")
	case r.NanoCPUs < 0 || r.NanoCPUs > 0 && r.NanoCPUs < minNanoCPUs || r.NanoCPUs > int64(host.NCPU)*1e9:
		return invalid("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", host.NCPU, host.NCPU)
	case r.CPUShares < 0:
		return invalid("invalid CPU shares %d: the least are %d", r.CPUShares, minShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < minPeriod || r.CPUPeriod > maxPeriod):
		return invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < minPeriod:
		return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case r.CPUQuota < -1:
		return invalid("invalid CPU cfs quota %d: use -1 for unlimited", r.CPUQuota)
	case (r.CPURealtimePeriod != 0 || r.CPURealtimeRuntime != 0) && !host.Cgroups.CPURealtime:
		return invalid("your kernel does not support CPU real-time scheduler")
	case r.CPURealtimePeriod < 0 || r.CPURealtimeRuntime < 0:
		return invalid("CPU real-time period and runtime cannot be negative")
	case r.CPURealtimePeriod != 0 && r.CPURealtimeRuntime > r.CPURealtimePeriod:
		return invalid("cpu real-time runtime cannot be higher than cpu real-time period")
	}
	return nil
}

// maxSet is more than the processors and nodes of any machine.
const maxSet = 8192

// checkSets checks that the processors and memory nodes are there.
func checkSets(r *davit.Resources, host *davit.HostFacts, _ bool) error {
	for _, set := range []struct{ name, given, have, what string }{
		{"cpuset cpus", r.CpusetCpus, host.Cgroups.CPUs, "CPUs"},
		{"cpuset mems", r.CpusetMems, host.Cgroups.Mems, "memory nodes"},
	} {
		wanted, ok := parseSet(set.given)
		if !ok {
			return invalid("invalid value %s for %s", set.given, set.name)
		}
		have, _ := parseSet(set.have) // the kernel's
		for n := range wanted {
			if !have[n] {
				return invalid("requested %s are not available - requested %s, available: %s", set.what, set.given, set.have)
			}
		}
	}
	return nil
}

// parseSet reads "0-2,4" (cpuset(7), list format).
func parseSet(s string) (map[int]bool, bool) {
	set := map[int]bool{}
	if strings.TrimSpace(s) == "" {
		return set, true
	}
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		to := from
		if err == nil && isRange {
			to, err = strconv.Atoi(last)
		}
		if err != nil || from < 0 || to < from || to > maxSet {
			return nil, false
		}
		for n := from; n <= to; n++ {
			set[n] = true
		}
	}
	return set, true
}

func checkBlkio(r *davit.Resources, _ *davit.HostFacts, _ bool) error {
	inRange := func(w uint16) bool { return w >= minWeight && w <= maxWeight }
	if r.BlkioWeight != 0 && !inRange(r.BlkioWeight) {
		return invalid("range of blkio weight is from 10 to 1000")
	}
	for _, d := range r.BlkioWeightDevice {
		if !inRange(d.Weight) {
			return invalid("invalid weight %d of device %s: the range is from 10 to 1000", d.Weight, d.Path)
		}
		if !strings.HasPrefix(d.Path, "/dev/") {
			return invalid("bad format for device path: %s", d.Path)
		}
	}
	for _, d := range slices.Concat(r.BlkioDeviceReadBps, r.BlkioDeviceWriteBps, r.BlkioDeviceReadIOps, r.BlkioDeviceWriteIOps) {
		if !strings.HasPrefix(d.Path, "/dev/") {
			return invalid("bad format for device path: %s", d.Path)
		}
	}
	return nil
}

// slice is the name of a systemd slice (systemd.unit(5), systemd.slice(5)).
var slice = regexp.MustCompile(`^[a-zA-Z0-9:_.][a-zA-Z0-9:_.\\-]*\.slice$`)

// CheckParent refuses a cgroup parent that the launcher cannot use: a slice is
// what systemd has, else it is a path.
func CheckParent(parent string, systemd bool) error {
	switch {
	case parent == "":
	case systemd && !slice.MatchString(parent):
		return invalid("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\", and is %q", parent)
	case !systemd && (strings.ContainsRune(parent, 0) || slices.Contains(strings.Split(parent, "/"), "..")):
		return invalid("invalid cgroup-parent %q: it is a path without ..", parent)
	}
	return nil
}
