// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Hold locks the container in dir for this process: its spec has a lock that
// the kernel releases with the process's end, however that comes. It fails
// with EAGAIN when another holder has it. The file is to be kept open.
func Hold(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir+"/"+SpecFile, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		_ = f.Close()
		return nil, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return f, nil
}

// Held tells whether a process holds the container in dir. It takes no lock
// itself, not even for a moment (F_OFD_GETLK, fcntl(2)). Without a spec there
// is nothing to hold.
func Held(dir string) (bool, error) {
	f, err := os.Open(dir + "/" + SpecFile)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, &os.PathError{Op: "query the lock of", Path: f.Name(), Err: err}
	}
	return lock.Type != unix.F_UNLCK, nil
}
