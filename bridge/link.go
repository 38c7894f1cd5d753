// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge/ipam"
	"github.com/vishvananda/netlink"
)

// maxBits is the longest prefix with room for the bridge and a container.
const maxBits = 30

// defaultMTU is Ethernet's.
const defaultMTU = 1500

// checkConfig refuses what no bridge can be made of.
func checkConfig(cfg davit.NetworkConfig) error {
	if !validLinkName(cfg.Link) {
		return davit.Errorf(davit.InvalidConfiguration, "bridge %.64q is not the name of a link: at most 15 of letters, digits, '_', '.' and '-'", cfg.Link)
	}
	// 68 is what every IPv4 link must carry (RFC 791), 65535 what an IP packet holds.
	if cfg.MTU != 0 && (cfg.MTU < 68 || cfg.MTU > 65535) {
		return davit.Errorf(davit.InvalidConfiguration, "mtu %d is not between 68 and 65535", cfg.MTU)
	}
	if cfg.HostIP.IsValid() && !cfg.HostIP.Is4() {
		return davit.Errorf(davit.NotSupported, "ip %s: only IPv4 addresses can be published on", cfg.HostIP)
	}
	if cfg.Address == (netip.Prefix{}) {
		return nil
	}
	if !cfg.Address.IsValid() || !cfg.Address.Addr().Is4() {
		return davit.Errorf(davit.NotSupported, "bip %s is not an IPv4 address with a length, like 172.17.0.1/16", cfg.Address)
	}
	if !saneAddress(cfg.Address) {
		return davit.Errorf(davit.InvalidConfiguration, "bip %s is not a host address of a network of /8 to /%d; the first one would be %s",
			cfg.Address, maxBits, firstHost(cfg.Address))
	}
	return nil
}

// validLinkName is stricter than the kernel: the name becomes a word of
// iptables, where a "+" at the end is a pattern, and part of a path.
func validLinkName(name string) bool {
	if name == "" || len(name) > 15 || name[0] == '-' || strings.Trim(name, ".") == "" {
		return false
	}
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (r < '0' || r > '9') && r != '_' && r != '.' && r != '-' {
			return false
		}
	}
	return true
}

// saneAddress says whether a bridge can have the address: a host address of an
// IPv4 network with room for containers.
func saneAddress(p netip.Prefix) bool {
	a := p.Addr()
	return a.Is4() && p.Bits() >= 8 && p.Bits() <= maxBits &&
		!a.IsLoopback() && !a.IsMulticast() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() &&
		a != p.Masked().Addr() && a != ipam.Last(p)
}

func firstHost(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits())
}

// mark is the alias (ip-link(8)) of what this driver made: of the bridge
// itself, and with a container's id behind it of a veth link.
func (d *Driver) mark() string { return "davit:" + d.cfg.Link }

func (d *Driver) markOf(containerID string) string { return d.mark() + ":" + containerID }

// makeBridge takes the bridge over or creates it, gives it an address and
// sets it up. recorded is the address of a former run.
func (d *Driver) makeBridge(live []davit.Endpoint, recorded netip.Prefix) (netip.Prefix, error) {
	existing, err := d.findBridge()
	if err != nil {
		return netip.Prefix{}, err
	}
	has, err := bridgeAddresses(existing)
	if err != nil {
		return netip.Prefix{}, err
	}
	want, err := d.chooseAddress(live, has, recorded)
	if err != nil {
		return netip.Prefix{}, err
	}
	if existing != nil && len(has) > 0 && !slices.Contains(has, want) && existing.Alias != d.mark() {
		return netip.Prefix{}, davit.Errorf(davit.InvalidConfiguration,
			"link %s has address %s, not %s: leave bip out or remove the address, with ip address del %s dev %s",
			d.cfg.Link, has[0], want, has[0], d.cfg.Link)
	}
	return want, d.ensureBridge(existing, has, want)
}

// restoreBridge makes the bridge again as it was.
func (d *Driver) restoreBridge() error {
	existing, err := d.findBridge()
	if err != nil {
		return err
	}
	has, err := bridgeAddresses(existing)
	if err != nil {
		return err
	}
	return d.ensureBridge(existing, has, netip.PrefixFrom(d.network.Gateway, d.network.Subnet.Bits()))
}

// ensureBridge sets d.link.
func (d *Driver) ensureBridge(existing *netlink.Bridge, has []netip.Prefix, want netip.Prefix) error {
	link := existing
	if link == nil {
		var err error
		if link, err = d.createBridge(); err != nil {
			return err
		}
	}
	err := d.configureBridge(link, has, want)
	if err != nil {
		if existing == nil {
			err = errors.Join(err, d.nl.LinkDel(link))
		}
		return fmt.Errorf("cannot set up link %s: %w", d.cfg.Link, err)
	}
	d.link = link
	return nil
}

// findBridge returns nil when there is no link of the name.
func (d *Driver) findBridge() (*netlink.Bridge, error) {
	link, err := d.nl.LinkByName(d.cfg.Link)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for link %s: %w", d.cfg.Link, err)
	}
	bridge, ok := link.(*netlink.Bridge)
	if !ok {
		return nil, davit.Errorf(davit.InvalidConfiguration, "link %s is a %s, not a bridge: remove it, or choose another name with --bridge", d.cfg.Link, link.Type())
	}
	return bridge, nil
}

func (d *Driver) createBridge() (*netlink.Bridge, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = d.cfg.Link
	// An address that was set explicitly stays: the bridge does not follow its
	// ports', and udev does not make up a persistent one (systemd.link(5)).
	attrs.HardwareAddr = randomMAC()
	link := &netlink.Bridge{LinkAttrs: attrs}
	if err := d.nl.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("cannot create bridge %s: %w", d.cfg.Link, err)
	}
	return link, nil
}

// configureBridge gives the link its mark, MTU and address and sets it up. A
// bridge without addresses becomes ours: a predecessor that was killed, or the
// administrator, left it for us.
func (d *Driver) configureBridge(link *netlink.Bridge, has []netip.Prefix, want netip.Prefix) error {
	if len(has) == 0 && link.Alias != d.mark() {
		if err := d.nl.LinkSetAlias(link, d.mark()); err != nil {
			return fmt.Errorf("cannot mark it: %w", err)
		}
		link.Alias = d.mark()
	}
	if err := d.setMTU(link); err != nil {
		return err
	}
	if !slices.Contains(has, want) {
		for _, old := range has {
			if err := d.nl.AddrDel(link, netlinkAddr(old)); err != nil {
				return fmt.Errorf("cannot remove address %s: %w", old, err)
			}
		}
		if err := d.nl.AddrReplace(link, netlinkAddr(want)); err != nil {
			return fmt.Errorf("cannot give it address %s: %w", want, err)
		}
	}
	if err := d.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot set it up: %w", err)
	}
	return nil
}

// setMTU leaves the administrator's bridge alone unless an MTU is configured.
func (d *Driver) setMTU(link *netlink.Bridge) error {
	mtu := d.cfg.MTU
	if mtu == 0 && link.Alias == d.mark() {
		mtu = d.uplinkMTU()
	}
	if mtu == 0 || mtu == link.MTU {
		return nil
	}
	if err := d.nl.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("cannot set its MTU to %d: %w", mtu, err)
	}
	link.MTU = mtu
	return nil
}

// uplinkMTU is that of the default route's link: a larger one would have
// packets dropped where the path MTU cannot be discovered.
func (d *Driver) uplinkMTU() int {
	routes, err := d.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, 0)
	if err != nil {
		return defaultMTU
	}
	for _, r := range routes {
		if !isDefault(r) || r.LinkIndex == 0 {
			continue
		}
		link, err := d.nl.LinkByIndex(r.LinkIndex)
		if err == nil && link.Attrs().MTU >= 68 && link.Attrs().MTU <= 65535 {
			return link.Attrs().MTU
		}
	}
	return defaultMTU
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// bridgeAddresses returns the link's usable addresses, in the kernel's order.
func bridgeAddresses(link *netlink.Bridge) ([]netip.Prefix, error) {
	if link == nil {
		return nil, nil
	}
	addrs, err := netlinksafe.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses of link %s: %w", link.Name, err)
	}
	var has []netip.Prefix
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok && saneAddress(p) {
			has = append(has, p)
		}
	}
	return has, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

func netlinkAddr(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}

// randomMAC returns a locally administered unicast address.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac) // never fails (crypto/rand)
	mac[0] = mac[0]&^0x01 | 0x02
	return mac
}
