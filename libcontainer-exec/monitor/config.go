// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

func unifiedCgroups() bool { return cgroups.IsCgroup2UnifiedMode() }

// libcontainerConfig converts the runtime spec.
//
// Without mknod, the rules by which libcontainer lets every container make any
// device node are left out: see [makesDevices].
//
// Where a v1 hierarchy cannot be written, as inside a container of systemd's
// on a v1 host, libcontainer is told to go without the cgroups that it cannot
// make; a limit that would have needed one then fails by name.
func libcontainerConfig(oci *specs.Spec, id, cgroup string, mknod bool) (*configs.Config, error) {
	readonly := !unifiedCgroups() && !hierarchiesWritable()
	if readonly {
		if err := checkLimits(oci.Linux.Resources); err != nil {
			return nil, err
		}
		oci.Linux.CgroupsPath = ""
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName: id, Spec: oci, RootlessCgroups: readonly,
	})
	if err != nil {
		return nil, fail(protocol.KindInvalid, fmt.Errorf("cannot use the container's configuration: %w", err))
	}
	if !mknod {
		r := config.Cgroups.Resources
		r.Devices = slices.DeleteFunc(r.Devices, func(d *devices.Rule) bool { return d.Allow && d.Permissions == "m" && d.Major == -1 && d.Minor == -1 })
	}
	if readonly {
		// A name makes the path relative to the own cgroup: the unit's, which
		// is ours where systemd delegates at all.
		config.Cgroups.Path, config.Cgroups.Parent, config.Cgroups.Name = "", "", filepath.Base(cgroup)
	}
	return config, nil
}

// checkLimits refuses a limit whose v1 hierarchy is read-only or not there.
func checkLimits(r *specs.LinuxResources) error {
	needed := map[string]bool{
		"memory": r.Memory != nil,
		"cpu": r.CPU != nil && (r.CPU.Shares != nil || r.CPU.Quota != nil || r.CPU.Period != nil ||
			r.CPU.RealtimePeriod != nil || r.CPU.RealtimeRuntime != nil),
		"cpuset": r.CPU != nil && (r.CPU.Cpus != "" || r.CPU.Mems != ""),
		"pids":   r.Pids != nil,
		"blkio":  r.BlockIO != nil,
	}
	for controller, limited := range needed {
		if limited && unix.Access(filepath.Join(cgroupRoot, controller), unix.W_OK) != nil {
			return fail(protocol.KindUnsupported, fmt.Errorf("cannot set a %s limit: the host's cgroup hierarchy %s is read-only", controller, filepath.Join(cgroupRoot, controller)))
		}
	}
	return nil
}

// hierarchiesWritable tells whether each mounted v1 hierarchy takes new cgroups.
func hierarchiesWritable() bool {
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return false
	}
	for _, e := range entries {
		path := filepath.Join(cgroupRoot, e.Name())
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err != nil || st.Type != unix.CGROUP_SUPER_MAGIC {
			continue
		}
		if unix.Access(path, unix.W_OK) != nil {
			return false
		}
	}
	return true
}

// newProcess converts the process of a runtime spec and gives it the stdio
// that the holder passed.
func newProcess(p *specs.Process, tty bool) (*libcontainer.Process, error) {
	process := &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd,
		UID: int(p.User.UID), GID: int(p.User.GID),
		NoNewPrivileges: &p.NoNewPrivileges, AppArmorProfile: p.ApparmorProfile,
		// Warnings and worse, in logrus's numbers. Left empty it is all that its C
		// part has to say, thirty lines that are encoded, passed and decoded.
		LogLevel: "3",
		Capabilities: &configs.Capabilities{
			Bounding: p.Capabilities.Bounding, Effective: p.Capabilities.Effective, Permitted: p.Capabilities.Permitted,
		},
	}
	for _, gid := range p.User.AdditionalGids {
		process.AdditionalGroups = append(process.AdditionalGroups, int(gid))
	}
	for _, r := range p.Rlimits {
		process.Rlimits = append(process.Rlimits, configs.Rlimit{Type: rlimitNumber(r.Type), Soft: r.Soft, Hard: r.Hard})
	}
	if p.ConsoleSize != nil {
		process.ConsoleHeight, process.ConsoleWidth = uint16(p.ConsoleSize.Height), uint16(p.ConsoleSize.Width)
	}
	if err := stdio(process, tty); err != nil {
		return nil, err
	}
	return process, nil
}
