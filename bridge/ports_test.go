// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge"
	"golang.org/x/sys/unix"
)

// closeFiles closes the sockets of a reservation.
func closeFiles(t *testing.T, files []*os.File) {
	t.Helper()
	for _, f := range files {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPortConflicts: what another process listens on is found out, whatever
// the addresses; a failed Allocate keeps nothing.
func TestPortConflicts(t *testing.T) {
	onHost(t, func(t *testing.T) {
		ip(t, "address", "add", "10.9.9.1/24", "dev", "lo")
		d, _ := driver(t, config(), "")
		for _, c := range []struct {
			proto, listen, wanted string
			code                  davit.Code // "" for success
		}{
			{"tcp", "0.0.0.0:8080", "0.0.0.0", davit.PortInUse},
			{"tcp", "0.0.0.0:8080", "127.0.0.1", davit.PortInUse},
			{"tcp", "127.0.0.1:8080", "0.0.0.0", davit.PortInUse},
			{"tcp", "127.0.0.1:8080", "127.0.0.1", davit.PortInUse},
			{"tcp", "127.0.0.1:8080", "10.9.9.1", ""},
			{"tcp", "[::]:8080", "10.9.9.1", davit.PortInUse},
			{"tcp", "[::1]:8080", "0.0.0.0", ""},
			{"tcp", "0.0.0.0:8081", "0.0.0.0", ""},
			{"udp", "0.0.0.0:8080", "127.0.0.1", davit.PortInUse},
			{"udp", "127.0.0.1:8080", "0.0.0.0", davit.PortInUse},
			{"udp", "127.0.0.1:8080", "10.9.9.1", ""},
			{"tcp", "127.0.0.1:8081", "10.99.99.99", davit.InvalidConfiguration}, // no address of the host
		} {
			var other interface{ Close() error }
			var err error
			if c.proto == "tcp" {
				other, err = net.Listen("tcp", c.listen)
			} else {
				other, err = net.ListenPacket("udp", c.listen)
			}
			if err != nil {
				t.Fatal(err)
			}
			req := published(c.proto, c.wanted, 8080)
			ep, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{tcp("", 9000), req})
			if c.code == "" {
				if err != nil {
					t.Errorf("%s on %s beside a listener on %s: %v", c.proto, c.wanted, c.listen, err)
				}
				closeFiles(t, held)
				d.Release(ep)
			} else if davit.CodeOf(err) != c.code || !strings.HasPrefix(err.Error(),
				"driver failed programming external connectivity: failed to bind host port "+c.wanted+":8080/"+c.proto+": ") {
				t.Errorf("%s on %s beside a listener on %s: %v", c.proto, c.wanted, c.listen, err)
			}
			other.Close()
		}
		if ep, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{tcp("", 8080), udp("", 8080), tcp("", 9000)}); err != nil || len(ep.Ports) != 3 {
			t.Errorf("something was kept: %v", err)
		} else {
			closeFiles(t, held)
		}
	})
}

// TestPortOfAnotherContainer names it; the sockets alone do not do: they may
// be gone with a killed monitor.
func TestPortOfAnotherContainer(t *testing.T) {
	onHost(t, func(t *testing.T) {
		d, _ := driver(t, config(), "")
		id := strings.Repeat("0123456789abcdef", 4)
		ep, held, err := d.Allocate(t.Context(), id, []davit.PortRequest{tcp("", 8080)})
		if err != nil {
			t.Fatal(err)
		}
		want := "driver failed programming external connectivity: failed to bind host port 127.0.0.1:8080/tcp: address already in use (by container 0123456789ab)"
		for _, restarted := range []bool{false, true} {
			if restarted {
				d, _ = driver(t, config(), "", ep)
			}
			for range 2 {
				_, _, err = d.Allocate(t.Context(), "b", []davit.PortRequest{tcp("127.0.0.1", 8080)})
				if davit.CodeOf(err) != davit.PortInUse || err.Error() != want {
					t.Errorf("restarted=%v: got %v", restarted, err)
				}
				closeFiles(t, held)
				held = nil
			}
		}
		d.Release(ep)
		d.Release(ep)
		_, held, err = d.Allocate(t.Context(), "b", []davit.PortRequest{tcp("127.0.0.1", 8080)})
		if err != nil {
			t.Error(err)
		}
		closeFiles(t, held)
	})
}

// TestHeldPortIsOurs: nobody else can take a published port, even with
// SO_REUSEADDR, which net.Listen sets.
func TestHeldPortIsOurs(t *testing.T) {
	onHost(t, func(t *testing.T) {
		d, _ := driver(t, config(), "")
		check := func(when string) {
			t.Helper()
			_, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{tcp("", 8080), udp("", 8080)})
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if l, err := net.Listen("tcp4", "127.0.0.1:8080"); err == nil {
				l.Close()
				t.Errorf("%s: another process listens on a held TCP port", when)
			}
			if l, err := net.ListenPacket("udp4", "127.0.0.1:8080"); err == nil {
				l.Close()
				t.Errorf("%s: another process binds a held UDP port", when)
			}
			if conn, err := net.DialTimeout("tcp4", "127.0.0.1:8080", patience); err == nil {
				conn.Close()
				t.Errorf("%s: the held port accepts connections", when)
			}
			closeFiles(t, held)
		}
		check("fresh")
		d, _ = driver(t, config(), "")
		serverThatLeavesTimeWait(t)
		check("with TIME_WAIT")
	})
}

// serverThatLeavesTimeWait closes a connection of port 8080 first, and then
// its listener.
func serverThatLeavesTimeWait(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	client.Read(make([]byte, 1))
	client.Close()
	l.Close()
	if got := command(t, "ss", "-tanH", "state", "time-wait"); !strings.Contains(got, ":8080") {
		t.Skipf("no socket in TIME_WAIT: %s", got)
	}
}

func TestPortRanges(t *testing.T) {
	onHost(t, func(t *testing.T) {
		d, _ := driver(t, config(), "")
		inRange := davit.PortRequest{Proto: "tcp", ContainerPort: 80, FirstPort: 7000, LastPort: 7002}
		l, err := net.Listen("tcp4", "127.0.0.1:7001")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var got []uint16
		for range 3 {
			var ep davit.Endpoint
			var held []*os.File
			if ep, held, err = d.Allocate(t.Context(), "a", []davit.PortRequest{inRange}); err == nil {
				defer closeFiles(t, held)
				got = append(got, ep.Ports[0].HostPort)
			}
		}
		if len(got) != 2 || got[0] != 7000 || got[1] != 7002 || davit.CodeOf(err) != davit.PortInUse || !strings.Contains(err.Error(), "7000-7002/tcp") {
			t.Errorf("got ports %d, then %v", got, err)
		}
		ep, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{tcp("", 0), tcp("", 0), udp("", 0)})
		if err != nil {
			t.Fatal(err)
		}
		defer closeFiles(t, held)
		if ep.Ports[0].HostPort == 0 || ep.Ports[0].HostPort == ep.Ports[1].HostPort || ep.Ports[2].HostPort == 0 {
			t.Errorf("the kernel chose %v", ep.Ports)
		}
		last := davit.PortRequest{Proto: "tcp", ContainerPort: 80, FirstPort: 65535, LastPort: 65535}
		if _, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{last}); err != nil {
			t.Error(err)
		} else {
			closeFiles(t, held)
		}
	})
}

func TestWrongPortRequests(t *testing.T) {
	onHost(t, func(t *testing.T) {
		d, _ := driver(t, config(), "")
		for _, c := range []struct {
			req  davit.PortRequest
			code davit.Code
		}{
			{davit.PortRequest{Proto: "dccp", ContainerPort: 80}, davit.NotSupported},
			{davit.PortRequest{Proto: "tcp"}, davit.InvalidConfiguration},
			{davit.PortRequest{Proto: "tcp", ContainerPort: 80, FirstPort: 9, LastPort: 8}, davit.InvalidConfiguration},
			{davit.PortRequest{Proto: "tcp", ContainerPort: 80, LastPort: 8}, davit.InvalidConfiguration},
			{davit.PortRequest{Proto: "tcp", ContainerPort: 80, HostIP: netip.MustParseAddr("::1")}, davit.NotSupported},
		} {
			_, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{c.req})
			if davit.CodeOf(err) != c.code {
				t.Errorf("%+v: %v", c.req, err)
			}
			closeFiles(t, held)
		}
	})
}

// TestSCTP publishes a port of SCTP: held and forwarded where the kernel speaks
// it, and else refused by its name.
func TestSCTP(t *testing.T) {
	onHost(t, func(t *testing.T) {
		d, _ := driver(t, config(), "")
		req := published("sctp", "", 8080)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			_, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{req})
			if davit.CodeOf(err) != davit.NotSupported || !strings.Contains(err.Error(), "has no sctp") {
				t.Errorf("without SCTP: %v", err)
			}
			closeFiles(t, held)
			return
		}
		unix.Close(fd)
		c := run(t, d, "a", req)
		defer stop(t, d, c)
		if rules := command(t, "iptables-save", "-t", "nat"); !strings.Contains(rules, "-p sctp -m sctp --dport 8080 -j DNAT") {
			t.Errorf("the rules are\n%s", rules)
		}
		if _, held, err := d.Allocate(t.Context(), "b", []davit.PortRequest{req}); davit.CodeOf(err) != davit.PortInUse {
			t.Errorf("a port of SCTP that is taken: %v", err)
			closeFiles(t, held)
		}
	})
}

// TestExhaustedNetwork: of a /29, five addresses are for containers; one that
// came back is handed out again, and not twice.
func TestExhaustedNetwork(t *testing.T) {
	onHost(t, func(t *testing.T) {
		cfg := config()
		cfg.Address = netip.MustParsePrefix("10.1.1.1/29")
		d, _ := driver(t, cfg, "")
		seen := map[netip.Addr]bool{}
		var eps []davit.Endpoint
		for range 5 {
			ep, _, err := d.Allocate(t.Context(), "a", nil)
			if err != nil || seen[ep.Address.Addr()] || ep.Address.Bits() != 29 || ep.Gateway != cfg.Address.Addr() {
				t.Fatalf("got %v, %v", ep, err)
			}
			seen[ep.Address.Addr()] = true
			eps = append(eps, ep)
		}
		full := func() error {
			_, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{tcp("", 8080)})
			closeFiles(t, held)
			return err
		}
		if err := full(); davit.CodeOf(err) != davit.AddressPoolExhausted || !strings.Contains(err.Error(), "network bridge") {
			t.Errorf("got %v", err)
		}
		d.Release(eps[2])
		d.Release(eps[2])
		ep, _, err := d.Allocate(t.Context(), "b", nil)
		if err != nil || ep.Address != eps[2].Address {
			t.Errorf("got %v, %v", ep.Address, err)
		}
		d.Release(eps[2]) // whose address has a new owner
		if err := full(); davit.CodeOf(err) != davit.AddressPoolExhausted {
			t.Errorf("got %v", err)
		}
	})
}

// TestNewRefuses configurations that no network can be made of.
func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*davit.NetworkConfig)
		word   string
	}{
		{func(c *davit.NetworkConfig) { c.Link = "eth+" }, "eth+"},
		{func(c *davit.NetworkConfig) { c.Link = "../../x" }, "../../x"},
		{func(c *davit.NetworkConfig) { c.Link = ".." }, ".."},
		{func(c *davit.NetworkConfig) { c.Link = "a-name-of-16-let" }, "15"},
		{func(c *davit.NetworkConfig) { c.Link = "-j" }, "-j"},
		{func(c *davit.NetworkConfig) { c.Link = "a b" }, "a b"},
		{func(c *davit.NetworkConfig) { c.MTU = 12 }, "12"},
		{func(c *davit.NetworkConfig) { c.HostIP = netip.MustParseAddr("::1") }, "::1"},
		{func(c *davit.NetworkConfig) { c.Address = netip.MustParsePrefix("172.17.0.0/16") }, "172.17.0.1/16"},
		{func(c *davit.NetworkConfig) { c.Address = netip.MustParsePrefix("172.17.255.255/16") }, "172.17.0.1/16"},
		{func(c *davit.NetworkConfig) { c.Address = netip.MustParsePrefix("10.0.0.1/31") }, "/30"},
		{func(c *davit.NetworkConfig) { c.Address = netip.MustParsePrefix("127.0.0.1/8") }, "127.0.0.1/8"},
		{func(c *davit.NetworkConfig) { c.Address = netip.MustParsePrefix("224.0.0.1/8") }, "224.0.0.1/8"},
		{func(c *davit.NetworkConfig) { c.Address = netip.MustParsePrefix("fd00::1/64") }, "fd00::1/64"},
	} {
		cfg := config()
		c.change(&cfg)
		if _, err := bridge.New(cfg, bridge.Options{}); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
