// SPDX-License-Identifier: Apache-2.0

package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/davit-engine/davit"
	"golang.org/x/sys/unix"
)

// Ports reserves ports of the host. A reservation is a bound socket, so that
// a port which another process uses is found out before a rule takes its
// traffic away, and so that no other process can take a published port. All
// methods may be called from any goroutine.
type Ports struct {
	mu    sync.Mutex
	taken map[davit.PortMapping]string // without container port -> container id
}

// NewPorts returns a table without reservations.
func NewPorts() *Ports { return &Ports{taken: map[davit.PortMapping]string{}} }

// Reserve binds one port of the request for a container: the one that is
// asked for, the first free one of a range, or one that the kernel chooses
// from net.ipv4.ip_local_port_range. The caller closes the socket; the port
// stays reserved for other processes only as long as a copy of it is open.
// It fails with [davit.PortInUse], naming the container that has the port if
// it is one of ours.
func (p *Ports) Reserve(container string, req davit.PortRequest) (davit.PortMapping, *os.File, error) {
	if err := checkRequest(&req); err != nil {
		return davit.PortMapping{}, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for port := uint32(req.FirstPort); port <= uint32(req.LastPort); port++ {
		m := davit.PortMapping{Proto: req.Proto, HostIP: req.HostIP, HostPort: uint16(port)}
		var socket *os.File
		if socket, err = p.bind(&m); err == nil {
			p.taken[m] = container
			m.ContainerPort = req.ContainerPort
			return m, socket, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return davit.PortMapping{}, nil, p.bindError(req, err)
}

// checkRequest completes a request and refuses what cannot be served.
func checkRequest(req *davit.PortRequest) error {
	if req.LastPort == 0 {
		req.LastPort = req.FirstPort
	}
	if !req.HostIP.IsValid() {
		req.HostIP = netip.IPv4Unspecified()
	}
	req.HostIP = req.HostIP.Unmap()
	switch {
	case sockets[req.Proto] == (socketOf{}):
		return davit.Errorf(davit.NotSupported, "cannot publish port %d/%.16s: only tcp, udp and sctp ports can be published", req.ContainerPort, req.Proto)
	case !req.HostIP.Is4():
		return davit.Errorf(davit.NotSupported, "cannot publish port %d/%s on %s: only IPv4 addresses can be published on", req.ContainerPort, req.Proto, req.HostIP)
	case req.ContainerPort == 0:
		return davit.Errorf(davit.InvalidConfiguration, "cannot publish port 0/%s: it is not a port", req.Proto)
	case req.LastPort < req.FirstPort || (req.FirstPort == 0 && req.LastPort != 0):
		return davit.Errorf(davit.InvalidConfiguration, "cannot publish port %d/%s: %d-%d is not a range of ports", req.ContainerPort, req.Proto, req.FirstPort, req.LastPort)
	}
	return nil
}

// bind binds the mapping's host port and fills in the one that the kernel chose.
func (p *Ports) bind(m *davit.PortMapping) (*os.File, error) {
	if m.HostPort != 0 && p.owner(*m) != "" {
		return nil, unix.EADDRINUSE
	}
	// A port that the kernel thinks free may still be one of ours, if its
	// container's monitor, and with it the socket, was killed.
	for range 16 {
		fd, port, err := bindSocket(m.Proto, netip.AddrPortFrom(m.HostIP, m.HostPort))
		if err != nil {
			return nil, err
		}
		chosen := davit.PortMapping{Proto: m.Proto, HostIP: m.HostIP, HostPort: port}
		if p.owner(chosen) == "" {
			*m = chosen
			return os.NewFile(uintptr(fd), fmt.Sprintf("%s:%d/%s", m.HostIP, port, m.Proto)), nil
		}
		unix.Close(fd)
	}
	return nil, unix.EADDRINUSE
}

// owner returns the container that a port is taken by: the same address, or
// one of the two is every address.
func (p *Ports) owner(m davit.PortMapping) string {
	for t, container := range p.taken {
		if t.Proto == m.Proto && t.HostPort == m.HostPort &&
			(t.HostIP == m.HostIP || t.HostIP.IsUnspecified() || m.HostIP.IsUnspecified()) {
			return container
		}
	}
	return ""
}

func (p *Ports) bindError(req davit.PortRequest, err error) error {
	ports := fmt.Sprint(req.FirstPort)
	if req.LastPort != req.FirstPort {
		ports = fmt.Sprintf("%d-%d", req.FirstPort, req.LastPort)
	}
	// Docker's words: clients show them, and tests of others look for them.
	text := fmt.Sprintf("driver failed programming external connectivity: failed to bind host port %s:%s/%s", req.HostIP, ports, req.Proto)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		owner := p.owner(davit.PortMapping{Proto: req.Proto, HostIP: req.HostIP, HostPort: req.FirstPort})
		if owner != "" && req.FirstPort == req.LastPort {
			return davit.Errorf(davit.PortInUse, "%s: %w (by container %s)", text, unix.EADDRINUSE, davit.ShortID(owner))
		}
		return davit.Errorf(davit.PortInUse, "%s: %w", text, unix.EADDRINUSE)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return davit.Errorf(davit.InvalidConfiguration, "%s: %w (the host does not have the address)", text, err)
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return davit.Errorf(davit.NotSupported, "%s: %w (the kernel has no %s, or not its module)", text, err, req.Proto)
	case errors.Is(err, unix.EACCES):
		return davit.Errorf(davit.Failed, "%s: %w (a port below net.ipv4.ip_unprivileged_port_start needs CAP_NET_BIND_SERVICE)", text, err)
	}
	return davit.Errorf(davit.Failed, "%s: %w", text, err)
}

// Claim records the ports of a container that a predecessor of the daemon
// published; the container's monitor holds their sockets.
func (p *Ports) Claim(container string, ports []davit.PortMapping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range ports {
		m.ContainerPort = 0
		p.taken[m] = container
	}
}

// Release gives up the reservations of a container's ports. Ports that
// another container has by now stay its own.
func (p *Ports) Release(container string, ports []davit.PortMapping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range ports {
		m.ContainerPort = 0
		if p.taken[m] == container {
			delete(p.taken, m)
		}
	}
}

// socketOf says what sockets of a protocol are.
type socketOf struct{ kind, protocol int }

var sockets = map[string]socketOf{
	"tcp": {unix.SOCK_STREAM, unix.IPPROTO_TCP}, "udp": {unix.SOCK_DGRAM, unix.IPPROTO_UDP}, "sctp": {unix.SOCK_STREAM, unix.IPPROTO_SCTP},
}

// bindSocket returns a bound socket and its port.
func bindSocket(proto string, addr netip.AddrPort) (fd int, port uint16, err error) {
	of := sockets[proto]
	fd, err = unix.Socket(unix.AF_INET, of.kind|unix.SOCK_CLOEXEC, of.protocol)
	if err != nil {
		return -1, 0, os.NewSyscallError("socket", err)
	}
	if err = bindExclusively(fd, of, addr); err == nil {
		var local unix.Sockaddr
		if local, err = unix.Getsockname(fd); err == nil {
			return fd, uint16(local.(*unix.SockaddrInet4).Port), nil
		}
	}
	unix.Close(fd)
	return -1, 0, err
}

// bindExclusively binds without SO_REUSEADDR: as long as one of two sockets is
// without it the kernel lets only one have the port, even though this one does
// not listen. Only TIME_WAIT and other remains of a server that has ended are
// then in the way for a minute too; so a TCP port that seems taken is tried
// again with the option, and by listening, which fails beside any live holder.
func bindExclusively(fd int, of socketOf, addr netip.AddrPort) error {
	if of.kind == unix.SOCK_DGRAM {
		// What reaches the socket itself is read by nobody: let it hold little.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	sockaddr := &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	err := unix.Bind(fd, sockaddr)
	if !errors.Is(err, unix.EADDRINUSE) || of.protocol != unix.IPPROTO_TCP || addr.Port() == 0 {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, sockaddr); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		return os.NewSyscallError("listen", err)
	}
	// shutdown ends the listening and keeps the binding (inet_shutdown).
	if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
		return os.NewSyscallError("shutdown", err)
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0))
}
