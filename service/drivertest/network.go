// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// NetworkHost is a host that nothing else changes, with a network driver.
type NetworkHost struct {
	// Open returns a driver before Init. Called again, it is that of a new
	// daemon on the same host, whose predecessor was killed.
	Open func(t *testing.T) service.Network
	// Small opens a driver with fewer than 16 addresses.
	Small func(t *testing.T) service.Network
	// Netns returns a new network namespace; the test's end closes it.
	Netns func(t *testing.T) *os.File
	// Text returns all links, rules and ports that are there, without counters.
	Text func(t *testing.T) string
	// Binds says that the ports are the host's real ones.
	Binds bool
}

// TestNetwork checks a [service.Network].
func TestNetwork(t *testing.T, h NetworkHost) {
	for name, test := range map[string]func(*testing.T, NetworkHost){
		"init": testNetworkInit, "addresses": testAddresses, "pool exhausted": testPoolExhausted,
		"ports": testPorts, "failed allocation": testFailedAllocation, "port of another program": testForeignPort,
		"attach and detach": testAttach, "failed attachment": testFailedAttach, "restart": testNetworkRestart,
		"release twice": testReleaseTwice, "reapply": testReapply,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

func (h NetworkHost) up(t *testing.T) service.Network {
	t.Helper()
	n := h.Open(t)
	result(n.Init(t.Context(), nil))(t)
	return n
}

// allocation is what a container of the suite has.
type allocation struct {
	davit.Endpoint
	sockets []*os.File
}

func allocate(t *testing.T, n service.Network, name string, ports ...davit.PortRequest) *allocation {
	t.Helper()
	ep, sockets, err := n.Allocate(t.Context(), fake.ID(name), ports)
	must(t, err)
	a := &allocation{ep, sockets}
	t.Cleanup(func() { _ = closeAll(a.sockets) })
	return a
}

func closeAll(files []*os.File) error {
	var errs error
	for _, f := range files {
		errs = errors.Join(errs, f.Close())
	}
	return errs
}

// end releases an allocation as the end of its container does.
func (a *allocation) end(t *testing.T, n service.Network) {
	t.Helper()
	_ = closeAll(a.sockets)
	must(t, n.Detach(t.Context(), a.Endpoint))
	n.Release(a.Endpoint)
}

func tcp(container, first, last uint16) davit.PortRequest {
	return davit.PortRequest{Proto: "tcp", ContainerPort: container, FirstPort: first, LastPort: last}
}

func testNetworkInit(t *testing.T, h NetworkHost) {
	n := h.Open(t)
	if _, _, err := n.Allocate(t.Context(), fake.ID("early"), nil); err == nil {
		t.Error("an address was allocated before Init")
	}
	one := result(n.Init(t.Context(), nil))(t)
	if one.ID == "" || one.Name != "bridge" || one.Driver != "bridge" || !one.Subnet.IsValid() || !one.Subnet.Contains(one.Gateway) {
		t.Errorf("the network is %+v", one)
	}
	before := h.Text(t)
	two := result(n.Init(t.Context(), nil))(t)
	if d := diff(one, two); d != "" {
		t.Errorf("initialised again, the network changed (-want +got):\n%s", d)
	}
	if after := h.Text(t); after != before {
		t.Errorf("initialised again, the host changed from\n%s\nto\n%s", before, after)
	}
	if n.Backend() == "" {
		t.Error("the firewall has no name")
	}
}

func testAddresses(t *testing.T, h NetworkHost) {
	n := h.Open(t)
	network := result(n.Init(t.Context(), nil))(t)
	seen := map[string]string{network.Gateway.String(): "the gateway"}
	for _, name := range []string{"a", "b", "c"} {
		a := allocate(t, n, name)
		defer a.end(t, n)
		if !network.Subnet.Contains(a.Address.Addr()) || a.Address.Bits() != network.Subnet.Bits() || a.Gateway != network.Gateway {
			t.Errorf("the endpoint %+v is not of the network %+v", a.Endpoint, network)
		}
		if a.ContainerID != fake.ID(name) || a.NetworkID != network.ID || a.NetworkName != network.Name || len(a.sockets) != 0 {
			t.Errorf("the endpoint of %s is %+v with %d sockets", name, a.Endpoint, len(a.sockets))
		}
		for _, key := range []string{a.Address.Addr().String(), a.EndpointID, a.MAC, a.HostLink} {
			if other := seen[key]; other != "" || key == "" {
				t.Errorf("%q of %s is also that of %s", key, name, other)
			}
			seen[key] = name
		}
	}
}

func testPoolExhausted(t *testing.T, h NetworkHost) {
	n := h.Small(t)
	result(n.Init(t.Context(), nil))(t)
	var all []*allocation
	for len(all) < 16 {
		ep, _, err := n.Allocate(t.Context(), fake.ID(strconv.Itoa(len(all))), nil)
		if err != nil {
			wantCode(t, err, davit.AddressPoolExhausted, "allocating from a full pool")
			break
		}
		all = append(all, &allocation{Endpoint: ep})
	}
	if len(all) == 0 || len(all) == 16 {
		t.Fatalf("%d addresses were allocated", len(all))
	}
	freed := all[1].Address
	all[1].end(t, n)
	all[1] = allocate(t, n, "late")
	if all[1].Address != freed {
		t.Errorf("the only free address is %s, allocated was %s", freed, all[1].Address)
	}
	for _, a := range all {
		a.end(t, n)
	}
}

func testPorts(t *testing.T, h NetworkHost) {
	n := h.up(t)
	refused := func(what string, ports ...davit.PortRequest) {
		t.Helper()
		_, _, err := n.Allocate(t.Context(), fake.ID("refused"), ports)
		wantCode(t, err, davit.PortInUse, what)
	}
	local := func(ip string, port uint16) davit.PortRequest {
		return davit.PortRequest{Proto: "tcp", ContainerPort: 80, HostIP: netip.MustParseAddr(ip), FirstPort: port, LastPort: port}
	}
	a := allocate(t, n, "a", tcp(80, 18080, 18080), tcp(81, 0, 0))
	if len(a.Ports) != 2 || len(a.sockets) != 2 || a.Ports[0].HostPort != 18080 || a.Ports[0].ContainerPort != 80 || !a.Ports[0].HostIP.IsUnspecified() {
		t.Fatalf("the ports are %+v with %d sockets", a.Ports, len(a.sockets))
	}
	if a.Ports[1].HostPort == 0 || a.Ports[1].ContainerPort != 81 {
		t.Errorf("any free port is %+v", a.Ports[1])
	}
	refused("a port that is taken", tcp(80, 18080, 18080))
	refused("a port of one address that is taken on all", local("127.0.0.2", 18080))
	refused("the same port twice", tcp(80, 18090, 18090), tcp(81, 18090, 18090))

	udp := tcp(80, 18080, 18080)
	udp.Proto = "udp"
	b := allocate(t, n, "b", udp, local("127.0.0.2", 18081), local("127.0.0.3", 18081))
	refused("a port on all addresses that is taken on one", tcp(80, 18081, 18081))

	first := allocate(t, n, "c", tcp(80, 18082, 18083))
	second := allocate(t, n, "d", tcp(80, 18082, 18083))
	if first.Ports[0].HostPort != 18082 || second.Ports[0].HostPort != 18083 {
		t.Errorf("of a range of two were given %d and %d", first.Ports[0].HostPort, second.Ports[0].HostPort)
	}
	refused("a range that is taken", tcp(80, 18082, 18083))
	first.end(t, n)
	again := allocate(t, n, "e", tcp(80, 18082, 18083))
	if again.Ports[0].HostPort != 18082 {
		t.Errorf("the released port is 18082, given was %d", again.Ports[0].HostPort)
	}
	for _, x := range []*allocation{a, b, second, again} {
		x.end(t, n)
	}
	allocate(t, n, "f", tcp(80, 18080, 18080), tcp(80, 18081, 18081)).end(t, n)
}

// testFailedAllocation checks that a refused request keeps nothing: neither
// an address nor the ports that were free.
func testFailedAllocation(t *testing.T, h NetworkHost) {
	n := h.Small(t)
	result(n.Init(t.Context(), nil))(t)
	holder := allocate(t, n, "holder", tcp(80, 18080, 18080))
	for range 20 { // more than there are addresses
		_, sockets, err := n.Allocate(t.Context(), fake.ID("loser"), []davit.PortRequest{tcp(1, 18081, 18081), tcp(2, 18080, 18080)})
		wantCode(t, err, davit.PortInUse, "allocating with a port that is taken")
		if len(sockets) > 0 {
			t.Errorf("a refused request has %d sockets", len(sockets))
		}
	}
	allocate(t, n, "winner", tcp(1, 18081, 18081)).end(t, n)
	holder.end(t, n)
}

// testForeignPort is about a port that some other program of the host has.
func testForeignPort(t *testing.T, h NetworkHost) {
	if !h.Binds {
		t.Skip("needs the host's real ports")
	}
	n := h.up(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	_, _, err = n.Allocate(t.Context(), fake.ID("late"), []davit.PortRequest{tcp(80, port, port)})
	wantCode(t, err, davit.PortInUse, "allocating another program's port")
	must(t, l.Close())
	a := allocate(t, n, "late", tcp(80, port, port))
	if l, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(int(port))); err == nil {
		_ = l.Close()
		t.Error("another program got a port that was allocated: its socket is not bound")
	}
	a.end(t, n)
}

// settles waits for the host to be as it was: a link may go in the background.
func (h NetworkHost) settles(t *testing.T, want, after string) {
	t.Helper()
	var now string
	defer func() {
		if t.Failed() {
			t.Logf("%s: the host was\n%s\nand is\n%s", after, want, now)
		}
	}()
	testutil.Eventually(t, patience, after+": the host is as it was before", func() bool { now = h.Text(t); return now == want })
}

func testAttach(t *testing.T, h NetworkHost) {
	n := h.up(t)
	before := h.Text(t)
	a := allocate(t, n, "a", tcp(80, 18080, 18080))
	must(t, n.Attach(t.Context(), a.Endpoint, h.Netns(t)))
	if h.Text(t) == before {
		t.Error("an attachment changed nothing of the host")
	}
	must(t, n.Detach(t.Context(), a.Endpoint))
	must(t, n.Detach(t.Context(), a.Endpoint)) // idempotent
	must(t, n.Attach(t.Context(), a.Endpoint, h.Netns(t)))
	a.end(t, n)
	h.settles(t, before, "after detach and release")
	must(t, n.Detach(t.Context(), a.Endpoint)) // even when it is released
	never := allocate(t, n, "b")
	must(t, n.Detach(t.Context(), never.Endpoint)) // and was never attached
	n.Release(never.Endpoint)
}

func testFailedAttach(t *testing.T, h NetworkHost) {
	n := h.up(t)
	a := allocate(t, n, "a", tcp(80, 18080, 18080))
	before := h.Text(t)
	noNetns, err := os.Open(os.DevNull)
	must(t, err)
	defer noNetns.Close()
	if err := n.Attach(t.Context(), a.Endpoint, noNetns); err == nil {
		t.Error("an endpoint was attached to something that is no namespace")
	}
	h.settles(t, before, "after an attachment failed")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Attach(canceled, a.Endpoint, h.Netns(t)); err == nil {
		t.Error("an endpoint was attached after its context had ended")
	}
	h.settles(t, before, "after a cancelled attachment")
	must(t, n.Attach(t.Context(), a.Endpoint, h.Netns(t)))
	a.end(t, n)
}

func testNetworkRestart(t *testing.T, h NetworkHost) {
	old := h.up(t)
	id := result(old.Init(t.Context(), nil))(t).ID
	lives := allocate(t, old, "lives", tcp(80, 18080, 18080))
	netns := h.Netns(t)
	must(t, old.Attach(t.Context(), lives.Endpoint, netns))
	wanted := h.Text(t)
	gone := allocate(t, old, "gone", tcp(80, 18081, 18081))
	must(t, old.Attach(t.Context(), gone.Endpoint, h.Netns(t)))
	_ = closeAll(gone.sockets) // with its monitor

	n := h.Open(t)
	again := result(n.Init(t.Context(), []davit.Endpoint{lives.Endpoint}))(t)
	if again.ID != id || !again.Subnet.Contains(lives.Address.Addr()) {
		t.Errorf("the network was %s with %s in it, and is %s with %s", id, lives.Address, again.ID, again.Subnet)
	}
	h.settles(t, wanted, "after a restart with one living endpoint")
	_, _, err := n.Allocate(t.Context(), fake.ID("thief"), []davit.PortRequest{tcp(80, 18080, 18080)})
	wantCode(t, err, davit.PortInUse, "allocating a port of a living container")
	next := allocate(t, n, "next", tcp(80, 18081, 18081))
	if next.Address == lives.Address {
		t.Errorf("the address %s of a living container was given again", next.Address)
	}
	next.end(t, n)
	lives.end(t, n)
	allocate(t, n, "heir", tcp(80, 18080, 18080)).end(t, n)
}

func testReleaseTwice(t *testing.T, h NetworkHost) {
	n := h.Small(t)
	result(n.Init(t.Context(), nil))(t)
	first := allocate(t, n, "first", tcp(80, 18080, 18080))
	first.end(t, n)
	heir := allocate(t, n, "heir", tcp(80, 18080, 18080))
	for range 20 { // until the pool comes round to the same address
		if heir.Address == first.Address {
			break
		}
		heir.end(t, n)
		heir = allocate(t, n, "heir", tcp(80, 18080, 18080))
	}
	n.Release(first.Endpoint)
	_, _, err := n.Allocate(t.Context(), fake.ID("thief"), []davit.PortRequest{tcp(80, 18080, 18080)})
	wantCode(t, err, davit.PortInUse, "allocating a port that was released by its owner before last")
	heir.end(t, n)
}

func testReapply(t *testing.T, h NetworkHost) {
	n := h.up(t)
	a := allocate(t, n, "a", tcp(80, 18080, 18080))
	must(t, n.Attach(t.Context(), a.Endpoint, h.Netns(t)))
	before := h.Text(t)
	must(t, n.Reapply(t.Context(), []davit.Endpoint{a.Endpoint}))
	if after := h.Text(t); after != before {
		t.Errorf("reapplying changed the host from\n%s\nto\n%s", before, after)
	}
	a.end(t, n)
}
