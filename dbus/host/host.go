// SPDX-License-Identifier: Apache-2.0

// Package host reads what the host knows of containers: their control groups,
// the runs of their units, their links, and the time.
package host

import (
	"encoding/hex"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
)

// ControlGroup returns the control group of a container: of its unit, below
// which its process may be.
func ControlGroup(pid int, unit string) string {
	if pid <= 0 {
		return ""
	}
	entries, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "" // it has just ended
	}
	group := GroupIn(strings.ReplaceAll(strings.TrimSpace(string(entries)), "\n", ","))
	if above, _, found := strings.Cut(group+"/", "/"+unit+"/"); unit != "" && found {
		return above + "/" + unit
	}
	return group
}

// Slice returns the slice that a control group is in (systemd.slice(5)).
func Slice(group string) string {
	for ; group != "/" && group != "." && group != ""; group = path.Dir(group) {
		if strings.HasSuffix(group, ".slice") {
			return path.Base(group)
		}
	}
	return ""
}

// Invocation returns the id of a unit's present run. systemd keeps it in a
// link for journald, which has to know it without asking PID 1 (v235).
func Invocation(unit string) []byte {
	if unit == "" {
		return []byte{}
	}
	text, err := os.Readlink("/run/systemd/units/invocation:" + path.Base(unit))
	if err != nil {
		return []byte{}
	}
	id, err := hex.DecodeString(text)
	if err != nil {
		return []byte{}
	}
	return id
}

// Interfaces returns the indices of the host's ends of a container's links.
func Interfaces(endpoints []davit.Endpoint) []int32 {
	out := []int32{}
	for _, e := range endpoints {
		if index := InterfaceIndex(e.HostLink); index > 0 {
			out = append(out, index)
		}
	}
	return out
}

// InterfaceIndex returns the index of a link of the host, 0 for none.
func InterfaceIndex(link string) int32 {
	if link == "" {
		return 0
	}
	i, err := net.InterfaceByName(link)
	if err != nil {
		return 0
	}
	return int32(i.Index)
}

// Clock converts times of this process to CLOCK_MONOTONIC, always in the same
// way: what a property tells of the past does not change.
type Clock struct {
	now       time.Time
	monotonic time.Duration // at now; 0 when it cannot be told
}

// NewClock returns a clock that is right from now on.
func NewClock() Clock {
	m, err := linux.Monotonic()
	if err != nil {
		m = 0
	}
	return Clock{time.Now(), m}
}

// USec returns microseconds of CLOCK_MONOTONIC, 0 for no time. Only of times
// that this process has taken itself it knows them.
func (c Clock) USec(t time.Time) uint64 {
	if t.IsZero() || c.monotonic == 0 {
		return 0
	}
	return uint64(max(0, (c.monotonic + t.Sub(c.now)).Microseconds()))
}

// GroupIn picks the path that systemd goes by of what ps prints, the
// entries of /proc/PID/cgroup joined with commas (cgroups(7)).
func GroupIn(cell string) string {
	var unified string
	for entry := range strings.SplitSeq(cell, ",") {
		if path, ok := strings.CutPrefix(entry, "0::"); ok {
			unified = path
		}
		// Nothing of a unit is at the root: there, systemd does not use the
		// hierarchy, but the kernel has it for somebody else.
		if _, path, ok := strings.Cut(entry, ":name=systemd:"); ok && path != "/" {
			return path
		}
	}
	return unified
}
