// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// swapAccounting tells whether swap can be limited at all: on v1 the kernel may
// be booted without (swapaccount=0). Docker then goes without, too.
func swapAccounting() bool {
	if unifiedCgroups() {
		return true
	}
	_, err := os.Stat(cgroupRoot + "/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

// makesDevices tells whether a container may make device nodes other than those
// it has. CAP_MKNOD is in the default set, and Docker lets such a container make
// any node, which its device rules then keep it from opening. They do not keep
// its user on the host from that, who reaches the node by /proc/PID/root of a
// process with the same uid. So the capability has to be asked for by name,
// which the engine takes for what it is: root on the host.
func makesDevices(s protocol.Security) bool {
	return s.Privileged || slices.ContainsFunc(s.CapAdd, func(c string) bool {
		name := strings.TrimPrefix(strings.ToUpper(c), "CAP_")
		return name == "MKNOD" || name == allCapabilities
	})
}

// deviceRules deny everything; libcontainer appends the rules for the nodes
// that every container has (specconv.AllowedDevices), which are Docker's.
func deviceRules(privileged bool) []specs.LinuxDeviceCgroup {
	return []specs.LinuxDeviceCgroup{{Allow: privileged, Access: "rwm"}}
}

// rlimits converts the ulimits. A limit above what this process may grant is
// refused, as by Docker, here where it can be named; an unlimited one is as much
// as the host gives.
func rlimits(ulimits []protocol.Ulimit) ([]specs.POSIXRlimit, error) {
	privileged := hasCapability(capability.CAP_SYS_RESOURCE)
	out := make([]specs.POSIXRlimit, 0, len(ulimits))
	for _, u := range ulimits {
		resource, ok := rlimitNumbers[strings.ToLower(u.Name)]
		if !ok {
			return nil, fail(protocol.KindInvalid, fmt.Errorf("invalid ulimit type: %s", u.Name))
		}
		soft, hard := rlimitValue(u.Soft), rlimitValue(u.Hard)
		if soft > hard {
			return nil, fail(protocol.KindInvalid, fmt.Errorf("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard))
		}
		most, err := highestLimit(resource, privileged)
		if err != nil {
			return nil, fmt.Errorf("cannot read the own limit of %s: %w", u.Name, err)
		}
		if hard > most && u.Hard >= 0 {
			return nil, fail(protocol.KindUnsupported, fmt.Errorf("cannot set ulimit %s to %d: this host lets the engine give at most %d", u.Name, u.Hard, most))
		}
		soft, hard = min(soft, most), min(hard, most)
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: soft, Hard: hard})
	}
	return out, nil
}

// highestLimit returns what this process may set a limit to: its own hard
// limit or, with CAP_SYS_RESOURCE, anything but more open files than the system
// allows (fs.nr_open, proc_sys_fs(5)).
func highestLimit(resource int, privileged bool) (uint64, error) {
	if !privileged {
		var own unix.Rlimit
		err := unix.Getrlimit(resource, &own)
		return own.Max, err
	}
	if resource != unix.RLIMIT_NOFILE {
		return math.MaxUint64, nil
	}
	p, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(p)), 10, 64)
}

func rlimitValue(v int64) uint64 {
	if v < 0 {
		return math.MaxUint64 // RLIM_INFINITY
	}
	return uint64(v)
}

var rlimitNumbers = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// oomScore returns the value for oom_score_adj: without CAP_SYS_RESOURCE it
// cannot be lowered (proc_pid_oom_score_adj(5)), so the own one is the least.
func oomScore(want int) (int, bool) {
	if hasCapability(capability.CAP_SYS_RESOURCE) {
		return want, true
	}
	p, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0, false
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(p)))
	if err != nil {
		return 0, false
	}
	return max(want, own), true
}

func hasCapability(c capability.Cap) bool {
	caps, err := capability.NewPid2(0)
	if err != nil || caps.Load() != nil {
		return false
	}
	return caps.Get(capability.EFFECTIVE, c)
}

// rlimitNumber is of a name that [rlimits] made.
func rlimitNumber(name string) int {
	return rlimitNumbers[strings.ToLower(strings.TrimPrefix(name, "RLIMIT_"))]
}
