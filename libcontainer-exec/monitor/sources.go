// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/internal/localmount"
	"github.com/davit-engine/davit/internal/osthread"
	"github.com/davit-engine/davit/internal/tarfs"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// sources mounts in the holder's mount namespace what no path of the host
// names: volumes that are mounted by their options, images, parts of both, and
// binds that share mounts with the host. libcontainer binds them from there.
// They stay for all runs of the container and go with the namespace.
type sources struct {
	dir  string // a tmpfs with a place for each, which no other process sees
	exec string // the engine's runtime directory
	spec *protocol.Spec
}

// prepareSources gives the mounts that need it a source.
func prepareSources(spec *protocol.Spec, dir string) (err error) {
	needed := slices.ContainsFunc(spec.Container.Mounts, func(m protocol.Mount) bool { return needsSource(&m) })
	if !needed {
		return nil
	}
	s := &sources{exec: filepath.Dir(filepath.Dir(dir)), spec: spec}
	s.dir = filepath.Join(s.exec, protocol.MountsD)
	ready := filepath.Join(s.dir, spec.ID)
	if _, err := os.Lstat(ready); errors.Is(err, fs.ErrNotExist) {
		err = s.make(ready)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for i := range spec.Container.Mounts {
		if m := &spec.Container.Mounts[i]; needsSource(m) {
			m.Type, m.Source = "bind", s.place(i)
		}
	}
	return nil
}

// needsSource tells whether a mount is none of a path of the host.
func needsSource(m *protocol.Mount) bool {
	return m.Type == "volume" || m.Type == "image" || m.Type == "bind" && (m.Subpath != "" || sharing(m))
}

func sharing(m *protocol.Mount) bool { return m.Propagation == "shared" || m.Propagation == "rshared" }

func (s *sources) place(i int) string { return filepath.Join(s.dir, strconv.Itoa(i)) }

// make mounts them all, and then makes the file that says so.
func (s *sources) make(ready string) (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", s.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700,size=1m"); err != nil {
		return fmt.Errorf("cannot make a place for mounts: %w", os.NewSyscallError("mount", err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, protocol.UnmountPlaces(s.exec))
		}
	}()
	for i := range s.spec.Container.Mounts {
		if m := &s.spec.Container.Mounts[i]; needsSource(m) {
			if err := s.makeOne(m, s.place(i)); err != nil {
				return fail(protocol.KindInvalid, err)
			}
		}
	}
	return os.WriteFile(ready, nil, 0o600)
}

func (s *sources) makeOne(m *protocol.Mount, place string) error {
	if m.Type == "bind" && m.Subpath == "" {
		return s.share(m, place)
	}
	whole := m.Source
	if m.Type != "bind" {
		whole = place + "-whole"
		if err := os.Mkdir(whole, 0o700); err != nil {
			return err
		}
	}
	switch m.Type {
	case "volume":
		registry := localmount.Registry(filepath.Join(s.exec, protocol.VolumesD))
		if err := registry.Mount(m.Volume, m.VolumeOptions, whole, os.Getppid()); err != nil {
			return fmt.Errorf("error while mounting volume '%s': %w", m.Source, err)
		}
		if m.Fill {
			if err := s.fill(m, whole); err != nil {
				return err
			}
		}
	case "image":
		if err := s.mountImage(m, whole); err != nil {
			return fmt.Errorf("cannot mount an image at %s: %w", m.Target, err)
		}
	}
	var tree int
	var err error
	if m.Subpath == "" {
		tree, err = localmount.Detached(whole, true)
	} else {
		tree, err = localmount.Below(whole, m.Subpath)
	}
	if err != nil {
		of := "volume " + m.Volume
		if m.Type == "image" {
			of = "the image at " + m.Target
		}
		return fmt.Errorf("cannot access path %s of %s: %w", m.Subpath, of, err)
	}
	defer unix.Close(tree)
	return attach(tree, place)
}

// attach mounts a detached tree at a place that it makes for it.
func attach(tree int, place string) error {
	dir, err := localmount.IsDir(tree)
	switch {
	case err != nil:
		return err
	case dir:
		err = os.Mkdir(place, 0o700)
	default:
		err = os.WriteFile(place, nil, 0o600)
	}
	if err != nil {
		return err
	}
	return localmount.Attach(tree, place)
}

// share makes a mount that is a peer of the host's: made in the launcher's
// namespace, as ours only receives. Nothing else of ours becomes one.
func (s *sources) share(m *protocol.Mount, place string) error {
	host, err := launcher()
	if err != nil {
		return err
	}
	var tree int
	err = localmount.InNamespace(host, func() (err error) {
		if err := bindSource(*m); err != nil {
			return err
		}
		if err := checkShared(m.Source); err != nil {
			return err
		}
		tree, err = localmount.Detached(m.Source, !m.NonRecursive)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return attach(tree, place)
}

// launcher returns the pid of the process that started the holder: the daemon,
// or PID 1.
func launcher() (int, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", os.Getppid()))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // proc_pid_stat(5)
	if len(fields) < 2 {
		return 0, errors.New("cannot tell who started the monitor")
	}
	return strconv.Atoi(fields[1])
}

// checkShared refuses a path whose mount passes nothing on, in the words of
// Docker.
func checkShared(path string) error {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return &os.PathError{Op: "statx", Path: path, Err: err}
	}
	info, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line) // proc_pid_mountinfo(5): id, …, the point is the fifth, then options and optional fields up to "-"
		if len(fields) < 7 || fields[0] != strconv.FormatUint(st.Mnt_id, 10) {
			continue
		}
		for _, f := range fields[6:] {
			if f == "-" {
				break
			}
			if strings.HasPrefix(f, "shared:") {
				return nil
			}
		}
		return fmt.Errorf("path %s is mounted on %s but it is not a shared mount", path, fields[4])
	}
	return fmt.Errorf("cannot find the mount of %s", path)
}

// mountImage mounts an image's layers read-only. Their names are short links,
// as mount(2) takes one page of options.
func (s *sources) mountImage(m *protocol.Mount, target string) error {
	links, err := os.MkdirTemp(s.dir, "layers-")
	if err != nil {
		return err
	}
	names := make([]string, 0, len(m.Layers)+1)
	for i, dir := range m.Layers {
		names = append(names, strconv.Itoa(i))
		if err := os.Symlink(dir, filepath.Join(links, names[i])); err != nil {
			return err
		}
	}
	// Without an upper directory overlayfs wants two others.
	if err := os.Mkdir(filepath.Join(links, "none"), 0o755); err != nil {
		return err
	}
	names = append(names, "none")
	return osthread.InDir(links, func() error {
		return os.NewSyscallError("mount", unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(names, ":")))
	})
}

// fill gives an empty volume what the image has at its target.
func (s *sources) fill(m *protocol.Mount, volume string) error {
	entries, err := os.ReadDir(volume)
	if err != nil || len(entries) > 0 {
		return err
	}
	root := s.spec.Holder.Rootfs.Target
	if fi, _, err := tarfs.Lstat(root, m.Target+"/."); err != nil || !fi.IsDir() {
		return nil //nolint:nilerr // the image has no such directory
	}
	if err := tarfs.CopyTree(root, m.Target, volume); err != nil {
		return fmt.Errorf("cannot fill volume %s from %s: %w", m.Volume, m.Target, err)
	}
	return nil
}
