// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/localmount"
	"github.com/davit-engine/davit/internal/osthread"
	"golang.org/x/sys/unix"
)

// bind mounts what a container mounts into its root, in the order given. The
// container chose what its root holds: targets are resolved in it, and never
// through a link that leaves it.
func (s *Store) bind(r davit.Rootfs, mounts []davit.Mount) error {
	for i := range mounts {
		m := &mounts[i]
		if m.Type == "tmpfs" {
			continue // it is empty while its container does not run
		}
		if err := s.bindOne(r, m); err != nil {
			return fmt.Errorf("cannot mount %s at %s: %w", m.Source, m.Target, err)
		}
	}
	return nil
}

func (s *Store) bindOne(r davit.Rootfs, m *davit.Mount) error {
	tree, err := s.source(r, m)
	if m.Type == "bind" && errors.Is(err, fs.ErrNotExist) {
		return nil // made, or refused, at the start
	}
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	dir, err := localmount.IsDir(tree)
	if err != nil {
		return err
	}
	if err := makeTarget(r.Target, m.Target, dir); err != nil {
		return err
	}
	late := false
	if !m.ReadWrite {
		err := localmount.MakeReadOnly(tree, !m.ReadOnlyNonRecursive)
		if late = errors.Is(err, unix.ENOSYS); err != nil && !late {
			return err
		}
	}
	target, err := openIn(r.Target, m.Target)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil || !late {
		return os.NewSyscallError("move_mount", err)
	}
	// Before Linux 5.12, and without what is mounted below. The mount is meant that
	// was just made, whatever its target leads to by now: a link can be one way
	// before the mount and another behind it.
	return os.NewSyscallError("mount", unix.Mount("", procFD(tree), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
}

// source returns what is to be mounted, attached nowhere.
func (s *Store) source(r davit.Rootfs, m *davit.Mount) (tree int, err error) {
	whole := m.Source
	if m.Type == "image" || len(m.VolumeOptions) > 0 {
		if whole, err = os.MkdirTemp(s.tmpDir(), "mount-"); err != nil {
			return -1, err
		}
		defer func() { err = errors.Join(err, os.Remove(whole)) }()
		if err := s.mountWhole(r, m, whole); err != nil {
			return -1, err
		}
		defer unmount(whole)
	}
	if m.Subpath != "" {
		return localmount.Below(whole, m.Subpath)
	}
	return localmount.Detached(whole, !m.NonRecursive)
}

func (s *Store) mountWhole(r davit.Rootfs, m *davit.Mount, dir string) error {
	switch {
	case m.Type == "image":
		return s.mountImage(r.Images[m.Source], dir)
	case s.shared == "":
		return localmount.Mount(m.VolumeOptions, dir)
	}
	return localmount.Registry(s.shared).Mount(m.Name, m.VolumeOptions, dir, 0)
}

// mountImage mounts an image's layers, read-only.
func (s *Store) mountImage(lower []string, target string) error {
	names := make([]string, 0, len(lower)+1)
	for _, l := range lower {
		names = append(names, filepath.Base(l))
	}
	if len(names) == 1 && names[0] != filepath.Base(s.emptyDir()) {
		names = append(names, filepath.Base(s.emptyDir())) // without an upper directory overlayfs wants two others
	}
	return osthread.InDir(s.linkDir(), func() error {
		return os.NewSyscallError("mount", unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(names, ":")))
	})
}

// makeTarget makes the mount point of a container that was never started.
func makeTarget(root, target string, dir bool) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	rel := strings.TrimPrefix(path.Clean("/"+target), "/")
	if _, err := r.Stat(rel); !errors.Is(err, fs.ErrNotExist) {
		return nil // it is there, or openIn knows better
	}
	if dir {
		return r.MkdirAll(rel, 0o755)
	}
	if err := r.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
		return err
	}
	f, err := r.OpenFile(rel, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// openIn opens a path of a tree as the tree's own root would see it
// (openat2(2)).
func openIn(root, name string) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("open", err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	return fd, os.NewSyscallError("openat2", err)
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
