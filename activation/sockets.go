// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The names of sockets. A name is FileDescriptorName= of the socket unit and
// says how far those who can connect are trusted.
const (
	API    = "api"     // may do everything
	APIRO  = "api-ro"  // may read
	APITLS = "api-tls" // TCP, may do everything after mutual TLS
)

var socketNames = []string{API, APIRO, APITLS}

// Socket is a listening socket of a trust class.
type Socket struct {
	Name     string
	Listener net.Listener
}

// Listen returns the sockets to serve: those that systemd passed, and one for
// each of hosts that is a path. The host fd:// stands for systemd's. It is an
// error when there are none. On failure everything is closed again.
func (s *Systemd) Listen(hosts []string, group string) (sockets []Socket, err error) {
	defer func() {
		if err != nil {
			for _, socket := range sockets {
				socket.Listener.Close()
			}
			sockets = nil
		}
	}()
	activated := s.Activated()
	if sockets, err = s.Sockets(); err != nil {
		return sockets, err
	}
	for _, host := range hosts {
		if activated && isFD(host) {
			continue
		}
		socket, err := ListenHost(host, group)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, socket)
	}
	if len(sockets) == 0 {
		return sockets, errors.New("no socket to serve: start the daemon by its socket unit, or give --host unix:///PATH")
	}
	return sockets, nil
}

func isFD(host string) bool { return host == "fd://" }

// Sockets returns the sockets that systemd passed, in no particular order: it
// passes those of several units in any. The caller owns them; they are
// returned once. One with a name other than [API], [APIRO] and [APITLS], a
// TCP socket that is not for TLS, or a descriptor that is no listening stream
// socket fails the whole.
func (s *Systemd) Sockets() ([]Socket, error) {
	var sockets []Socket
	for len(s.passed) > 0 {
		p := s.passed[0]
		s.passed = s.passed[1:]
		file := os.NewFile(uintptr(p.fd), p.name)
		listener, err := p.listener(file)
		file.Close() // the listener has a duplicate
		if err != nil {
			for _, socket := range sockets {
				socket.Listener.Close()
			}
			for _, rest := range s.passed {
				unix.Close(rest.fd)
			}
			s.passed = nil
			return nil, err
		}
		sockets = append(sockets, Socket{Name: p.name, Listener: listener})
	}
	return sockets, nil
}

func (p passed) listener(file *os.File) (net.Listener, error) {
	if !slices.Contains(socketNames, p.name) {
		return nil, fmt.Errorf("descriptor %d from systemd is named %q: set FileDescriptorName= of its socket unit to one of %s",
			p.fd, p.name, strings.Join(socketNames, ", "))
	}
	refuse := func(format string, args ...any) (net.Listener, error) {
		return nil, fmt.Errorf("cannot serve socket %q (descriptor %d) from systemd: %w", p.name, p.fd, fmt.Errorf(format, args...))
	}
	var st unix.Stat_t
	if err := unix.Fstat(p.fd, &st); err != nil {
		return refuse("%w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return refuse("it is not a socket")
	}
	family, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return refuse("%w", err)
	}
	kind, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return refuse("%w", err)
	}
	listening, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return refuse("%w", err)
	}
	inet := family == unix.AF_INET || family == unix.AF_INET6
	switch {
	case kind != unix.SOCK_STREAM:
		return refuse("it is not a stream socket: use ListenStream= in its unit")
	case listening == 0:
		return refuse("it does not listen: Accept=yes is not possible in its unit")
	case inet && p.name != APITLS:
		return refuse("it is TCP, which anybody can connect to: name it %s, which wants a certificate of its clients, or listen on a path", APITLS)
	case !inet && p.name == APITLS:
		return refuse("it is not TCP: name it %s or %s", API, APIRO)
	case !inet && family != unix.AF_UNIX:
		return refuse("address family %d is not supported", family)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return refuse("%w", err)
	}
	return listener, nil
}
