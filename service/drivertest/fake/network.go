// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/davit-engine/davit"
)

// Network is a fake [service.Network] of one bridge. Its ports are proved
// free against each other only; its sockets are files that are none.
type Network struct {
	Faults
	subnet netip.Prefix

	mu        sync.Mutex
	ready     bool
	lastID    int
	allocated map[string]davit.Endpoint // by endpoint id
	attached  map[string]davit.Endpoint // what the kernel has; survives Restart
}

// NewNetwork returns the driver of a host without a bridge.
func NewNetwork(subnet netip.Prefix) *Network {
	return &Network{subnet: subnet, allocated: map[string]davit.Endpoint{}, attached: map[string]davit.Endpoint{}}
}

// Restart is what a new daemon finds: the kernel's side only.
func (n *Network) Restart() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready, n.allocated = false, map[string]davit.Endpoint{}
}

// Text returns the state of the host, a line for each attachment.
func (n *Network) Text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return describeEndpoints("attached", n.attached)
}

// Reserved returns a line for each address that is allocated.
func (n *Network) Reserved() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return describeEndpoints("allocated", n.allocated)
}

func describeEndpoints(verb string, eps map[string]davit.Endpoint) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(eps)) {
		ep := eps[id]
		fmt.Fprintf(&b, "%s %s %s %v\n", verb, davit.ShortID(ep.ContainerID), ep.Address, ep.Ports)
	}
	return b.String()
}

func (n *Network) gateway() netip.Addr { return n.subnet.Addr().Next() }

// Backend implements [service.Network].
func (n *Network) Backend() string { return "fake" }

// Init implements [service.Network].
func (n *Network) Init(ctx context.Context, live []davit.Endpoint) (davit.Network, error) {
	if err := n.enterContext(ctx, "Init", ""); err != nil {
		return davit.Network{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		n.ready = true
		n.attached = map[string]davit.Endpoint{}
		for _, ep := range live {
			n.allocated[ep.EndpointID], n.attached[ep.EndpointID] = ep, ep
		}
	}
	return davit.Network{ID: ID("bridge"), Name: "bridge", Driver: "bridge", Subnet: n.subnet, Gateway: n.gateway()}, nil
}

func (n *Network) check() error {
	if !n.ready {
		return davit.Errorf(davit.ShuttingDown, "the network is not up")
	}
	return nil
}

// Allocate implements [service.Network].
func (n *Network) Allocate(ctx context.Context, containerID string, ports []davit.PortRequest) (davit.Endpoint, []*os.File, error) {
	if err := n.enterContext(ctx, "Allocate", davit.ShortID(containerID)); err != nil {
		return davit.Endpoint{}, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.check(); err != nil {
		return davit.Endpoint{}, nil, err
	}
	addr, err := n.freeAddress()
	if err != nil {
		return davit.Endpoint{}, nil, err
	}
	n.lastID++
	ep := davit.Endpoint{
		NetworkID: ID("bridge"), NetworkName: "bridge", ContainerID: containerID, EndpointID: ID(fmt.Sprint(containerID, n.lastID)),
		Address: netip.PrefixFrom(addr, n.subnet.Bits()), Gateway: n.gateway(),
		MAC: fmt.Sprintf("02:42:00:00:%02x:%02x", n.lastID>>8&0xff, n.lastID&0xff), HostLink: fmt.Sprintf("fake%d", n.lastID),
	}
	var held []*os.File
	for _, req := range ports {
		m, err := n.freePort(req, ep.Ports)
		if err != nil {
			return davit.Endpoint{}, nil, errors.Join(err, closeAll(held))
		}
		f, err := os.Open(os.DevNull)
		if err != nil {
			return davit.Endpoint{}, nil, errors.Join(err, closeAll(held))
		}
		ep.Ports, held = append(ep.Ports, m), append(held, f)
	}
	n.allocated[ep.EndpointID] = ep
	return ep, held, nil
}

func closeAll(files []*os.File) error {
	var errs error
	for _, f := range files {
		errs = errors.Join(errs, f.Close())
	}
	return errs
}

func (n *Network) freeAddress() (netip.Addr, error) {
	taken := map[netip.Addr]bool{n.gateway(): true}
	for _, ep := range n.allocated {
		taken[ep.Address.Addr()] = true
	}
	// The last address is the broadcast address.
	for a := n.gateway().Next(); n.subnet.Contains(a.Next()); a = a.Next() {
		if !taken[a] {
			return a, nil
		}
	}
	return netip.Addr{}, davit.Errorf(davit.AddressPoolExhausted, "no address of %s is free", n.subnet)
}

func (n *Network) freePort(req davit.PortRequest, own []davit.PortMapping) (davit.PortMapping, error) {
	if !req.HostIP.IsValid() {
		req.HostIP = netip.IPv4Unspecified()
	}
	first, last := int(req.FirstPort), int(req.LastPort)
	if first == 0 {
		first, last = 32768, 60999
	}
	for p := first; p <= last; p++ {
		m := davit.PortMapping{Proto: req.Proto, HostIP: req.HostIP, HostPort: uint16(p), ContainerPort: req.ContainerPort}
		clash := slices.ContainsFunc(own, func(o davit.PortMapping) bool { return portsClash(m, o) })
		for _, ep := range n.allocated {
			clash = clash || slices.ContainsFunc(ep.Ports, func(o davit.PortMapping) bool { return portsClash(m, o) })
		}
		if !clash {
			return m, nil
		}
	}
	return davit.PortMapping{}, davit.Errorf(davit.PortInUse, "Bind for %s:%d failed: port is already allocated", req.HostIP, first)
}

func portsClash(a, b davit.PortMapping) bool {
	sameIP := a.HostIP == b.HostIP || a.HostIP.IsUnspecified() || b.HostIP.IsUnspecified()
	return a.Proto == b.Proto && a.HostPort == b.HostPort && sameIP
}

// Attach implements [service.Network].
func (n *Network) Attach(ctx context.Context, ep davit.Endpoint, netns *os.File) error {
	if err := n.enterContext(ctx, "Attach", davit.ShortID(ep.ContainerID)); err != nil {
		return err
	}
	info, err := netns.Stat()
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeCharDevice != 0 {
		return fmt.Errorf("%s is no network namespace", netns.Name())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attached[ep.EndpointID] = ep
	return nil
}

// Detach implements [service.Network].
func (n *Network) Detach(ctx context.Context, ep davit.Endpoint) error {
	if err := n.enterContext(ctx, "Detach", davit.ShortID(ep.ContainerID)); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.attached, ep.EndpointID)
	return n.check()
}

// Release implements [service.Network].
func (n *Network) Release(ep davit.Endpoint) {
	_ = n.enter("Release", davit.ShortID(ep.ContainerID)) // it cannot fail
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.allocated, ep.EndpointID)
}

// Reapply implements [service.Network].
func (n *Network) Reapply(ctx context.Context, live []davit.Endpoint) error {
	if err := n.enterContext(ctx, "Reapply", fmt.Sprint(len(live))); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ep := range live {
		n.attached[ep.EndpointID] = ep
	}
	return n.check()
}

// Resolver is a fake [service.Resolver] that writes down what it is given.
type Resolver struct{ Faults }

// ResolvConf implements [service.Resolver].
func (r *Resolver) ResolvConf(servers, search, options []string) ([]byte, error) {
	err := r.enter("ResolvConf", "")
	return fmt.Appendf(nil, "servers %v search %v options %v\n", servers, search, options), err
}

// HostFiles implements [service.Resolver].
func (r *Resolver) HostFiles() (hosts, resolv []byte, err error) {
	err = r.enter("HostFiles", "")
	return []byte("192.0.2.9\thost\n"), []byte("nameserver 192.0.2.8\n"), err
}
