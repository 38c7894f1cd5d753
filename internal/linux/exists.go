// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Missing tells whether nothing is at an absolute path, links followed, in the
// mount namespace of the process that proc is the directory of (/proc/self,
// /proc/1). When that cannot be told, it is not missing.
func Missing(proc, path string) bool {
	root, err := OpenPath(proc + "/root/")
	if err != nil {
		return false
	}
	defer root.Close()
	// Not by name below proc: a link in the path would lead into our own root.
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err == nil {
		_ = unix.Close(fd)
	}
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}
