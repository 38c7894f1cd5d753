// SPDX-License-Identifier: Apache-2.0

package request

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/davit-engine/davit"
)

// hostGateway stands for the address of the host on the container's network.
const hostGateway = "host-gateway"

// extraHost reads name:address or name=address; an address of IPv6 may be in
// brackets.
func extraHost(spec string) (name, addr string, err error) {
	name, addr, ok := strings.Cut(spec, "=")
	if !ok {
		name, addr, ok = strings.Cut(spec, ":")
	}
	// A zone of IPv6 may have any character: one that ends a line of the file, too.
	if !ok || !oneWord(name) || !oneWord(addr) {
		return "", "", invalid("bad format for add-host: %q: it must be name:address", spec)
	}
	if strings.HasPrefix(addr, "[") && strings.HasSuffix(addr, "]") {
		addr = addr[1 : len(addr)-1]
	}
	if addr == hostGateway {
		return name, addr, nil
	}
	if _, err := netip.ParseAddr(addr); err != nil {
		return "", "", invalid("invalid IP address in add-host: %q", addr)
	}
	return name, addr, nil
}

// maxHostname is that of sethostname(2) and setdomainname(2), bytes.
const maxHostname = 64

// checkHostname refuses what the kernel does, and what would be another thing in
// hosts(5) or hostname(5). Like Docker it takes more than RFC 1123 does: an
// underscore, a letter beyond ASCII.
func checkHostname(what, name string) error {
	switch {
	case name == "":
		return nil
	case len(name) > maxHostname:
		return invalid("invalid %s %q: it has %d bytes, and the most are %d", what, name, len(name), maxHostname)
	case !oneWord(name):
		return invalid("invalid %s %q: it has a blank, a control character or a character that hosts(5) gives a meaning", what, name)
	}
	return nil
}

// oneWord tells whether a text stays one word in hosts(5).
func oneWord(text string) bool {
	return text != "" && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return r == '#' || !unicode.IsGraphic(r) || unicode.IsSpace(r)
	})
}

func checkHosts(h *davit.HostConfig, _ *davit.HostFacts) error {
	for _, spec := range h.ExtraHosts {
		if _, _, err := extraHost(spec); err != nil {
			return err
		}
	}
	return nil
}

// HostsFile is /etc/hosts of a container: hosts(5).
func HostsFile(rec *davit.Container) []byte {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	writeExtra(&b, rec)
	names := hostNames(rec)
	for _, ep := range rec.Endpoints {
		fmt.Fprintf(&b, "%s\t%s\n", ep.Address.Addr(), names)
	}
	if len(rec.Endpoints) == 0 && names != "" {
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", names) // as Debian has it of a host without a permanent address
	}
	return []byte(b.String())
}

// WithExtraHosts adds what the user gave to the host's hosts(5), for a container
// in the host's network.
func WithExtraHosts(hosts []byte, rec *davit.Container) []byte {
	var b strings.Builder
	b.Write(hosts)
	if len(hosts) > 0 && hosts[len(hosts)-1] != '\n' {
		b.WriteByte('\n')
	}
	writeExtra(&b, rec)
	return []byte(b.String())
}

func writeExtra(b *strings.Builder, rec *davit.Container) {
	var gateway netip.Addr
	for _, ep := range rec.Endpoints {
		gateway = ep.Gateway
	}
	for _, h := range rec.HostConfig.ExtraHosts {
		name, addr, err := extraHost(h)
		if err != nil {
			continue // in a record of before they were checked
		}
		if addr == hostGateway && gateway.IsValid() {
			addr = gateway.String()
		}
		fmt.Fprintf(b, "%s\t%s\n", addr, name)
	}
}

// hostNames are the container's names as hosts(5) has them: the whole one, and
// what is before its first dot.
func hostNames(rec *davit.Container) string {
	whole := rec.Config.Hostname
	if rec.Config.Domainname != "" {
		whole += "." + rec.Config.Domainname
	}
	if short, _, dotted := strings.Cut(whole, "."); dotted && short != "" {
		return whole + " " + short
	}
	return whole
}
