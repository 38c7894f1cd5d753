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
	"golang.org/x/sys/unix"
)

// bind mounts what a container mounts into its root, in the order given. The
// container chose what its root holds: targets are resolved in it, and never
// through a link that leaves it.
func bind(root string, mounts []davit.Mount) error {
	for _, m := range mounts {
		if m.Source == "" {
			continue // a tmpfs is empty while its container does not run
		}
		if err := bindOne(root, m); err != nil {
			return fmt.Errorf("cannot mount %s at %s: %w", m.Source, m.Target, err)
		}
	}
	return nil
}

func bindOne(root string, m davit.Mount) error {
	info, err := os.Stat(m.Source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // made at the start
	}
	if err != nil {
		return err
	}
	if err := makeTarget(root, m.Target, info.IsDir()); err != nil {
		return err
	}
	target, err := openIn(root, m.Target)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	tree, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	if m.ReadWrite {
		return nil
	}
	// The mount is meant that was just made, whatever its target leads to by now:
	// a link can be one way before the mount and another behind it.
	return os.NewSyscallError("mount", unix.Mount("", procFD(tree), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
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
