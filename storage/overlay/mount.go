// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/osthread"
	"golang.org/x/sys/unix"
)

// Mount mounts the root of a container that does not run, and in it what the
// container mounts; see the service's RootfsStore. Mounts of one container are
// counted: the last release unmounts.
func (s *Store) Mount(containerID string, with ...davit.Mount) (string, func() error, error) {
	r, err := s.Rootfs(containerID)
	if err != nil {
		return "", nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mounts[containerID] == 0 {
		if err := s.mount(r); err != nil {
			return "", nil, fmt.Errorf("cannot mount the root file system of %s: %w", davit.ShortID(containerID), err)
		}
		if err := s.bind(r, with); err != nil {
			unmount(r.Target)
			return "", nil, err
		}
	}
	s.mounts[containerID]++
	var once sync.Once
	release := func() (err error) {
		once.Do(func() { err = s.release(containerID, r.Target) })
		return err
	}
	return r.Target, release, nil
}

func (s *Store) release(containerID, target string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mounts[containerID] == 0 {
		return nil // removed meanwhile
	}
	if s.mounts[containerID]--; s.mounts[containerID] > 0 {
		return nil
	}
	delete(s.mounts, containerID)
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot unmount %s: %w", target, err)
	}
	return nil
}

// mount mounts r. The working directory is the short links' while it does, on
// a thread of its own: mount(2) takes one page of options.
func (s *Store) mount(r davit.Rootfs) error {
	lower := make([]string, len(r.Lower))
	for i, l := range r.Lower {
		rel, err := filepath.Rel(s.linkDir(), l)
		if err != nil {
			return err
		}
		lower[i] = rel
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(lower, ":"), escape(r.Upper), escape(r.Work))
	if len(options) >= os.Getpagesize() {
		return davit.Errorf(davit.NotSupported, "%d layers are more than one mount can name", len(lower))
	}
	return osthread.InDir(s.linkDir(), func() error {
		return os.NewSyscallError("mount", unix.Mount("overlay", r.Target, "overlay", 0, options))
	})
}

// escape protects what separates overlayfs's options; lower names are our own.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(path)
}

// unmount unmounts whatever a killed daemon left on dir; nothing is fine.
func unmount(dir string) {
	for unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH) == nil {
		continue // it may have been mounted more than once
	}
}

// emptyDir stands for the layers of an image that has none.
func (s *Store) emptyDir() string { return filepath.Join(s.linkDir(), "empty") }

// probe checks that the file system can carry overlayfs: that it tells the
// types of directory entries, and that a file removed from a mount leaves a
// whiteout in the upper layer. The mount is never attached anywhere.
func (s *Store) probe() error {
	if err := os.MkdirAll(s.emptyDir(), 0o755); err != nil {
		return fmt.Errorf("cannot create the layer store: %w", err)
	}
	tmp, err := os.MkdirTemp(s.tmpDir(), "probe-")
	if err != nil {
		return fmt.Errorf("cannot create the layer store: %w", err)
	}
	err = osthread.InDir(tmp, probe)
	if err != nil {
		var st unix.Statfs_t
		if unix.Statfs(tmp, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
			err = fmt.Errorf("it is itself an overlayfs: %w", err)
		}
		err = davit.Errorf(davit.NotSupported, "cannot use overlayfs in %s (choose another --data-root, on ext4 or xfs): %w", s.dir, err)
	}
	return errors.Join(err, os.RemoveAll(tmp))
}

// probe works in its working directory: fsconfig(2) takes no string over 255 bytes.
func probe() error {
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join("lower", "file"), nil, 0o600); err != nil {
		return err
	}
	if err := checkTypes("lower"); err != nil {
		return err
	}
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, o := range [][2]string{{"lowerdir", "lower"}, {"upperdir", "upper"}, {"workdir", "work"}} {
		if err := unix.FsconfigSetString(fd, o[0], o[1]); err != nil {
			return os.NewSyscallError("fsconfig "+o[0], err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return os.NewSyscallError("mount", err)
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fsmount", err)
	}
	defer func() { _ = unix.Close(mnt) }()
	if err := unix.Unlinkat(mnt, "file", 0); err != nil {
		return os.NewSyscallError("unlinkat", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join("upper", "file"), &st); err != nil {
		return fmt.Errorf("no whiteout was made: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		return errors.New("no whiteout was made")
	}
	return nil
}

// checkTypes fails when readdir(3) does not give the types of entries (xfs
// made with ftype=0): overlayfs would show whiteouts as files.
func checkTypes(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // opened for reading
	buf := make([]byte, 4096)
	n, err := unix.Getdents(int(f.Fd()), buf)
	if err != nil {
		return os.NewSyscallError("getdents", err)
	}
	// struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name
	for off := 0; off+19 <= n; {
		reclen := int(buf[off+16]) | int(buf[off+17])<<8
		if buf[off+18] == unix.DT_UNKNOWN {
			return errors.New("the file system does not tell the types of directory entries (d_type; for xfs: ftype=1)")
		}
		if reclen == 0 {
			break
		}
		off += reclen
	}
	return nil
}
