// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/bridge"
	"github.com/davit-engine/davit/service"
)

var (
	_ service.Network  = (*bridge.Driver)(nil)
	_ service.Resolver = (*bridge.Resolver)(nil)
)

// patience is how long a test waits for an answer that must come, refusal for
// one that must not.
const (
	patience = 3 * time.Second
	refusal  = 300 * time.Millisecond
)

// TestPublishedPortsAreReachable asks every kind of client for a port
// published on all addresses, over both protocols, with and without
// br_netfilter, while another engine's FORWARD policy is DROP.
func TestPublishedPortsAreReachable(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) { testReachable(t, iptables, true) })
}

// TestPublishedPortsAreReachableWithoutICC asks the same when containers may
// not talk to each other but by published ports.
func TestPublishedPortsAreReachableWithoutICC(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) { testReachable(t, iptables, false) })
}

func testReachable(t *testing.T, iptables string, icc bool) {
	neighbour := outside(t)
	command(t, iptables, "-P", "FORWARD", "DROP")
	cfg := config()
	cfg.ICC = icc
	for _, nf := range []string{"0", "1"} {
		// Before Init: what the driver does with icc depends on it.
		setBridgeNF(t, nf)
		d, network := driver(t, cfg, iptables)
		web := run(t, d, "a", tcp("", 8080), udp("", 8080))
		peer := run(t, d, "b")
		askEverywhere(t, "br_netfilter="+nf, hosts{network.Gateway.String(), web, peer, neighbour})
		got, err := ask(peer.ns, "tcp", web.ep.Address.Addr().String()+":80", patienceIf(icc))
		if (err == nil) != icc {
			t.Errorf("br_netfilter=%s: a container asks another directly: got %q, %v", nf, got, err)
		}
		stop(t, d, web)
		stop(t, d, peer)
	}
}

// patienceIf returns how long to wait for what must come, or must not.
func patienceIf(comes bool) time.Duration {
	if comes {
		return patience
	}
	return refusal
}

// hosts are where a published port 8080 of container web is asked for.
type hosts struct {
	gateway   string
	web, peer *container
	neighbour *os.File
}

func askEverywhere(t *testing.T, when string, h hosts) {
	t.Helper()
	for _, c := range []struct {
		name    string
		ns      *os.File
		address string
		sees    string // the client's address; "" if any will do
	}{
		{"host by 127.0.0.1", nil, "127.0.0.1", ""},
		{"host by another loopback address", nil, "127.9.9.9", ""},
		{"host by its address", nil, hostOutside, hostOutside},
		{"host by the gateway", nil, h.gateway, ""},
		{"neighbour", h.neighbour, hostOutside, outsideAddr},
		{"container by the host's address", h.peer.ns, hostOutside, ""},
		{"container by the gateway", h.peer.ns, h.gateway, ""},
		{"itself by the host's address", h.web.ns, hostOutside, ""},
		{"itself by the gateway", h.web.ns, h.gateway, ""},
	} {
		for _, proto := range []string{"tcp", "udp"} {
			got, err := ask(c.ns, proto, c.address+":8080", patience)
			name, sees, _ := strings.Cut(got, " ")
			if err != nil || name != "a" || (c.sees != "" && c.sees != sees) {
				t.Errorf("%s: %s over %s: got %q, %v, want a, asked by %q", when, c.name, proto, got, err, c.sees)
			}
		}
	}
}

// setBridgeNF says whether bridged packets pass iptables. Without the module
// there is nothing to set.
func setBridgeNF(t *testing.T, value string) {
	t.Helper()
	err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte(value), 0)
	if err != nil && value == "1" {
		t.Logf("br_netfilter is not loaded: %v", err)
	}
}
