// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenPath opens a directory as a place to go on from, not for reading (O_PATH
// of open(2)). The caller closes it.
func OpenPath(name string) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
