// SPDX-License-Identifier: Apache-2.0

package request

import (
	"fmt"
	"net/netip"
	"strings"

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
	if !ok || len(strings.Fields(name)) != 1 || len(strings.Fields(addr)) != 1 || name+addr != strings.TrimSpace(name)+strings.TrimSpace(addr) {
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
		fmt.Fprintf(&b, "%s\t%s\n", addr, name)
	}
	for _, ep := range rec.Endpoints {
		names := rec.Config.Hostname
		if rec.Config.Domainname != "" {
			names = rec.Config.Hostname + "." + rec.Config.Domainname + " " + names
		}
		fmt.Fprintf(&b, "%s\t%s\n", ep.Address.Addr(), names)
	}
	return []byte(b.String())
}
