// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// What Docker gives a container that does not say.
const (
	defaultStopSignal  = 15 // SIGTERM
	defaultStopTimeout = 10 * time.Second
)

// seccompDir keeps compiled filters, below the exec root.
const seccompDir = "seccomp"

// makeSpec converts a launch and writes its generated files.
func makeSpec(l davit.Launch, o *Options, launcher string) (*protocol.Spec, error) {
	c, h := l.Container, &l.Container.HostConfig
	security, err := convertSecurity(h)
	if err != nil {
		return nil, err
	}
	holder, err := convertHolder(l, o, launcher)
	if err != nil {
		return nil, err
	}
	mounts, err := convertMounts(l)
	if err != nil {
		return nil, err
	}
	spec := &protocol.Spec{
		ID: c.ID, Holder: *holder,
		Container: protocol.Container{
			Name: c.Name, Hostname: l.Hostname, Domainname: c.Config.Domainname,
			Args: append([]string{c.Path}, c.Args...), Env: c.Config.Env, Cwd: c.Config.WorkingDir,
			User: c.Config.User, GroupAdd: h.GroupAdd, Mounts: mounts, OwnNetns: l.OwnNetns,
			Namespaces: convertNamespaces(h), DeviceRules: h.DeviceCgroupRules, Security: security, Resources: convertResources(&h.Resources), Sysctls: h.Sysctls,
			ShmSize: h.ShmSize, OomScore: h.OomScoreAdj, Umask: h.Umask, Annotations: h.Annotations,
		},
	}
	if l.Init {
		if err := addInit(&spec.Container, o.InitPath); err != nil {
			return nil, fmt.Errorf("cannot run container %s with --init: %w", c.Name, err)
		}
	}
	if spec.Container.Edits, err = cdiEdits(h.DeviceRequests, o.CDISpecDirs); err != nil {
		return nil, err
	}
	for _, d := range h.Devices {
		spec.Container.Devices = append(spec.Container.Devices, protocol.Device{
			Source: d.PathOnHost, Target: cmp.Or(d.PathInContainer, d.PathOnHost), Access: cmp.Or(d.CgroupPermissions, "rwm"),
		})
	}
	for _, u := range h.Ulimits {
		spec.Container.Ulimits = append(spec.Container.Ulimits, protocol.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return spec, nil
}

func convertHolder(l davit.Launch, o *Options, launcher string) (*protocol.Holder, error) {
	c, h := l.Container, &l.Container.HostConfig
	holder := &protocol.Holder{
		Monitor: o.MonitorPath, Enter: o.EnterPath, Seccomp: filepath.Join(o.ExecRoot, seccompDir),
		Rootfs: protocol.Rootfs{Lower: l.Rootfs.Lower, Upper: l.Rootfs.Upper, Work: l.Rootfs.Work, Target: l.Rootfs.Target},
		Tty:    c.Config.Tty, OpenStdin: c.Config.OpenStdin, StdinOnce: c.Config.StdinOnce,
		Rows: clamp16(h.ConsoleSize[0]), Cols: clamp16(h.ConsoleSize[1]),
		OwnNetns:   l.OwnNetns,
		SharedPids: convertNamespaces(h).Pid != "",
		StopSignal: defaultStopSignal, StopTimeout: defaultStopTimeout,
		Restart: h.RestartPolicy.Name, MaxRetries: h.RestartPolicy.MaximumRetryCount,
	}
	holder.Health = convertHealthcheck(&c.Config)
	if launcher == LauncherDirect {
		holder.Cgroup = filepath.Join(parentCgroup(h.CgroupParent), c.ID)
	}
	if s := c.Config.StopSignal; s != "" {
		n, err := signalNumber(s)
		if err != nil {
			return nil, err
		}
		holder.StopSignal = n
	}
	if t := c.Config.StopTimeout; t != nil {
		holder.StopTimeout = time.Duration(*t) * time.Second
		if *t < 0 {
			holder.StopTimeout = 365 * 24 * time.Hour // Docker: wait for ever
		}
	}
	var err error
	if holder.Log, err = convertLog(l); err != nil {
		return nil, err
	}
	return holder, nil
}

func clamp16(n uint) uint16 { return uint16(min(n, 65535)) }

func signalNumber(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= 64 {
		return n, nil
	}
	if n, ok := linux.SignalNumber(s); ok {
		return n, nil
	}
	return 0, davit.Errorf(davit.InvalidConfiguration, "invalid stop signal: %q", s)
}

// parentCgroup is the cgroup in which that of a container is: a path below the
// hierarchies' roots or, without the slash, below the engine's own.
func parentCgroup(parent string) string {
	if filepath.IsAbs(parent) {
		return filepath.Clean(parent)
	}
	return filepath.Join(directCgroup, filepath.Join("/", parent))
}
