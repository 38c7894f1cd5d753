// SPDX-License-Identifier: Apache-2.0

// Package osthread runs functions on threads of their own, whose root or
// working directory can differ from the process's.
package osthread

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Run runs do on a thread that shares neither root, working directory nor
// umask with the rest of the process (CLONE_FS, unshare(2)), and that ends with
// it. do must not start goroutines that rely on them: these run on other
// threads.
//
// do never runs on the process's first thread: /proc/self shows that one's
// root and working directory, and it would outlive us in that state.
func Run(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- runHere(do) // still locked: the runtime ends the thread
			return
		}
		err := Run(do) // cannot get this thread, as we hold it meanwhile
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

func runHere(do func() error) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	return do()
}

// InDir runs do as [Run] does, with another working directory.
func InDir(dir string, do func() error) error {
	return Run(func() error {
		if err := unix.Chdir(dir); err != nil {
			return &os.PathError{Op: "chdir", Path: dir, Err: err}
		}
		return do()
	})
}

// InRoot runs do as [Run] does, with another root directory, which is its
// working directory, too, and without a umask. Files of do must be used, not
// handed out by name.
func InRoot(root string, do func() error) error {
	return Run(func() error {
		if err := unix.Chroot(root); err != nil {
			return &os.PathError{Op: "chroot", Path: root, Err: err}
		}
		if err := unix.Chdir("/"); err != nil {
			return &os.PathError{Op: "chdir", Path: root, Err: err}
		}
		unix.Umask(0)
		return do()
	})
}
