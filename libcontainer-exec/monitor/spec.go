// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultPath is what Docker gives a Linux container whose image sets no PATH.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maskedPaths and readonlyPaths are those of Docker's default spec: parts of
// /proc and /sys that are not namespaced and tell of, or change, the host.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// ociSpec makes the runtime spec of a container. Its root file system must be
// mounted already: users are looked up in it.
func ociSpec(spec *protocol.Spec, req Request, join *joining) (*specs.Spec, error) {
	c := &spec.Container
	process, err := initProcess(spec)
	if err != nil {
		return nil, err
	}
	mounts, err := mounts(c)
	if err != nil {
		return nil, err
	}
	if mounts, err = join.ipcMounts(mounts, c.Namespaces.Ipc); err != nil {
		return nil, err
	}
	namespaces, err := join.namespaces(c, req.Netns)
	if err != nil {
		return nil, err
	}
	resources, err := resources(c)
	if err != nil {
		return nil, err
	}
	oci := &specs.Spec{
		Version:    specs.Version,
		Hostname:   c.Hostname,
		Domainname: c.Domainname,
		Root:       &specs.Root{Path: spec.Holder.Rootfs.Target, Readonly: c.Security.ReadonlyRootfs},
		Process:    process,
		Mounts:     mounts,
		Linux: &specs.Linux{
			Namespaces:  namespaces,
			Resources:   resources,
			Sysctl:      sysctls(c),
			CgroupsPath: req.Cgroup,
		},
		Annotations: c.Annotations,
	}
	if c.Namespaces.UTS == protocol.Host {
		oci.Hostname, oci.Domainname = "", "" // the host has them
	}
	oci.Linux.MaskedPaths, oci.Linux.ReadonlyPaths = hiddenPaths(&c.Security)
	if slices.ContainsFunc(c.Mounts, func(m protocol.Mount) bool { return sharing(&m) }) {
		// The runtime makes all mounts of the container's namespace receive only,
		// unless it is told otherwise: one of them is a peer of the host's.
		oci.Linux.RootfsPropagation = "shared"
	}
	if err := errors.Join(addDevices(oci, c), addEdits(oci, c.Edits)); err != nil {
		return nil, err
	}
	if oci.Linux.Seccomp, err = seccompProfile(c.Security, oci); err != nil {
		return nil, err
	}
	return oci, nil
}

// hiddenPaths are the default ones where the user has not chosen, and none of a
// privileged container.
func hiddenPaths(s *protocol.Security) (masked, readonly []string) {
	masked, readonly = maskedPaths, readonlyPaths
	if s.MaskedPaths != nil {
		masked = s.MaskedPaths
	}
	if s.ReadonlyPaths != nil {
		readonly = s.ReadonlyPaths
	}
	if s.Privileged {
		return nil, nil
	}
	return masked, readonly
}

// openSysctls let a container's users bind low ports and send pings without a
// capability. Docker sets both in each network namespace that it makes.
var openSysctls = map[string]string{
	"net.ipv4.ip_unprivileged_port_start": "0",
	"net.ipv4.ping_group_range":           "0 2147483647",
}

// sysctls are those that the user asked for and, in a network namespace of the
// container's own, Docker's where the user and the kernel have nothing else.
func sysctls(c *protocol.Container) map[string]string {
	all := maps.Clone(c.Sysctls)
	if !c.OwnNetns {
		return all
	}
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range openSysctls {
		if _, set := all[key]; set {
			continue
		}
		if _, err := os.Stat("/proc/sys/" + strings.ReplaceAll(key, ".", "/")); err == nil {
			all[key] = value
		}
	}
	return all
}

func initProcess(spec *protocol.Spec) (*specs.Process, error) {
	c := &spec.Container
	if len(c.Args) == 0 {
		return nil, fail(protocol.KindInvalid, fmt.Errorf("no command specified"))
	}
	user, err := lookupUser(spec.Holder.Rootfs.Target, c.User, c.GroupAdd)
	if err != nil {
		return nil, fail(protocol.KindInvalid, err) // 128 of a container, as Docker
	}
	caps, err := capabilities(c.Security, user.UID)
	if err != nil {
		return nil, err
	}
	rlimits, err := rlimits(c.Ulimits)
	if err != nil {
		return nil, err
	}
	profile, err := appArmorProfile("/sys", &c.Security)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal:        spec.Holder.Tty,
		ConsoleSize:     consoleSize(spec.Holder.Rows, spec.Holder.Cols),
		User:            user,
		Args:            c.Args,
		Env:             environment(c, spec.Holder.Tty),
		Cwd:             workingDir(c.Cwd),
		Capabilities:    caps,
		Rlimits:         rlimits,
		NoNewPrivileges: c.Security.NoNewPrivileges,
		ApparmorProfile: profile,
	}
	p.User.Umask = c.Umask
	if score, ok := oomScore(c.OomScore); ok {
		p.OOMScoreAdj = &score
	}
	return p, nil
}

func consoleSize(rows, cols uint16) *specs.Box {
	if rows == 0 && cols == 0 {
		return nil
	}
	return &specs.Box{Height: uint(rows), Width: uint(cols)}
}

func workingDir(dir string) string {
	if dir == "" {
		return "/"
	}
	return filepath.Join("/", dir)
}

// environment is what Docker gives a container before the image's and the
// user's variables override it. HOME is libcontainer's to set, from passwd.
func environment(c *protocol.Container, tty bool) []string {
	env := []string{defaultPath}
	if c.Hostname != "" {
		env = append(env, "HOSTNAME="+c.Hostname)
	}
	if tty {
		env = append(env, "TERM=xterm")
	}
	return mergeEnv(env, c.Env)
}

// mergeEnv returns base with the variables of more added or replaced; a name
// without a value removes it.
func mergeEnv(base, more []string) []string {
	env := slices.Clone(base)
	for _, kv := range more {
		name, _, isSet := strings.Cut(kv, "=")
		i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		switch {
		case !isSet && i >= 0:
			env = slices.Delete(env, i, i+1)
		case !isSet:
		case i >= 0:
			env[i] = kv
		default:
			env = append(env, kv)
		}
	}
	return env
}

func seccompProfile(s protocol.Security, oci *specs.Spec) (*specs.LinuxSeccomp, error) {
	switch {
	case s.Seccomp == protocol.Unconfined, s.Seccomp == "" && s.Privileged:
		return nil, nil
	case s.Seccomp == "":
		profile, err := seccomp.GetDefaultProfile(oci)
		if err != nil {
			return nil, fmt.Errorf("cannot make the default seccomp profile: %w", err)
		}
		return profile, nil
	default:
		profile, err := seccomp.LoadProfile(s.Seccomp, oci)
		if err != nil {
			return nil, fail(protocol.KindInvalid, fmt.Errorf("cannot use the seccomp profile: %w", err))
		}
		return profile, nil
	}
}
