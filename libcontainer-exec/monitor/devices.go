// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// addDevices gives the container the devices that it is to have beside those
// that every one has: all of the host's when it is privileged, and those that
// the user named, of which the container gets nodes and the right to use them.
func addDevices(oci *specs.Spec, c *protocol.Container) error {
	if c.Security.Privileged {
		all, err := hostDevices("/dev")
		if err != nil {
			return err
		}
		oci.Linux.Devices = all
	}
	for _, d := range c.Devices {
		nodes, err := devicesAt(d.Source, d.Target)
		if err != nil {
			return fail(protocol.KindInvalid, fmt.Errorf("error gathering device information while adding custom device %q: %w", d.Source, err))
		}
		for _, node := range nodes {
			oci.Linux.Devices = slices.DeleteFunc(oci.Linux.Devices, func(other specs.LinuxDevice) bool { return other.Path == node.Path })
			oci.Linux.Devices = append(oci.Linux.Devices, node)
			if !c.Security.Privileged { // it may use all
				oci.Linux.Resources.Devices = append(oci.Linux.Resources.Devices,
					specs.LinuxDeviceCgroup{Allow: true, Type: node.Type, Major: &node.Major, Minor: &node.Minor, Access: d.Access})
			}
		}
	}
	for _, text := range c.DeviceRules {
		rule, err := deviceRule(text)
		if err != nil {
			return err
		}
		oci.Linux.Resources.Devices = append(oci.Linux.Resources.Devices, rule)
	}
	return nil
}

// devicesAt describes the device at source, or all below it, as nodes at or
// below target.
func devicesAt(source, target string) ([]specs.LinuxDevice, error) {
	resolved, err := filepath.EvalSymlinks(source)
	if err != nil {
		return nil, cause(err)
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return nil, cause(err)
	}
	if !info.IsDir() {
		d, ok := device(resolved)
		if !ok {
			return nil, errors.New("not a device node")
		}
		d.Path = target
		return []specs.LinuxDevice{d}, nil
	}
	var devices []specs.LinuxDevice
	err = filepath.WalkDir(resolved, func(path string, _ fs.DirEntry, err error) error {
		if d, ok := device(path); err == nil && ok {
			d.Path = filepath.Join(target, strings.TrimPrefix(path, resolved))
			devices = append(devices, d)
		}
		return nil // what else is there is not meant
	})
	if len(devices) == 0 && err == nil {
		err = errors.New("no device nodes found")
	}
	return devices, err
}

// cause is an error of a file without its path, which is told already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// deviceRule reads "c 1:3 rwm": a type, numbers, each of which may be *, and
// permissions.
func deviceRule(text string) (specs.LinuxDeviceCgroup, error) {
	bad := fail(protocol.KindInvalid, fmt.Errorf("invalid device cgroup rule format: '%s'", text))
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return specs.LinuxDeviceCgroup{}, bad
	}
	rule := specs.LinuxDeviceCgroup{Allow: true, Type: fields[0], Access: fields[2]}
	major, minor, _ := strings.Cut(fields[1], ":")
	for _, n := range []struct {
		text string
		to   **int64
	}{{major, &rule.Major}, {minor, &rule.Minor}} {
		if n.text == "*" {
			*n.to = new(int64(-1))
			continue
		}
		v, err := strconv.ParseInt(n.text, 10, 64)
		if err != nil {
			return rule, bad
		}
		*n.to = &v
	}
	return rule, nil
}

// grantsNodes tells whether the rules let the container make any node.
func grantsNodes(rules []string) bool {
	return slices.ContainsFunc(rules, func(r string) bool {
		fields := strings.Fields(r)
		return len(fields) == 3 && fields[1] == "*:*" && strings.Contains(fields[2], "m")
	})
}

// addEdits adds what CDI devices ask for, a part of a runtime spec.
func addEdits(oci *specs.Spec, text json.RawMessage) error {
	if len(text) == 0 {
		return nil
	}
	var edits specs.Spec
	if err := json.Unmarshal(text, &edits); err != nil {
		return fmt.Errorf("cannot read what CDI devices add: %w", err)
	}
	if p := edits.Process; p != nil {
		oci.Process.Env = mergeEnv(oci.Process.Env, p.Env)
		oci.Process.User.AdditionalGids = append(oci.Process.User.AdditionalGids, p.User.AdditionalGids...)
	}
	if l := edits.Linux; l != nil {
		oci.Linux.Devices = append(oci.Linux.Devices, l.Devices...)
		if l.Resources != nil {
			oci.Linux.Resources.Devices = append(oci.Linux.Resources.Devices, l.Resources.Devices...)
		}
		if l.IntelRdt != nil {
			oci.Linux.IntelRdt = l.IntelRdt
		}
		if len(l.NetDevices) > 0 {
			oci.Linux.NetDevices = l.NetDevices
		}
	}
	oci.Mounts = append(oci.Mounts, edits.Mounts...)
	if edits.Hooks != nil {
		oci.Hooks = edits.Hooks
	}
	return nil
}

// hostDevices lists the device nodes below dir, for a privileged container.
// What devpts and the container's own /dev provide is left out.
func hostDevices(dir string) ([]specs.LinuxDevice, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the host's devices: %w", err)
	}
	var devices []specs.LinuxDevice
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if slices.Contains([]string{"pts", "shm", "fd", "mqueue"}, e.Name()) {
				continue
			}
			more, err := hostDevices(path)
			if err != nil {
				return nil, err
			}
			devices = append(devices, more...)
		case e.Type()&os.ModeDevice != 0 && path != "/dev/console" && path != "/dev/ptmx":
			if d, ok := device(path); ok {
				devices = append(devices, d)
			}
		}
	}
	return devices, nil
}

// device describes the node at path; not ok when it has gone meanwhile.
func device(path string) (specs.LinuxDevice, bool) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return specs.LinuxDevice{}, false
	}
	var kind string
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		kind = "b"
	case unix.S_IFCHR:
		kind = "c"
	default:
		return specs.LinuxDevice{}, false
	}
	mode := os.FileMode(st.Mode & 0o7777)
	return specs.LinuxDevice{
		Path: path, Type: kind, FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
		Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
	}, true
}
