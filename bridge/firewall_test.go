// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/google/go-cmp/cmp"
)

// rules returns what iptables-save shows, without comments, counters and the
// chains' declarations, table by table.
func rules(t *testing.T, iptables string) string {
	t.Helper()
	var text strings.Builder
	for _, table := range []string{"filter", "nat"} {
		text.WriteString("*" + table + "\n")
		for line := range strings.Lines(command(t, iptables+"-save", "-t", table)) {
			if chain, rest, _ := strings.Cut(line, " "); strings.HasPrefix(chain, ":") {
				policy, _, _ := strings.Cut(rest, " ")
				text.WriteString(chain + " " + policy + "\n")
			} else if strings.HasPrefix(line, "-A") {
				text.WriteString(line)
			}
		}
	}
	return text.String()
}

// TestFirewall shows the whole firewall as text: with foreign chains beside
// ours, after a second Init, and after a container has gone.
func TestFirewall(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		foreign := []string{
			"-t nat -N DOCKER", "-t nat -A DOCKER -p tcp --dport 99 -j RETURN",
			"-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
			"-N DAVIT-USER", "-A DAVIT-USER -s 198.51.100.7/32 -j DROP",
			"-P FORWARD DROP", "-A FORWARD -i docker0 -j ACCEPT",
		}
		for _, rule := range foreign {
			command(t, iptables, strings.Fields(rule)...)
		}
		d, _ := driver(t, config(), iptables)
		testutil.Golden(t, "firewall-empty.golden", rules(t, iptables))
		c := run(t, d, "a", tcp("", 8080), udp("127.0.0.1", 5353))
		testutil.Golden(t, "firewall-published.golden", rules(t, iptables))
		again, _ := driver(t, config(), iptables, c.ep)
		testutil.Golden(t, "firewall-published.golden", rules(t, iptables))
		if err := again.Attach(t.Context(), c.ep, newNetns(t)); err != nil { // of one that is published
			t.Fatal(err)
		}
		testutil.Golden(t, "firewall-published.golden", rules(t, iptables))
		for range 2 {
			stop(t, again, c)
			testutil.Golden(t, "firewall-empty.golden", rules(t, iptables))
		}
	})
}

func TestFirewallOfOtherConfigurations(t *testing.T) {
	for name, change := range map[string]func(*davit.NetworkConfig){
		"firewall-no-icc.golden":     func(c *davit.NetworkConfig) { c.ICC = false },
		"firewall-no-masq.golden":    func(c *davit.NetworkConfig) { c.IPMasq = false },
		"firewall-other-link.golden": func(c *davit.NetworkConfig) { c.Link = "other0" },
	} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T) {
				cfg := config()
				change(&cfg)
				iptables := "/usr/sbin/" + variants(t)[0]
				driver(t, cfg, iptables)
				testutil.Golden(t, name, rules(t, iptables))
			})
		})
	}
}

// TestWithoutIPTables: no rule is written, and those of a predecessor that
// had iptables go, but not the administrator's chain.
func TestWithoutIPTables(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		command(t, iptables, "-t", "nat", "-N", "DOCKER")
		command(t, iptables, "-N", "DAVIT-USER")
		before := rules(t, iptables)
		opts := bridge.Options{StateDir: t.TempDir(), IPTables: iptables}
		for _, on := range []bool{false, true, false} {
			cfg := config()
			cfg.IPTables = on
			d, err := bridge.New(cfg, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := d.Init(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			c := run(t, d, "a", tcp("", 8080))
			stop(t, d, c)
			if same := rules(t, iptables) == before; same == on {
				t.Errorf("iptables=%v: the rules are\n%s", on, rules(t, iptables))
			}
			if backend := d.Backend(); (backend == "none") == on || (on && backend != filepath.Base(iptables)) {
				t.Errorf("iptables=%v: backend is %q", on, backend)
			}
		}
	})
}

// TestMissingIPTables: the message names what to do.
func TestMissingIPTables(t *testing.T) {
	onHost(t, func(t *testing.T) {
		d, err := bridge.New(config(), bridge.Options{IPTables: "/nonexistent/iptables"})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err = d.Init(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "iptables") {
			t.Errorf("Init says %v", err)
		}
		if _, _, err := d.Allocate(t.Context(), "a", nil); err == nil {
			t.Error("Allocate works after a failed Init")
		}
	})
}

// TestTablesEmptiedByOthers: after "iptables -F" and the like, the next change
// of ports still succeeds, and Reapply makes everything again.
func TestTablesEmptiedByOthers(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		d, _ := driver(t, config(), iptables)
		a := run(t, d, "a", tcp("", 8080))
		whole := rules(t, iptables)
		flush := func() {
			for _, table := range []string{"filter", "nat"} {
				command(t, iptables, "-t", table, "-F")
				command(t, iptables, "-t", table, "-X")
			}
		}
		flush()
		if err := d.Reapply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, rules(t, iptables)); diff != "" {
			t.Errorf("after Reapply (-want +got):\n%s", diff)
		}
		flush()
		b := run(t, d, "b", tcp("", 8081))
		if _, err := ask(nil, "tcp", "127.0.0.1:8080", patience); err != nil {
			t.Errorf("after publishing another container: %v", err)
		}
		flush()
		stop(t, d, b)
		if diff := cmp.Diff(whole, rules(t, iptables)); diff != "" {
			t.Errorf("after a container ended (-want +got):\n%s", diff)
		}
		ip(t, "link", "delete", "davit0")
		if err := d.Reapply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(nil, "tcp", "127.0.0.1:8080", patience); err != nil {
			t.Errorf("after the bridge was removed: %v", err)
		}
		stop(t, d, a)
	})
}

// TestTwoEngines on one host, with a link each, do not disturb each other.
func TestTwoEngines(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		first, _ := driver(t, config(), iptables)
		a := run(t, first, "a", tcp("", 8080))
		cfg := config()
		cfg.Link = "other0"
		second, network := driver(t, cfg, iptables)
		if network.Subnet != netip.MustParsePrefix("172.18.0.0/16") {
			t.Errorf("the second network has %s", network.Subnet)
		}
		_, _, err := second.Allocate(t.Context(), "b", []davit.PortRequest{tcp("", 8080)})
		if davit.CodeOf(err) != davit.PortInUse {
			t.Errorf("the port of the first engine: %v", err)
		}
		b := run(t, second, "b", tcp("", 8081))
		driver(t, config(), iptables, a.ep) // each is restarted
		driver(t, cfg, iptables, b.ep)
		for _, c := range []struct {
			ns      *os.File
			address string
			want    string
		}{
			{nil, "127.0.0.1:8080", "a"},
			{nil, "127.0.0.1:8081", "b"},
			{a.ns, "172.17.0.1:8081", "b"},
			{b.ns, "172.17.0.1:8080", "a"},
			{b.ns, "172.18.0.1:8080", "a"},
		} {
			got, err := ask(c.ns, "tcp", c.address, patience)
			if name, _, _ := strings.Cut(got, " "); name != c.want {
				t.Errorf("%s: got %q, %v, want %s", c.address, got, err, c.want)
			}
		}
		stop(t, second, b)
		if _, err := ask(nil, "tcp", "127.0.0.1:8080", patience); err != nil {
			t.Errorf("after the second engine's container ended: %v", err)
		}
	})
}
