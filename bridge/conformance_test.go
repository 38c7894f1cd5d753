// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"net/netip"
	"regexp"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest"
)

// volatile is what iptables-save says that is not a rule: times and counters.
var volatile = regexp.MustCompile(`(?m)^#.*\n| \[\d+:\d+\]$`)

// linkFacts is what ip -o link says of a link that stays the same: its name
// and its master.
var linkFacts = regexp.MustCompile(`(?m)^\d+: ([^:@]+)[^ ]* .*?( master \S+)? .*$`)

func TestNetworkConforms(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		drivertest.TestNetwork(t, conformingHost(t, iptables))
	})
}

func conformingHost(t *testing.T, iptables string) drivertest.NetworkHost {
	dir := t.TempDir()
	var last *bridge.Driver
	open := func(t *testing.T, cfg davit.NetworkConfig) service.Network {
		if last != nil { // only its descriptors: a killed daemon undoes nothing
			if err := last.Close(); err != nil {
				t.Error(err)
			}
		}
		d, err := bridge.New(cfg, bridge.Options{StateDir: dir, IPTables: iptables})
		if err != nil {
			t.Fatal(err)
		}
		last = d
		return d
	}
	t.Cleanup(func() {
		if last != nil {
			last.Close()
		}
	})
	return drivertest.NetworkHost{
		Open: func(t *testing.T) service.Network { return open(t, config()) },
		Small: func(t *testing.T) service.Network {
			cfg := config()
			cfg.Link, cfg.Address = "davit1", netip.MustParsePrefix("10.234.0.1/29")
			return open(t, cfg)
		},
		Netns: newNetns,
		Text: func(t *testing.T) string {
			links := linkFacts.ReplaceAllString(ip(t, "-o", "link"), "$1$2")
			return links + volatile.ReplaceAllString(command(t, iptables+"-save"), "")
		},
		Binds: true,
	}
}
