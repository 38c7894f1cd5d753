// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"os"

	"golang.org/x/sys/unix"
)

// Pipe returns a pipe for a process's stdio: theirs, which blocks as programs expect, and ours, which
// can be closed while it waits. write says that ours is the writing end. The
// caller closes both.
func Pipe(write bool) (theirs int, ours *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return -1, nil, os.NewSyscallError("pipe2", err)
	}
	mine := 0
	if write {
		mine = 1
	}
	if err := unix.SetNonblock(fds[mine], true); err != nil {
		CloseFDs(fds[:])
		return -1, nil, os.NewSyscallError("fcntl", err)
	}
	return fds[1-mine], os.NewFile(uintptr(fds[mine]), "pipe"), nil
}
