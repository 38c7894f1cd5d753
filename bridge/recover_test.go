// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// TestCrash: the driver is dropped as by kill -9; the next one is told of
// fewer live containers. Those go on answering, the rest leaves nothing.
func TestCrash(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		command(t, iptables, "-t", "nat", "-N", "DOCKER")
		ip(t, "link", "add", "dvtforeign", "type", "veth", "peer", "name", "foreign0")
		ip(t, "link", "add", "dvtother", "type", "veth", "peer", "name", "foreign1")
		ip(t, "link", "set", "dvtother", "alias", "davit:other0:abc") // another engine's
		first, network := driver(t, config(), iptables)
		a := run(t, first, "a", tcp("", 8080), udp("", 8080))
		b := run(t, first, "b", tcp("", 8081), udp("", 8081))
		if _, _, err := first.Allocate(t.Context(), "c", nil); err != nil { // never attached
			t.Fatal(err)
		}
		ip(t, "link", "set", a.ep.HostLink, "nomaster")

		second, again := driver(t, config(), iptables, a.ep)
		if again.Subnet != network.Subnet || again.Gateway != network.Gateway {
			t.Errorf("the network was %v and is %v", network, again)
		}
		for _, proto := range []string{"tcp", "udp"} {
			if got, err := ask(nil, proto, "127.0.0.1:8080", patience); err != nil {
				t.Errorf("the live container does not answer: %q, %v", got, err)
			}
		}
		if text := rules(t, iptables); strings.Contains(text, "8081") || strings.Count(text, "8080") != 2 || !strings.Contains(text, ":DOCKER -") {
			t.Errorf("the rules are\n%s", text)
		}
		if diff := cmp.Diff(sorted(a.ep.HostLink, "dvtforeign", "dvtother"), links(t, "dvt")); diff != "" {
			t.Errorf("links (-want +got):\n%s", diff)
		}
		c := run(t, second, "c")
		if c.ep.Address == a.ep.Address {
			t.Error("a live container's address was handed out again")
		}
		wanted := rules(t, iptables)
		for range 2 { // Init of a driver that is up
			if _, err := second.Init(t.Context(), []davit.Endpoint{a.ep}); err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(wanted, rules(t, iptables)); diff != "" {
			t.Errorf("after another Init (-want +got):\n%s", diff)
		}
		closeFiles(t, b.sockets)
		run(t, second, "d", tcp("", 8081))
		stop(t, second, a)
		testutil.Eventually(t, 10*time.Second, "the link is gone", func() bool { return len(links(t, a.ep.HostLink)) == 0 })
	})
}

func sorted(names ...string) []string {
	slices.Sort(names)
	return names
}

// TestDetachDeletesTheLink of a container whose namespace lives on.
func TestDetachDeletesTheLink(t *testing.T) {
	onHost(t, func(t *testing.T) {
		d, _ := driver(t, config(), "")
		c := run(t, d, "a", tcp("", 8080))
		for range 2 {
			if err := d.Detach(t.Context(), c.ep); err != nil {
				t.Error(err)
			}
		}
		testutil.Eventually(t, 10*time.Second, "the link is gone", func() bool { return len(links(t, "dvt")) == 0 })
		// The same endpoint again, as when a container is restarted.
		if err := d.Attach(t.Context(), c.ep, c.ns); err != nil {
			t.Fatal(err)
		}
		if err := d.Detach(t.Context(), c.ep); err != nil {
			t.Error(err)
		}
		if err := d.Attach(t.Context(), c.ep, c.ns); err != nil { // before the link is gone
			t.Fatal(err)
		}
		if _, err := ask(nil, "tcp", "127.0.0.1:8080", patience); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Attach(t.Context(), c.ep, c.ns); err == nil {
			t.Error("a closed driver attaches")
		}
	})
}

// TestAttachUndoesItself: whatever is in the way, nothing is left.
func TestAttachUndoesItself(t *testing.T) {
	onHost(t, func(t *testing.T) {
		iptables := "/usr/sbin/" + variants(t)[0]
		d, _ := driver(t, config(), iptables)
		before := rules(t, iptables)
		ep, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{tcp("", 8080), udp("", 8080)})
		if err != nil {
			t.Fatal(err)
		}
		defer closeFiles(t, held)
		check := func(when string, err error) {
			t.Helper()
			if err == nil {
				t.Errorf("%s: no error", when)
			}
			if diff := cmp.Diff(before, rules(t, iptables)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
			if left := links(t, "dvt"); left != nil {
				t.Errorf("%s: links are left: %v", when, left)
			}
		}
		taken := newNetns(t)
		in(t, taken, "ip", "link", "add", "eth0", "type", "bridge")
		check("eth0 exists inside", d.Attach(t.Context(), ep, taken))

		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		err = d.Attach(cancelled, ep, newNetns(t))
		check("cancelled", err)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		notNetns, err := os.Open("/proc/self/ns/uts")
		if err != nil {
			t.Fatal(err)
		}
		defer notNetns.Close()
		check("not a network namespace", d.Attach(t.Context(), ep, notNetns))

		bad := ep
		bad.Gateway = netip.MustParseAddr("203.0.113.1") // not on the network
		check("no route", d.Attach(t.Context(), bad, newNetns(t)))

		ns := newNetns(t)
		if err := d.Attach(t.Context(), ep, ns); err != nil {
			t.Errorf("and then it works: %v", err)
		}
	})
}

// TestUDPDoesNotStick: a client that goes on sending from one port follows the
// published port from nobody to a container, to the next container.
func TestUDPDoesNotStick(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		neighbour := outside(t)
		d, _ := driver(t, config(), iptables)
		client, err := dialUDP(neighbour, hostOutside+":8080")
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := askOn(client, refusal); err == nil {
			t.Error("nobody answers?")
		}
		for _, name := range []string{"a", "b"} {
			c := run(t, d, name, udp("", 8080))
			testutil.Eventually(t, 10*time.Second, name+" answers", func() bool {
				got, _ := askOn(client, patience)
				return strings.HasPrefix(got, name+" ")
			})
			stop(t, d, c)
		}
	})
}

// TestBridgeIsTakenOver tells what becomes of a link that exists already.
func TestBridgeIsTakenOver(t *testing.T) {
	for _, c := range []struct {
		name    string
		before  []string // ip commands
		bip     string
		gateway string // or
		fails   string
	}{
		{"none", nil, "", "172.17.0.1/16", ""},
		{"none, bip", nil, "10.5.0.9/24", "10.5.0.9/24", ""},
		{"without an address", []string{"link add davit0 type bridge"}, "", "172.17.0.1/16", ""},
		{"with an address", []string{"link add davit0 type bridge", "address add 10.7.0.5/24 dev davit0"}, "", "10.7.0.5/24", ""},
		{"with a useless address", []string{"link add davit0 type bridge", "address add 10.7.0.5/32 dev davit0"}, "", "172.17.0.1/16", ""},
		{"with two, bip is the second", []string{"link add davit0 type bridge", "address add 10.7.0.5/24 dev davit0", "address add 10.8.0.5/24 dev davit0"}, "10.8.0.5/24", "10.8.0.5/24", ""},
		{"the administrator's, another bip", []string{"link add davit0 type bridge", "address add 10.7.0.5/24 dev davit0"}, "10.8.0.1/24", "", "ip address del 10.7.0.5/24 dev davit0"},
		{"the administrator's, another length", []string{"link add davit0 type bridge", "address add 10.7.0.5/24 dev davit0"}, "10.7.0.5/16", "", "10.7.0.5/16"},
		{"ours, another bip", []string{"link add davit0 type bridge", "link set davit0 alias davit:davit0", "address add 10.7.0.5/24 dev davit0"}, "10.8.0.1/24", "10.8.0.1/24", ""},
		{"not a bridge", []string{"link add davit0 type veth"}, "", "", "is a veth, not a bridge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			onHost(t, func(t *testing.T) {
				for _, args := range c.before {
					ip(t, strings.Fields(args)...)
				}
				cfg := config()
				if c.bip != "" {
					cfg.Address = netip.MustParsePrefix(c.bip)
				}
				d, err := bridge.New(cfg, bridge.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				network, err := d.Init(t.Context(), nil)
				if c.fails != "" {
					if err == nil || !strings.Contains(err.Error(), c.fails) {
						t.Errorf("got %v, want %s", err, c.fails)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := netip.MustParsePrefix(c.gateway)
				if network.Gateway != want.Addr() || network.Subnet != want.Masked() || network.Name != "bridge" || network.Link != "davit0" || network.ID == "" {
					t.Errorf("got %+v", network)
				}
				if got := ip(t, "address", "show", "davit0"); !strings.Contains(got, " "+c.gateway+" ") {
					t.Errorf("the link has %s", got)
				}
			})
		})
	}
}

// TestChecklist10_NextFreeRangeIsChosen tells which range is free.
func TestChecklist10_NextFreeRangeIsChosen(t *testing.T) {
	for _, c := range []struct {
		name, resolv string
		before       []string
		want         string // gateway; "" when none is free
	}{
		{"a route", "", []string{"route add 172.17.5.0/24 dev d0"}, "172.18.0.1/16"},
		{"a route of another table", "", []string{"route add 172.17.5.0/24 dev d0 table 52"}, "172.18.0.1/16"},
		{"the default route", "", []string{"route add default via 192.0.2.9"}, "172.17.0.1/16"},
		{"the default route in halves", "", []string{"route add 0.0.0.0/1 dev d0", "route add 128.0.0.0/1 dev d0"}, "172.17.0.1/16"},
		{"an address of a link that is down", "", []string{"link add d1 type bridge", "address add 172.17.0.9/24 dev d1"}, "172.18.0.1/16"},
		{"a name server", "nameserver 172.17.3.3\nnameserver 172.18.0.1\n", nil, "172.19.0.1/16"},
		{"all of 172", "", []string{"route add 172.16.0.0/12 dev d0"}, "192.168.0.1/20"},
		{"and some of 192.168", "", []string{"route add 172.16.0.0/12 dev d0", "route add 192.168.15.0/24 dev d0", "route add 192.168.16.0/24 dev d0"}, "192.168.32.1/20"},
		{"everything", "", []string{"route add 172.16.0.0/12 dev d0", "route add 192.168.0.0/16 dev d0"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			onHost(t, func(t *testing.T) {
				ip(t, "link", "add", "d0", "type", "bridge")
				ip(t, "address", "add", "192.0.2.1/24", "dev", "d0")
				ip(t, "link", "set", "d0", "up")
				for _, args := range c.before {
					ip(t, strings.Fields(args)...)
				}
				opts := bridge.Options{StateDir: t.TempDir()}
				opts.DNS.Host = filepath.Join(opts.StateDir, "resolv.conf")
				if err := os.WriteFile(opts.DNS.Host, []byte(c.resolv), 0o600); err != nil {
					t.Fatal(err)
				}
				d, err := bridge.New(config(), opts)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				network, err := d.Init(t.Context(), nil)
				switch {
				case c.want == "":
					if err == nil || !strings.Contains(err.Error(), "--bip") || links(t, "davit0") != nil {
						t.Errorf("got %v, %v", network, err)
					}
				case err != nil:
					t.Fatal(err)
				case netip.PrefixFrom(network.Gateway, network.Subnet.Bits()).String() != c.want:
					t.Errorf("got %v, want %s", network.Gateway, c.want)
				}
			})
		})
	}
}

// TestNetworkStaysTheSame after a reboot, unless its range is taken by then.
func TestNetworkStaysTheSame(t *testing.T) {
	onHost(t, func(t *testing.T) {
		opts := bridge.Options{StateDir: filepath.Join(t.TempDir(), "network")}
		boot := func() davit.Network {
			t.Helper()
			d, err := bridge.New(config(), opts)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			network, err := d.Init(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			ip(t, "link", "delete", "davit0")
			return network
		}
		ip(t, "link", "add", "d0", "up", "type", "bridge")
		ip(t, "route", "add", "172.17.0.0/16", "dev", "d0")
		first := boot()
		ip(t, "route", "del", "172.17.0.0/16", "dev", "d0")
		same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
		sameAddr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		if diff := cmp.Diff(first, boot(), same, sameAddr); diff != "" {
			t.Errorf("after a reboot (-before +after):\n%s", diff)
		}
		ip(t, "route", "add", "172.18.1.0/24", "dev", "d0")
		if moved := boot(); moved.ID != first.ID || moved.Subnet != netip.MustParsePrefix("172.17.0.0/16") {
			t.Errorf("when the range is taken: %+v", moved)
		}
		if err := os.WriteFile(filepath.Join(opts.StateDir, "davit0.json"), []byte("{tor"), 0o600); err != nil {
			t.Fatal(err)
		}
		if other := boot(); other.ID == first.ID || other.ID == "" {
			t.Errorf("with a damaged record: %+v", other)
		}
	})
}

// TestOtherAddressWithLiveContainers is refused, and the bridge kept as it was.
func TestOtherAddressWithLiveContainers(t *testing.T) {
	onHost(t, func(t *testing.T) {
		first, _ := driver(t, config(), "")
		a := run(t, first, "a")
		cfg := config()
		cfg.Address = netip.MustParsePrefix("10.5.0.1/24")
		d, err := bridge.New(cfg, bridge.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := d.Init(t.Context(), []davit.Endpoint{a.ep}); davit.CodeOf(err) != davit.InvalidConfiguration || !strings.Contains(err.Error(), "stop") {
			t.Errorf("got %v", err)
		}
		if _, err := ask(nil, "tcp", a.ep.Address.Addr().String()+":80", patience); err != nil {
			t.Error(err)
		}
	})
}

// TestMTU is that of the default route's link, or the configured one.
func TestMTU(t *testing.T) {
	onHost(t, func(t *testing.T) {
		outside(t)
		ip(t, "link", "set", "up0", "mtu", "1400")
		ip(t, "route", "add", "default", "via", outsideAddr)
		d, network := driver(t, config(), "")
		c := run(t, d, "a")
		mtu, err := within(c.ns, func() (int, error) {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return 0, err
			}
			return link.Attrs().MTU, nil
		})
		if err != nil || mtu != 1400 || network.MTU != 1400 {
			t.Errorf("got %d and %d, %v", mtu, network.MTU, err)
		}
		cfg := config()
		cfg.MTU = 1300
		if _, network := driver(t, cfg, ""); network.MTU != 1300 {
			t.Errorf("got %d", network.MTU)
		}
	})
}

// TestSideBySide starts and ends containers at once: all get addresses and
// ports of their own, and nothing is left.
func TestSideBySide(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		d, _ := driver(t, config(), iptables)
		before := rules(t, iptables)
		var all sync.WaitGroup
		for worker := range 6 {
			all.Go(func() {
				for range 5 {
					if err := startAndEnd(t, d, worker); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Go(func() {
			for range 5 {
				if err := d.Reapply(t.Context(), nil); err != nil {
					t.Error(err)
				}
			}
		})
		all.Wait()
		if diff := cmp.Diff(before, rules(t, iptables)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		testutil.Eventually(t, 10*time.Second, "the links are gone", func() bool { return len(links(t, "dvt")) == 0 })
	})
}

func startAndEnd(t *testing.T, d *bridge.Driver, worker int) error {
	port := uint16(8000 + worker)
	ep, held, err := d.Allocate(t.Context(), strings.Repeat(string(rune('a'+worker)), 64), []davit.PortRequest{tcp("", port), udp("", port)})
	if err != nil {
		return err
	}
	ns := newNetns(t)
	if err := d.Attach(t.Context(), ep, ns); err != nil {
		return err
	}
	closeFiles(t, held)
	err = d.Detach(t.Context(), ep)
	d.Release(ep)
	return errors.Join(err, ns.Close())
}
