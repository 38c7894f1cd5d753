// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a unix socket, as it was when it
// connected (unix(7)).
type Peer struct {
	UID  uint32
	GIDs []uint32 // the effective group first, then the others
	PID  int      // 0 when it is in a pid namespace that cannot be seen from here
}

// PeerOf asks the kernel who connected: SO_PEERCRED, and SO_PEERGROUPS of
// Linux 4.13.
func PeerOf(conn syscall.Conn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var groups []uint32
	cerr := raw.Control(func(fd uintptr) {
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			groups, err = peerGroups(fd)
		}
	})
	if err = errors.Join(cerr, err); err != nil {
		return Peer{}, fmt.Errorf("cannot read the credentials of a client: %w", err)
	}
	return Peer{UID: cred.Uid, GIDs: append([]uint32{cred.Gid}, groups...), PID: int(cred.Pid)}, nil
}

// peerGroups reads a list whose length the kernel tells when the buffer is too
// small for it.
func peerGroups(fd uintptr) ([]uint32, error) {
	const size = unsafe.Sizeof(uint32(0))
	for groups := make([]uint32, 64); ; {
		length := uint32(len(groups)) * uint32(size)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&length)), 0)
		switch {
		case errno == 0:
			return groups[:length/uint32(size)], nil
		case errno != unix.ERANGE || int(length/uint32(size)) <= len(groups):
			return nil, errno
		}
		groups = make([]uint32, length/uint32(size))
	}
}
