// SPDX-License-Identifier: Apache-2.0

package localmount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/internal/osthread"
	"golang.org/x/sys/unix"
)

// Registry is a directory that says which processes have a volume mounted in
// their mount namespaces: a file for each volume, which is locked by who mounts
// it. Nothing in it has to be kept: a process that has ended has nothing.
type Registry string

// holding is one line of a file.
type holding struct {
	pid     int
	started uint64 // of the process, see linux.ProcessStart
	path    string // of the mount, in the process's namespace
}

// Mount mounts a volume on target in the calling thread's mount namespace: the
// same file system that others have, as long as one of them has it, else what
// the options say. When keeper is not 0, others find it there as long as that
// process lives, which must be in the same namespace.
func (r Registry) Mount(volume string, options map[string]string, target string, keeper int) (err error) {
	if err := os.MkdirAll(string(r), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(string(r), volume), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // and lets go of the lock
	if err := flock(f); err != nil {
		return fmt.Errorf("cannot lock the volume %s: %w", volume, err)
	}
	holdings, err := read(f)
	if err != nil {
		return err
	}
	live, tree := find(holdings)
	if tree >= 0 {
		defer unix.Close(tree)
		err = Attach(tree, target)
	} else {
		err = Mount(options, target)
	}
	if err != nil {
		return err
	}
	if keeper != 0 {
		started, err := linux.ProcessStart(keeper)
		if err != nil {
			return errors.Join(err, unix.Unmount(target, unix.MNT_DETACH))
		}
		live = append(live, holding{keeper, started, target})
	}
	return write(f, live)
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// find returns those that still have the volume, and a new mount of theirs; -1
// when there is none.
func find(all []holding) (live []holding, tree int) {
	tree = -1
	for _, h := range all {
		fd, err := h.open()
		if err != nil {
			continue // it has ended, or has unmounted it
		}
		live = append(live, h)
		if tree < 0 {
			tree = fd
			continue
		}
		_ = unix.Close(fd)
	}
	return live, tree
}

// open makes a mount of another process's: a thread enters the namespace, as a
// mount can be cloned only from within, and what was cloned can be attached
// anywhere.
func (h holding) open() (tree int, err error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", h.pid))
	if err != nil {
		return -1, err
	}
	defer ns.Close()
	if started, err := linux.ProcessStart(h.pid); err != nil || started != h.started {
		return -1, os.ErrProcessDone
	}
	err = osthread.Run(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("setns", err)
		}
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, h.path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st); err != nil {
			return err
		}
		if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
			return os.ErrNotExist
		}
		tree, err = Detached(h.path, true)
		return err
	})
	return tree, err
}

// InNamespace runs do on a thread in the mount namespace of a process.
func InNamespace(pid int, do func() error) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	return osthread.Run(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return do()
	})
}

func read(f *os.File) (all []holding, err error) {
	content, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(content)) {
		var h holding
		if n, _ := fmt.Sscanf(line, "%d %d %q\n", &h.pid, &h.started, &h.path); n == 3 { // else a writer was killed
			all = append(all, h)
		}
	}
	return all, nil
}

func write(f *os.File, all []holding) error {
	var b strings.Builder
	for _, h := range all {
		fmt.Fprintf(&b, "%d %d %q\n", h.pid, h.started, h.path)
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(b.String()), 0)
	return err
}
