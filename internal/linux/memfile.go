// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Memfile returns a file in memory (memfd_create(2)) that holds p. The caller
// closes it.
func Memfile(name string, p []byte) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(p); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
