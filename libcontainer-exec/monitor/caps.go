// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultCapabilities are Docker's 14.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

const allCapabilities = "ALL"

// capabilities returns the sets of a process that runs as uid. Only root has
// them permitted and effective: for others execve(2) would clear them anyway.
func capabilities(s protocol.Security, uid uint32) (*specs.LinuxCapabilities, error) {
	list, err := capabilityList(s)
	if err != nil {
		return nil, err
	}
	caps := &specs.LinuxCapabilities{Bounding: list}
	if uid == 0 {
		caps.Permitted, caps.Effective = list, list
	}
	return caps, nil
}

// capabilityList applies --cap-add and --cap-drop as Docker does: ALL in one
// list is the start, the other list then takes away or adds.
func capabilityList(s protocol.Security) ([]string, error) {
	available, err := availableCapabilities()
	if err != nil {
		return nil, err
	}
	if s.Privileged {
		return available, nil
	}
	add, err := normalize(s.CapAdd, available)
	if err != nil {
		return nil, err
	}
	drop, err := normalize(s.CapDrop, nil)
	if err != nil {
		return nil, err
	}
	var list []string
	switch {
	case slices.Contains(add, allCapabilities):
		list = without(available, drop)
	case slices.Contains(drop, allCapabilities):
		list = add
	default:
		base := slices.DeleteFunc(slices.Clone(defaultCapabilities), func(c string) bool { return !slices.Contains(available, c) })
		list = append(without(base, drop), add...)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func without(list, remove []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(c string) bool { return slices.Contains(remove, c) })
}

// normalize brings names into the form CAP_X. What available lacks is refused
// unless available is nil.
func normalize(names, available []string) ([]string, error) {
	known := capability.ListKnown()
	out := make([]string, 0, len(names))
	for _, name := range names {
		upper := strings.ToUpper(name)
		if upper == allCapabilities {
			out = append(out, upper)
			continue
		}
		if !strings.HasPrefix(upper, "CAP_") {
			upper = "CAP_" + upper
		}
		if !slices.ContainsFunc(known, func(c capability.Cap) bool { return capabilityName(c) == upper }) {
			return nil, fail(protocol.KindInvalid, fmt.Errorf("unknown capability: %q", name))
		}
		if available != nil && !slices.Contains(available, upper) {
			return nil, fail(protocol.KindUnsupported, fmt.Errorf("cannot grant %s: the engine does not have it", upper))
		}
		out = append(out, upper)
	}
	return out, nil
}

// availableCapabilities lists what this process may pass on.
func availableCapabilities() ([]string, error) {
	own, err := capability.NewPid2(0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the own capabilities: %w", err)
	}
	if err := own.Load(); err != nil {
		return nil, fmt.Errorf("cannot read the own capabilities: %w", err)
	}
	supported, err := capability.ListSupported()
	if err != nil {
		return nil, fmt.Errorf("cannot list the kernel's capabilities: %w", err)
	}
	var list []string
	for _, c := range supported {
		if own.Get(capability.BOUNDING, c) && own.Get(capability.PERMITTED, c) {
			list = append(list, capabilityName(c))
		}
	}
	slices.Sort(list)
	return list, nil
}

func capabilityName(c capability.Cap) string { return "CAP_" + strings.ToUpper(c.String()) }
