// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultShmSize is Docker's, in bytes.
const defaultShmSize = 64 << 20

// mounts returns the mounts of a container: Docker's default ones, but for
// those that a user's mount replaces, then the user's, parents first.
func mounts(c *protocol.Container) ([]specs.Mount, error) {
	user := slices.Clone(c.Mounts)
	slices.SortStableFunc(user, func(a, b protocol.Mount) int {
		return strings.Count(filepath.Clean(a.Target), "/") - strings.Count(filepath.Clean(b.Target), "/")
	})
	replaced := make(map[string]bool, len(user))
	for _, m := range user {
		replaced[filepath.Clean(m.Target)] = true
	}
	all := slices.DeleteFunc(defaultMounts(c), func(m specs.Mount) bool { return replaced[m.Destination] })
	for _, m := range user {
		mount, err := userMount(m)
		if err != nil {
			return nil, err
		}
		all = append(all, mount)
	}
	return all, nil
}

func defaultMounts(c *protocol.Container) []specs.Mount {
	shm := c.ShmSize
	if shm == 0 {
		shm = defaultShmSize
	}
	access := "ro"
	if c.Security.Privileged {
		access = "rw"
	}
	cgroups := access
	if c.Security.WritableCgroups && c.Namespaces.Cgroup == "private" {
		cgroups = "rw"
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", cgroups}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(shm, 10)}},
	}
}

func userMount(m protocol.Mount) (specs.Mount, error) {
	if !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) == "/" {
		return specs.Mount{}, fail(protocol.KindInvalid, fmt.Errorf("invalid mount target %q: must be an absolute path other than /", m.Target))
	}
	mount := specs.Mount{Destination: filepath.Clean(m.Target), Type: m.Type, Source: m.Source}
	switch m.Type {
	case "tmpfs":
		mount.Source = "tmpfs"
		mount.Options = append([]string{"noexec", "nosuid", "nodev"}, m.Options...)
		if m.ReadOnly {
			mount.Options = append(mount.Options, "ro")
		}
	case "bind":
		if err := bindSource(m); err != nil {
			return mount, err
		}
		options, err := bindOptions(m)
		if err != nil {
			return mount, err
		}
		mount.Options = options
	default:
		return specs.Mount{}, fail(protocol.KindInvalid, fmt.Errorf("invalid mount type %q at %s", m.Type, m.Target))
	}
	return mount, nil
}

func bindOptions(m protocol.Mount) ([]string, error) {
	options := []string{"rbind", "rprivate"}
	if m.NonRecursive {
		options[0] = "bind"
	}
	if m.Propagation != "" {
		if !slices.Contains([]string{"private", "rprivate", "slave", "rslave", "shared", "rshared"}, m.Propagation) { // any other option would be taken for one
			return nil, fail(protocol.KindInvalid, fmt.Errorf("invalid propagation %q at %s", m.Propagation, m.Target))
		}
		options[1] = m.Propagation
	}
	switch {
	case !m.ReadOnly:
	case m.ShallowReadOnly || m.NonRecursive:
		options = append(options, "ro")
	case recursiveReadOnly():
		options = append(options, "ro", "rro")
	case m.ForceReadOnly:
		return nil, fail(protocol.KindUnsupported, fmt.Errorf("cannot make what is mounted below %s read-only at %s: it needs Linux 5.12", m.Source, m.Target))
	default:
		options = append(options, "ro")
	}
	return options, nil
}

// bindSource makes the source of a bind mount, or refuses a missing one. It is
// done here and not in the daemon, whose sandbox hides parts of the host.
func bindSource(m protocol.Mount) error {
	_, err := os.Stat(m.Source)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !m.MakeSource {
		return fail(protocol.KindInvalid, fmt.Errorf("invalid mount config for type \"bind\": bind source path does not exist: %s", m.Source))
	}
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		return fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
	}
	return nil
}

// recursiveReadOnly tells whether the kernel can make a mount read-only together
// with what is mounted below it (mount_setattr(2), Linux 5.12).
func recursiveReadOnly() bool {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return !errors.Is(err, unix.ENOSYS)
}
