// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
)

// TestChecklist10_InitTwiceIsTheSame initializes over what there is: in the
// same driver, and in that of a daemon which was started again.
func TestChecklist10_InitTwiceIsTheSame(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		d, first := driver(t, config(), iptables)
		links := func() string { return ip(t, "-o", "link") + ip(t, "-o", "address") + ip(t, "route") }
		firewall, host := rules(t, iptables), links()
		second, err := d.Init(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, third := driver(t, config(), iptables)
		if first.Gateway != second.Gateway || first.Subnet != second.Subnet || first.Gateway != third.Gateway || first.Subnet != third.Subnet {
			t.Errorf("the networks are %+v, %+v and %+v", first, second, third)
		}
		if now := rules(t, iptables); now != firewall {
			t.Errorf("the rules were\n%s\nand are\n%s", firewall, now)
		}
		if now := links(); now != host {
			t.Errorf("the links were\n%s\nand are\n%s", host, now)
		}
	})
}

// TestFault15_ForeignChainsStay keeps the chains of another engine, which has
// 1.2's names for them, through the whole life of a network and its next start.
func TestFault15_ForeignChainsStay(t *testing.T) {
	eachVariant(t, func(t *testing.T, iptables string) {
		foreign := []string{
			"-A DOCKER -p tcp -m tcp --dport 99 -j RETURN", "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
			"-A DOCKER -d 172.30.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT", "-A FORWARD -o docker0 -j DOCKER",
		}
		for _, rule := range []string{
			"-t nat -N DOCKER", "-t nat " + foreign[0], "-t nat " + foreign[1], "-t nat -N EMPTY",
			"-N DOCKER", foreign[2], foreign[3], "-N DAVITISH",
		} {
			command(t, iptables, strings.Fields(rule)...)
		}
		check := func(when string) {
			t.Helper()
			now := rules(t, iptables)
			for _, line := range append(foreign, ":DOCKER -", ":EMPTY -", ":DAVITISH -") {
				if !strings.Contains(now, line+"\n") {
					t.Errorf("%s %q is gone:\n%s", when, line, now)
				}
			}
		}
		d, _ := driver(t, config(), iptables)
		check("after Init")
		c := run(t, d, "a", tcp("", 8080))
		check("with a container")
		stop(t, d, c)
		check("after the container")
		d.Close()
		cfg := config()
		cfg.IPTables = false
		driver(t, cfg, iptables)
		check("without iptables")
	})
}

// TestFault13_FullPoolIsAnError has the kernel choose ports until there are
// none: 1.2 then looked for one for ever.
func TestFault13_FullPoolIsAnError(t *testing.T) {
	onHost(t, func(t *testing.T) {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("50000 50003"), 0o600); err != nil {
			t.Fatal(err)
		}
		d, _ := driver(t, config(), "")
		seen := map[uint16]bool{}
		begin := time.Now()
		for range 20 {
			ep, held, err := d.Allocate(t.Context(), "a", []davit.PortRequest{tcp("", 0)})
			if err != nil {
				if davit.CodeOf(err) != davit.PortInUse || len(seen) == 0 {
					t.Errorf("after %d ports: %s %v", len(seen), davit.CodeOf(err), err)
				}
				if took := time.Since(begin); took > patience {
					t.Errorf("it took %v", took)
				}
				return
			}
			defer closeFiles(t, held)
			if port := ep.Ports[0].HostPort; seen[port] {
				t.Fatalf("port %d is handed out twice", port)
			} else {
				seen[port] = true
			}
		}
		t.Errorf("%d ports were handed out of a pool of four", len(seen))
	})
}
