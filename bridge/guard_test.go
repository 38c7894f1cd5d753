// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge"
)

// reachLoopbackBy makes a namespace send packets for 127.0.0.1 to a neighbour,
// as an attacker with raw sockets would.
func reachLoopbackBy(t *testing.T, ns *os.File, gateway string) {
	t.Helper()
	in(t, ns, "ip", "link", "set", "lo", "down")
	in(t, ns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet")
	in(t, ns, "ip", "route", "flush", "table", "local", "127.0.0.0/8")
	in(t, ns, "ip", "route", "add", "127.0.0.1/32", "via", gateway, "dev", "eth0")
}

// TestNotReachable: what is not published, or published on another address,
// and what listens on the host's loopback only.
func TestNotReachable(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		neighbour := outside(t)
		d, network := driver(t, config(), iptables)
		web := run(t, d, "a", tcp("127.0.0.1", 8080), udp("127.0.0.1", 8080), tcp(hostOutside, 8081))
		serve(t, nil, "host", "127.0.0.1:7000")
		serve(t, web.ns, "hidden", ":81")
		in(t, neighbour, "ip", "route", "add", network.Subnet.String(), "via", hostOutside)
		for _, c := range []struct {
			name    string
			ns      *os.File
			address string
			want    string
		}{
			{"the host by loopback", nil, "127.0.0.1:8080", "a"},
			{"the host by the wrong address", nil, hostOutside + ":8080", ""},
			{"the host by the right address", nil, hostOutside + ":8081", "a"},
			{"the host by loopback, but published elsewhere", nil, "127.0.0.1:8081", ""},
			{"the host directly", nil, web.ep.Address.Addr().String() + ":81", "hidden"},
			{"a neighbour by the wrong address", neighbour, hostOutside + ":8080", ""},
			{"a neighbour by the right address", neighbour, hostOutside + ":8081", "a"},
			{"a neighbour directly, published port", neighbour, web.ep.Address.Addr().String() + ":80", ""},
			{"a neighbour directly, other port", neighbour, web.ep.Address.Addr().String() + ":81", ""},
		} {
			expect(t, c.name, c.ns, c.address, c.want)
		}
		// Only now: it takes the loopback of both away.
		reachLoopbackBy(t, neighbour, hostOutside)
		reachLoopbackBy(t, web.ns, network.Gateway.String())
		expect(t, "a neighbour that sends to 127.0.0.1, published port", neighbour, "127.0.0.1:8080", "")
		expect(t, "a neighbour that sends to 127.0.0.1, the host's port", neighbour, "127.0.0.1:7000", "")
		expect(t, "a container that sends to 127.0.0.1, the host's port", web.ns, "127.0.0.1:7000", "")
		expect(t, "the host itself", nil, "127.0.0.1:7000", "host")

		// The administrator has the last word, in both directions.
		command(t, iptables, "-A", "DAVIT-USER", "-p", "tcp", "--dport", "81", "-j", "ACCEPT")
		command(t, iptables, "-A", "DAVIT-USER", "-p", "tcp", "--dport", "80", "-j", "DROP")
		expectOver(t, "opened by the administrator", "tcp", neighbour, web.ep.Address.Addr().String()+":81", "hidden")
		expectOver(t, "closed by the administrator", "tcp", neighbour, hostOutside+":8081", "")
	})
}

// expect asks over TCP and UDP; an answer may come over one of them only when
// the port is published for it.
func expect(t *testing.T, who string, ns *os.File, address, want string) {
	t.Helper()
	expectOver(t, who, "tcp", ns, address, want)
	if want == "" {
		expectOver(t, who, "udp", ns, address, want)
	}
}

func expectOver(t *testing.T, who, proto string, ns *os.File, address, want string) {
	t.Helper()
	got, err := ask(ns, proto, address, patienceIf(want != ""))
	if name, _, _ := strings.Cut(got, " "); name != want {
		t.Errorf("%s over %s: %s: got %q, %v, want %q", who, proto, address, got, err, want)
	}
}

// TestContainersReachOut, under the host's address, or with ip-masq off under
// their own.
func TestContainersReachOut(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		neighbour := outside(t)
		command(t, iptables, "-P", "FORWARD", "DROP")
		serve(t, neighbour, "out", ":9000")
		for _, masq := range []bool{true, false} {
			cfg := config()
			cfg.IPMasq = masq
			d, network := driver(t, cfg, iptables)
			c := run(t, d, "a")
			want := "out " + hostOutside
			if !masq {
				in(t, neighbour, "ip", "route", "add", network.Subnet.String(), "via", hostOutside)
				want = "out " + c.ep.Address.Addr().String()
			}
			for _, proto := range []string{"tcp", "udp"} {
				if got, err := ask(c.ns, proto, outsideAddr+":9000", patience); got != want {
					t.Errorf("masquerade=%v: %s: got %q, %v, want %q", masq, proto, got, err, want)
				}
			}
			// A service of the host's is reached by the gateway's address.
			end := serve(t, nil, "host", network.Gateway.String()+":7100")
			if got, err := ask(c.ns, "tcp", network.Gateway.String()+":7100", patience); err != nil {
				t.Errorf("the host: got %q, %v", got, err)
			}
			end()
			stop(t, d, c)
		}
	})
}

// TestLargeTransfer sends more than fits any buffer through a published port.
func TestLargeTransfer(t *testing.T) {
	onHost(t, func(t *testing.T) {
		neighbour := outside(t)
		d, _ := driver(t, config(), "")
		c := run(t, d, "a", tcp("", 8080))
		c.servers()
		const size = 32 << 20
		l, err := within(c.ns, func() (net.Listener, error) { return net.Listen("tcp4", ":80") })
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		sent := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				_, err = io.CopyN(conn, zeros{}, size)
				conn.Close()
			}
			sent <- err
		}()
		conn, err := within(neighbour, func() (net.Conn, error) {
			return net.DialTimeout("tcp4", hostOutside+":8080", patience)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		n, err := io.Copy(io.Discard, conn)
		if err != nil || n != size {
			t.Errorf("got %d bytes, %v", n, err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestAttachIsQuick measures what a container's start pays for its network,
// and tells; a slow machine does not fail it.
func TestAttachIsQuick(t *testing.T) {
	for _, v := range append(variants(t), "none") {
		t.Run(v, func(t *testing.T) {
			onHost(t, func(t *testing.T) {
				cfg := config()
				cfg.IPTables = v != "none"
				d, _ := driver(t, cfg, "/usr/sbin/"+v)
				for _, ports := range []int{0, 1, 5} {
					t.Logf("%d ports: %v", ports, medianAttach(t, d, ports))
				}
			})
		})
	}
}

func medianAttach(t *testing.T, d *bridge.Driver, ports int) string {
	t.Helper()
	var allocate, attach, detach []time.Duration
	for range 15 {
		c := &container{ns: newNetns(t), servers: func() {}}
		begin := time.Now()
		var err error
		reqs := slices.Repeat([]davit.PortRequest{tcp("", 0)}, ports)
		if c.ep, c.sockets, err = d.Allocate(t.Context(), "a", reqs); err != nil {
			t.Fatal(err)
		}
		allocated := time.Now()
		if err := d.Attach(t.Context(), c.ep, c.ns); err != nil {
			t.Fatal(err)
		}
		attached := time.Now()
		stop(t, d, c)
		allocate = append(allocate, allocated.Sub(begin))
		attach = append(attach, attached.Sub(allocated))
		detach = append(detach, time.Since(attached))
	}
	return fmt.Sprintf("allocate %v, attach %v, detach and release %v", median(allocate), median(attach), median(detach))
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2].Round(time.Microsecond)
}
