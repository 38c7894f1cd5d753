// SPDX-License-Identifier: Apache-2.0

package request

import (
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// Joined returns the container whose namespace a mode names.
func Joined(mode string) (ref string, ok bool) { return strings.CutPrefix(mode, "container:") }

// CheckModes refuses namespace modes that do not exist, and what cannot be said
// of a namespace that is not the container's own; c is what the user gave,
// without what the image adds. The words are Docker's.
func CheckModes(c *davit.ContainerConfig, h *davit.HostConfig) error {
	for _, m := range []struct {
		what, mode string
		joins      bool
		words      []string
	}{
		{"IPC mode", h.IpcMode, true, []string{"", "none", "private", "shareable", "host"}},
		{"PID mode", h.PidMode, true, []string{"", "host"}},
		{"UTS mode", h.UTSMode, false, []string{"", "host"}},
		{"cgroup namespace mode", h.CgroupnsMode, false, []string{"", "private", "host"}},
		{"user namespace mode", h.UsernsMode, false, []string{"", "host"}}, // there is no remapping to be exempt from
	} {
		ref, joins := Joined(m.mode)
		if !slices.Contains(m.words, m.mode) && (!m.joins || !joins || ref == "") {
			return invalid("invalid %s: %s", m.what, m.mode)
		}
	}
	if h.UTSMode == "host" && c.Hostname != "" {
		return invalid("conflicting options: hostname and the UTS mode")
	}
	if ref, joins := Joined(h.NetworkMode); joins {
		return checkJoinedNetwork(ref, c, h)
	}
	if h.NetworkMode == "host" && len(h.Links) > 0 {
		return invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	}
	return nil
}

// checkJoinedNetwork refuses what belongs to the container whose network is
// joined.
func checkJoinedNetwork(ref string, c *davit.ContainerConfig, h *davit.HostConfig) error {
	switch {
	case ref == "":
		return invalid("invalid network mode: invalid container format container:<name|id>")
	case c.Hostname != "":
		return invalid("conflicting options: hostname and the network mode")
	case len(h.Links) > 0:
		return invalid("conflicting options: container type network can't be used with links. This would result in undefined behavior")
	case len(h.DNS)+len(h.DNSSearch)+len(h.DNSOptions) > 0:
		return invalid("conflicting options: dns and the network mode")
	case len(h.ExtraHosts) > 0:
		return invalid("conflicting options: custom host-to-IP mapping and the network mode")
	case len(h.PortBindings) > 0 || h.PublishAllPorts:
		return invalid("conflicting options: port publishing and the container type network mode")
	case len(c.ExposedPorts) > 0:
		return invalid("conflicting options: port exposing and the container type network mode")
	}
	return nil
}

// Namespaces completes the modes that were not given, as Docker does: a cgroup
// namespace is the container's own on cgroup v2, where the host's cgroups would
// be seen otherwise.
func Namespaces(r *davit.Container, host *davit.HostFacts) {
	h := &r.HostConfig
	if h.IpcMode == "" {
		h.IpcMode = "private"
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = "host"
		if host.CgroupVersion == "2" {
			h.CgroupnsMode = "private"
		}
	}
}
