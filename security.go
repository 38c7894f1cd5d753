// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"strconv"
	"strings"
)

// SeccompUnconfined and AppArmorUnconfined name the profile that is none.
const (
	SeccompUnconfined  = "unconfined"
	AppArmorUnconfined = "unconfined"
)

// AppArmorDefault is the profile of a container that names none, where it is
// loaded; the packages bring it, contrib/apparmor.
const AppArmorDefault = "davit-default"

// AppArmorMissing is what is said of a host that enforces AppArmor and has not
// loaded the profile.
const AppArmorMissing = "AppArmor profile " + AppArmorDefault + " is not loaded, containers run without: apparmor_parser -r /etc/apparmor.d/" + AppArmorDefault + " loads it"

// SecurityOptions are a [HostConfig]'s SecurityOpt, read.
type SecurityOptions struct {
	NoNewPrivileges bool
	WritableCgroups bool     // the container may divide its own cgroup
	Seccomp         string   // "" is the default profile, "unconfined" none, else a profile's JSON
	AppArmor        string   // name of a loaded profile, or "unconfined"; "" is the default
	Labels          []string // of SELinux: "disable", or user:, role:, type:, level: and filetype: with a value
}

// ParseSecurityOpt reads the values of --security-opt. It fails with
// InvalidConfiguration.
func ParseSecurityOpt(list []string) (SecurityOptions, error) {
	var o SecurityOptions
	for _, opt := range list {
		if err := o.add(opt); err != nil {
			return SecurityOptions{}, err
		}
	}
	return o, nil
}

func (o *SecurityOptions) add(opt string) error {
	switch opt { // the two that have no value
	case "no-new-privileges":
		o.NoNewPrivileges = true
		return nil
	case "disable":
		o.Labels = append(o.Labels, "disable")
		return nil
	}
	key, value, found := strings.Cut(opt, "=")
	if !found {
		key, value, _ = strings.Cut(opt, ":") // the old form
	}
	bad := Errorf(InvalidConfiguration, "invalid --security-opt %q: use apparmor=, label=, no-new-privileges, seccomp= or writable-cgroups=", opt)
	if value == "" {
		return bad
	}
	var err error
	switch key {
	case "label":
		o.Labels = append(o.Labels, value)
	case "apparmor":
		o.AppArmor = value
	case "seccomp":
		o.Seccomp = value
		if value == "builtin" {
			o.Seccomp = ""
		}
	case "no-new-privileges":
		o.NoNewPrivileges, err = strconv.ParseBool(value)
	case "writable-cgroups":
		o.WritableCgroups, err = strconv.ParseBool(value)
	default:
		return bad
	}
	if err != nil {
		return Errorf(InvalidConfiguration, "invalid --security-opt %q: its value is true or false", opt)
	}
	return nil
}
