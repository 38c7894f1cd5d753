// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/davit-engine/davit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// candidates are the ranges that the default network is chosen from, as
// Docker's: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in sixteen
// parts. 172.16.0.0/16 is left out: a cloud's name server lives there.
func candidates() []netip.Prefix {
	var list []netip.Prefix
	for second := byte(17); second <= 31; second++ {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, second, 0, 0}), 16))
	}
	for third := 0; third < 256; third += 16 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third), 0}), 20))
	}
	return list
}

// chooseAddress says which address the bridge is to have: the configured one;
// that which live containers know as their gateway; one that it has; the one
// of a former run if that is still free; or the first of a free range.
func (d *Driver) chooseAddress(live []davit.Endpoint, has []netip.Prefix, recorded netip.Prefix) (netip.Prefix, error) {
	inUse, container := liveAddress(live)
	switch {
	case d.cfg.Address.IsValid() && inUse.IsValid() && inUse != d.cfg.Address:
		return netip.Prefix{}, davit.Errorf(davit.InvalidConfiguration,
			"network %s cannot get address %s: container %s runs with gateway %s; stop the network's containers, or leave bip out",
			networkName, d.cfg.Address, davit.ShortID(container), inUse)
	case d.cfg.Address.IsValid():
		return d.cfg.Address, nil
	case inUse.IsValid():
		return inUse, nil
	case len(has) > 0 && !slices.Contains(has, recorded):
		return has[0], nil
	case slices.Contains(has, recorded):
		return recorded, nil
	}
	taken, err := d.takenRanges()
	if err != nil {
		return netip.Prefix{}, err
	}
	if saneAddress(recorded) && !overlapsAny(recorded, taken) {
		return recorded, nil
	}
	for _, c := range candidates() {
		if !overlapsAny(c, taken) {
			return firstHost(c), nil
		}
	}
	return netip.Prefix{}, davit.Errorf(davit.InvalidConfiguration,
		"no range is free for network %s: routes or name servers of the host use some of each of 172.17.0.0/16 to 172.31.0.0/16 and 192.168.0.0/16; choose one with --bip", networkName)
}

// liveAddress is the bridge's address as a live endpoint knows it, and the
// endpoint's container.
func liveAddress(live []davit.Endpoint) (netip.Prefix, string) {
	for _, ep := range live {
		if p := netip.PrefixFrom(ep.Gateway, ep.Address.Bits()); saneAddress(p) {
			return p, ep.ContainerID
		}
	}
	return netip.Prefix{}, ""
}

// takenRanges lists what the host already has a way to: routes of all tables
// (VPNs keep theirs in tables of their own), addresses of links that are down
// and so have no route, and name servers.
func (d *Driver) takenRanges() ([]netip.Prefix, error) {
	var taken []netip.Prefix
	routes, err := d.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("cannot list the host's routes: %w", err)
	}
	for _, r := range routes {
		// Half of all addresses (0.0.0.0/1) is a default route in disguise.
		if p, ok := prefixOf(r.Dst); ok && p.Bits() >= 8 {
			taken = append(taken, p)
		}
	}
	addrs, err := netlinksafe.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("cannot list the host's addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok {
			taken = append(taken, p)
		}
	}
	servers, err := d.opts.DNS.Nameservers()
	if err != nil {
		d.log.Warn("cannot tell which addresses the host's name servers have", "error", err)
	}
	for _, s := range servers {
		if s.Is4() {
			taken = append(taken, netip.PrefixFrom(s, 32))
		}
	}
	return taken, nil
}

func overlapsAny(p netip.Prefix, taken []netip.Prefix) bool {
	return slices.ContainsFunc(taken, p.Overlaps)
}
