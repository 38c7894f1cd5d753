// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"os"
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
// br_netfilter, and with a FORWARD policy that another engine set to DROP.
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
	d, network := driver(t, cfg, iptables)
	web := run(t, d, "a", tcp("", 8080), udp("", 8080))
	peer := run(t, d, "b")
	gateway := network.Gateway.String()
	clients := []struct {
		name     string
		ns       *os.File
		address  string
		sees     string // the client's address, "" if it does not matter
		bridgeNF bool   // can be reached when br_netfilter is on
	}{
		{"host by 127.0.0.1", nil, "127.0.0.1", "", true},
		{"host by another loopback address", nil, "127.9.9.9", "", true},
		{"host by its address", nil, hostOutside, hostOutside, true},
		{"host by the gateway", nil, gateway, "", true},
		{"neighbour", neighbour, hostOutside, outsideAddr, true},
		{"container by the host's address", peer.ns, hostOutside, "", icc},
		{"container by the gateway", peer.ns, gateway, "", icc},
		{"itself by the host's address", web.ns, hostOutside, "", true},
		{"itself by the gateway", web.ns, gateway, "", true},
	}
	for _, nf := range []string{"0", "1"} {
		setBridgeNF(t, nf)
		for _, c := range clients {
			for _, proto := range []string{"tcp", "udp"} {
				got, err := ask(c.ns, proto, c.address+":8080", patience)
				want := "a " + c.sees
				if nf == "1" && !c.bridgeNF {
					continue
				}
				if err != nil || len(got) < 2 || (c.sees != "" && got != want) || got[:2] != "a " {
					t.Errorf("br_netfilter=%s: %s over %s: got %q, %v, want %q", nf, c.name, proto, got, err, want)
				}
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
