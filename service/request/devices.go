// SPDX-License-Identifier: Apache-2.0

package request

import (
	"regexp"
	"strings"

	"github.com/davit-engine/davit"
)

// deviceRule is devices.allow of cgroup v1: a type, numbers, permissions.
var deviceRule = regexp.MustCompile(`^[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}$`)

// cdiName is vendor/class=name (github.com/cncf-tags/container-device-interface).
var cdiName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*/[a-zA-Z0-9][a-zA-Z0-9_-]*=[a-zA-Z0-9][a-zA-Z0-9_.:-]*$`)

// checkDevices refuses what cannot be a device, or is asked of a driver that is
// not there. Whether a device exists is seen at the start.
func checkDevices(h *davit.HostConfig, _ *davit.HostFacts) error {
	for _, d := range h.Devices {
		switch {
		case !strings.HasPrefix(d.PathOnHost, "/"):
			return invalid("%q is not an absolute path of a device", d.PathOnHost)
		case d.PathInContainer != "" && !strings.HasPrefix(d.PathInContainer, "/"):
			return invalid("%q is not an absolute path for device %s", d.PathInContainer, d.PathOnHost)
		case strings.Trim(d.CgroupPermissions, "rwm") != "":
			return invalid("bad mode specified for device %s: %s", d.PathOnHost, d.CgroupPermissions)
		}
	}
	for _, rule := range h.DeviceCgroupRules {
		if !deviceRule.MatchString(rule) {
			return invalid("invalid device cgroup rule format: '%s'", rule)
		}
	}
	for _, r := range h.DeviceRequests {
		if r.Driver != "cdi" {
			return invalid("could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities)
		}
		for _, name := range r.DeviceIDs {
			if !cdiName.MatchString(name) {
				return invalid("invalid CDI device name %q: write vendor/class=name", name)
			}
		}
		if len(r.DeviceIDs) == 0 || len(r.Options) > 0 || len(r.Capabilities) > 0 {
			return invalid("a request for CDI devices names them in DeviceIDs, and has no options or capabilities")
		}
	}
	return nil
}
