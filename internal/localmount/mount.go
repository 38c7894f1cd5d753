// SPDX-License-Identifier: Apache-2.0

package localmount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount mounts what a volume's options say on a directory, in the mount
// namespace of the calling thread. The error is Docker's.
func Mount(options map[string]string, target string) error {
	c, err := parse(options[optO])
	if err != nil {
		return err
	}
	kind, device, data := options[optType], options[optDevice], c.data
	if kind == "nfs" || kind == "nfs4" || kind == "cifs" {
		if data, err = resolve(data); err != nil {
			return fmt.Errorf("failed to mount local volume: %w", err)
		}
	}
	if err := mount(device, target, kind, c.flags, strings.Join(data, ",")); err != nil {
		return fmt.Errorf("failed to mount local volume: mount %s:%s, flags: 0x%x, data: %s: %w", device, target, c.flags, shown(data), err)
	}
	return nil
}

func mount(device, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(device, target, kind, flags, data); err != nil {
		return err
	}
	// A bind takes its other flags in a second call (mount(2)).
	if flags&unix.MS_BIND == 0 || flags&^(unix.MS_BIND|unix.MS_REC) == 0 {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|flags&^unix.MS_REC, ""); err != nil {
		return errors.Join(err, unix.Unmount(target, unix.MNT_DETACH))
	}
	return nil
}

// Attach mounts what a descriptor of a detached mount holds on target, a
// directory or a file.
func Attach(tree int, target string) error {
	return os.NewSyscallError("move_mount", unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// Detached returns a descriptor of a new mount of what is at path, which is
// attached nowhere; with all that is mounted below it when recursive. It is in
// the peer group of the mount that it was made of (mount_namespaces(7)). The
// caller closes it.
func Detached(path string, recursive bool) (int, error) {
	return detach(unix.AT_FDCWD, path, recursive, 0)
}

// MakeReadOnly makes a detached mount read-only, with all that is mounted below
// it when recursive (mount_setattr(2), Linux 5.12).
func MakeReadOnly(tree int, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(tree, "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}))
}

func detach(dir int, path string, recursive bool, more uint) (int, error) {
	how := uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC) | more
	if recursive {
		how |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(dir, path, how)
	if err != nil {
		return -1, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	return fd, nil
}

// Below returns a descriptor of a new mount, attached nowhere, of a path below
// root, which may be a file. Links are followed as if root were the root
// directory; none leads out of it, whoever changes them meanwhile (openat2(2)).
// The caller closes it.
func Below(root, subpath string) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, subpath, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: subpath, Err: err}
	}
	defer unix.Close(fd)
	return detach(fd, "", true, unix.AT_EMPTY_PATH)
}

// IsDir tells whether a descriptor is one of a directory.
func IsDir(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}
