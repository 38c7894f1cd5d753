// SPDX-License-Identifier: Apache-2.0

// Package nat makes ports of containers reachable: it reserves ports of the
// host, and it writes the firewall of the bridge, in chains of its own
// (the README.md of bridge says which, and why each rule is there).
package nat

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// UserChain of the filter table is the administrator's: every forwarded packet
// passes it before our rules. It is made if it is missing and never changed.
const UserChain = "DAVIT-USER"

// defaultLink is the bridge whose chains carry no hash.
const defaultLink = "davit0"

// Rules is what the firewall of one bridge depends on.
type Rules struct {
	Link       string
	Subnet     netip.Prefix
	Masquerade bool // containers reach other networks under the host's address
	ICC        bool // containers of the bridge may talk to each other
}

// Publication is the published ports of one endpoint.
type Publication struct {
	Address netip.Addr
	Ports   []davit.PortMapping
}

// chains are the names of the chains of one bridge: those of an engine on
// another link carry a hash of its name, so that two do not meet. iptables
// allows 28 characters.
type chains struct {
	dnat, postrouting string // nat
	forward, input    string // filter
}

func chainsOf(link string) chains {
	base := "DAVIT"
	if link != defaultLink {
		base = fmt.Sprintf("DAVIT-%X", sha256.Sum256([]byte(link)))[:len("DAVIT-")+8]
	}
	return chains{dnat: base, postrouting: base + "-POSTROUTING", forward: base + "-FORWARD", input: base + "-INPUT"}
}

// jump is a rule in a built-in chain that leads to one of ours.
type jump struct {
	table, chain string
	first        bool // before all other rules, not after them
	match        string
	target       string
}

// jumps lists how packets come to our chains. Translation leaves 127.0.0.0/8
// out of PREROUTING: a neighbour on the host's network could otherwise reach,
// by a packet to 127.0.0.1, what is published on loopback only (moby#45610).
func (c chains) jumps(link string) []jump {
	return []jump{
		{table: "filter", chain: "FORWARD", first: true, target: c.forward},
		{table: "filter", chain: "INPUT", first: true, match: "-i " + link, target: c.input},
		{table: "nat", chain: "PREROUTING", match: "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL", target: c.dnat},
		{table: "nat", chain: "OUTPUT", match: "-m addrtype --dst-type LOCAL", target: c.dnat},
		{table: "nat", chain: "POSTROUTING", target: c.postrouting},
	}
}

func (j jump) rule() string {
	words := []string{"-A", j.chain}
	if j.first {
		words = []string{"-I", j.chain, "1"}
	}
	if j.match != "" {
		words = append(words, j.match)
	}
	return strings.Join(append(words, "-j", j.target), " ")
}

// present is what a firewall holds already: for each jump the rules of its
// built-in chain that lead to its target, whatever else they match.
type present struct {
	jumps     map[jump][]string
	userChain bool
}

// parse reads the output of iptables-save.
func parse(saved string, jumps []jump) present {
	now := present{jumps: map[jump][]string{}}
	table := ""
	for line := range strings.Lines(saved) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case table == "filter" && strings.HasPrefix(line, ":"+UserChain+" "):
			now.userChain = true
		case strings.HasPrefix(line, "-A "):
			for _, j := range jumps {
				if j.table == table && strings.HasPrefix(line, "-A "+j.chain+" ") && strings.HasSuffix(line, " -j "+j.target) {
					now.jumps[j] = append(now.jumps[j], line)
				}
			}
		}
	}
	return now
}

// document is the input of iptables-restore --noflush that makes the whole
// firewall of a bridge, whatever of it is there already. Each table is one
// transaction; filter comes first so that no packet is translated before it
// is filtered.
func document(r Rules, published map[string]Publication, now present) string {
	c := chainsOf(r.Link)
	var b strings.Builder
	b.WriteString("*filter\n")
	if !now.userChain {
		fmt.Fprintf(&b, ":%s - [0:0]\n", UserChain)
	}
	fmt.Fprintf(&b, ":%s - [0:0]\n:%s - [0:0]\n", c.forward, c.input)
	writeRules(&b, filterRules(r, c))
	writeJumps(&b, "filter", c.jumps(r.Link), now)
	fmt.Fprintf(&b, "COMMIT\n*nat\n:%s - [0:0]\n:%s - [0:0]\n", c.dnat, c.postrouting)
	writeRules(&b, natRules(r, c))
	for _, id := range sortedKeys(published) {
		writeRules(&b, prefixed("-A ", c.dnat, published[id]))
	}
	writeJumps(&b, "nat", c.jumps(r.Link), now)
	b.WriteString("COMMIT\n")
	return b.String()
}

// filterRules let through what is forwarded: answers, what the containers
// begin, and what was translated to a published port. Everything else towards
// the bridge is dropped, so that ports which are not published cannot be
// reached by a route to the containers' addresses either.
func filterRules(r Rules, c chains) []string {
	icc := "DROP"
	if r.ICC {
		icc = "ACCEPT"
	}
	return []string{
		fmt.Sprintf("-A %s -j %s", c.forward, UserChain),
		fmt.Sprintf("-A %s -o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", c.forward, r.Link),
		fmt.Sprintf("-A %s -o %s -m conntrack --ctstate DNAT -j ACCEPT", c.forward, r.Link),
		fmt.Sprintf("-A %s -i %s -o %s -j %s", c.forward, r.Link, r.Link, icc),
		fmt.Sprintf("-A %s -i %s -j ACCEPT", c.forward, r.Link),
		fmt.Sprintf("-A %s -o %s -j DROP", c.forward, r.Link),
		// route_localnet on the bridge would let containers reach what listens
		// on the host's loopback (CVE-2020-8558).
		fmt.Sprintf("-A %s -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP", c.input),
	}
}

// natRules hide containers behind the host's address, and make the answers of
// a published port come back through the host when the client is a container
// of the same bridge (or the very one) or used a loopback address.
func natRules(r Rules, c chains) []string {
	var rules []string
	if r.Masquerade {
		rules = append(rules, fmt.Sprintf("-A %s -s %s ! -o %s -j MASQUERADE", c.postrouting, r.Subnet.Masked(), r.Link))
	}
	return append(rules,
		fmt.Sprintf("-A %s -s %s -o %s -m conntrack --ctstate DNAT -j MASQUERADE", c.postrouting, r.Subnet.Masked(), r.Link),
		fmt.Sprintf("-A %s -s 127.0.0.0/8 -o %s -j MASQUERADE", c.postrouting, r.Link),
	)
}

// prefixed returns the rules of an endpoint's ports for a chain: verb is "-A "
// or "-D ".
func prefixed(verb, chain string, pub Publication) []string {
	var rules []string
	for _, m := range pub.Ports {
		to := ""
		if m.HostIP.IsValid() && !m.HostIP.IsUnspecified() {
			to = fmt.Sprintf("-d %s/32 ", m.HostIP)
		}
		rules = append(rules, fmt.Sprintf("%s%s %s-p %s -m %s --dport %d -j DNAT --to-destination %s:%d",
			verb, chain, to, m.Proto, m.Proto, m.HostPort, pub.Address, m.ContainerPort))
	}
	return rules
}

func writeRules(b *strings.Builder, rules []string) {
	for _, r := range rules {
		b.WriteString(r + "\n")
	}
}

// writeJumps replaces the jumps of a table: in the same transaction, so that
// no packet misses them, and so that they come first again if they are to.
func writeJumps(b *strings.Builder, table string, jumps []jump, now present) {
	for _, j := range jumps {
		if j.table != table {
			continue
		}
		writeRules(b, deletions(now.jumps[j]))
		b.WriteString(j.rule() + "\n")
	}
}

func deletions(rules []string) []string {
	var lines []string
	for _, r := range rules {
		lines = append(lines, "-D "+strings.TrimPrefix(r, "-A "))
	}
	return lines
}

func sortedKeys(m map[string]Publication) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
