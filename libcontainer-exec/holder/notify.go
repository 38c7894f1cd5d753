// SPDX-License-Identifier: Apache-2.0

package holder

import "golang.org/x/sys/unix"

// notifier is the address of systemd's notification socket (sd_notify(3)), or
// "" when there is none.
type notifier string

// send tells systemd; it cannot fail in a way that would concern a container.
func (n notifier) send(state string) {
	if n == "" {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// x/sys turns a leading @ into the zero byte of an abstract name.
	_ = unix.Sendto(fd, []byte(state), unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: string(n)})
}
