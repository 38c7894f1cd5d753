// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// UnmountPlaces unmounts what [MountsD] holds in this mount namespace; nothing
// is fine. Some of it may be a peer of a mount of the host, and what is mounted
// below such a one would be unmounted there, too: first of all they stop being
// peers (mount_namespaces(7)).
func UnmountPlaces(execRoot string) error {
	dir := filepath.Join(execRoot, MountsD)
	err := unix.Mount("", dir, "", unix.MS_PRIVATE|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // nothing is mounted there
	}
	if err != nil {
		return err
	}
	return unix.Unmount(dir, unix.MNT_DETACH)
}
