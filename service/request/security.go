// SPDX-License-Identifier: Apache-2.0

package request

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
)

// minOOMScore and maxOOMScore are those of proc_pid_oom_score_adj(5).
const minOOMScore, maxOOMScore = -1000, 1000

// checkSecurity refuses a confinement that the host cannot give, rather than
// to run a container without.
func checkSecurity(h *davit.HostConfig, host *davit.HostFacts) error {
	o, err := davit.ParseSecurityOpt(h.SecurityOpt)
	switch {
	case err != nil:
		return err
	case o.AppArmor != "" && o.AppArmor != davit.AppArmorUnconfined && !host.AppArmor:
		return invalid("cannot use AppArmor profile %q: the host does not have AppArmor; leave the option out, or use apparmor=unconfined", o.AppArmor)
	case slices.ContainsFunc(o.Labels, func(l string) bool { return l != "disable" }):
		return davit.Errorf(davit.NotSupported, "cannot use label=%s: SELinux labels are not set by this version; leave the option out, or use label=disable", o.Labels[0])
	case o.WritableCgroups && h.CgroupnsMode != "private":
		return invalid("cannot make cgroups writable in the host's cgroup namespace: use cgroup namespace mode private")
	case o.Seccomp != "" && o.Seccomp != davit.SeccompUnconfined && !host.Seccomp:
		return invalid("seccomp is not enabled in your kernel, cannot run a custom seccomp profile")
	}
	if o.Seccomp != "" && o.Seccomp != davit.SeccompUnconfined {
		var profile map[string]json.RawMessage
		if err := json.Unmarshal([]byte(o.Seccomp), &profile); err != nil {
			return invalid("decoding seccomp profile failed: %w", err)
		}
	}
	for _, list := range []struct {
		field string
		names []string
	}{{"CapAdd", h.CapAdd}, {"CapDrop", h.CapDrop}} {
		for _, name := range list.names {
			if c, known := linux.Capability(name); !known && !strings.EqualFold(name, "ALL") {
				return invalid("invalid %s: unknown capability: %q", list.field, c)
			}
		}
	}
	return errors.Join(checkProcess(h), checkSysctls(h))
}

// checkProcess checks what the first process is given.
func checkProcess(h *davit.HostConfig) error {
	switch {
	case h.OomScoreAdj < minOOMScore || h.OomScoreAdj > maxOOMScore:
		return invalid("invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	case h.Runtime != "" && h.Runtime != "runc":
		return invalid("unknown or invalid runtime name: %s", h.Runtime)
	case h.Umask != nil && *h.Umask > 0o777:
		return invalid("invalid umask %#o: the most is 0777", *h.Umask)
	case slices.Contains(keys(h.Annotations), ""):
		return invalid("invalid Annotations: the empty string is not permitted as an annotation key")
	}
	return errors.Join(checkGroups(h.GroupAdd), CheckUlimits(h.Ulimits...))
}

// checkGroups refuses what is no group of any image: names are looked up when
// the container starts, in its own files.
func checkGroups(groups []string) error {
	for i, group := range groups {
		if strings.TrimSpace(group) == "" || strings.ContainsAny(group, ":\n\x00") {
			return invalid("invalid GroupAdd: number %d of %d, %q, is not a group: give a name or a number", i+1, len(groups), group)
		}
		if id, err := strconv.ParseInt(group, 10, 64); errors.Is(err, strconv.ErrRange) || err == nil && (id < 0 || id > math.MaxInt32) {
			return invalid("invalid GroupAdd: %s: uids and gids must be in range 0-2147483647", group)
		}
	}
	return nil
}

// CheckUlimits refuses what no host can give, in Docker's words. What this one
// cannot is refused at the start: who starts the container may do more than the
// daemon.
func CheckUlimits(limits ...davit.Ulimit) error {
	for _, u := range limits {
		switch {
		case !slices.Contains(linux.LimitNames(), strings.ToLower(u.Name)):
			return invalid("invalid ulimit type: %s: use one of %s", u.Name, strings.Join(linux.LimitNames(), ", "))
		case u.Soft < -1 || u.Hard < -1:
			return invalid("invalid ulimit %s: a limit is not negative, but for -1, which is unlimited", u.Name)
		case u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard):
			return invalid("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
	}
	return nil
}

func keys[V any](m map[string]V) (out []string) {
	for key := range m {
		out = append(out, key)
	}
	return out
}

// ipcSysctls are of the IPC namespace, beside fs.mqueue (ipc_namespaces(7)).
var ipcSysctls = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
}

// checkSysctls refuses what would change the host's, in runc's words.
func checkSysctls(h *davit.HostConfig) error {
	for key := range h.Sysctls {
		name := dotted(key)
		switch {
		case slices.Contains(ipcSysctls, name) || strings.HasPrefix(name, "fs.mqueue."):
			if h.IpcMode == "host" {
				return invalid("sysctl %q is not allowed in the hosts ipc namespace", name)
			}
		case strings.HasPrefix(name, "net."):
			if h.NetworkMode == "host" {
				return invalid("sysctl %q not allowed in host network namespace", name)
			}
		case name == "kernel.domainname" && h.UTSMode != "host":
		default:
			return invalid("sysctl %q is not in a separate kernel namespace", name)
		}
	}
	return nil
}

// dotted is a key with dots between its parts, as it may be written with
// slashes too: then a dot is part of a name, such as an interface's
// (sysctl.d(5)).
func dotted(key string) string {
	first := strings.IndexAny(key, "./")
	if first == -1 || key[first] == '.' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}
