// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge/nat"
	"github.com/vishvananda/netlink"
	netlinknl "github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// linkPrefix begins the names of the host's ends of veth pairs. It is not
// "ve-" or "vb-": systemd-networkd configures those (SYSTEMD.md 3.3).
const linkPrefix = "dvt"

// peerName is the container's end.
const peerName = "eth0"

// Attach implements service.Network. The link and the firewall rules are made
// side by side: each takes milliseconds.
func (d *Driver) Attach(ctx context.Context, ep davit.Endpoint, ns *os.File) error {
	host, err := d.attachment(ep)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cannot attach container %s: %w", davit.ShortID(ep.ContainerID), err)
	}
	published := make(chan error, 1)
	go func() { published <- host.publish(ctx, ep) }()
	err = errors.Join(host.connect(ep, ns), <-published)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cannot attach container %s to network %s: %w", davit.ShortID(ep.ContainerID), networkName, err)
	return errors.Join(err, host.disconnect(ep), host.withdraw(ctx, ep))
}

// Detach implements service.Network. The host's link goes in the background:
// deleting it takes the kernel tens of milliseconds, and it goes by itself
// when the container's namespace does.
func (d *Driver) Detach(ctx context.Context, ep davit.Endpoint) error {
	host, err := d.attachment(ep)
	if err != nil {
		return err
	}
	err = host.withdraw(ctx, ep)
	link, lookErr := host.findLink(ep)
	if link != nil {
		d.reaper.add(reapable{name: link.Attrs().Name, index: link.Attrs().Index, mark: host.mark})
	}
	if err = errors.Join(err, lookErr); err != nil {
		return fmt.Errorf("cannot detach container %s from network %s: %w", davit.ShortID(ep.ContainerID), networkName, err)
	}
	return nil
}

// attachment is what one endpoint's links and rules are made with: a copy of
// the driver's state, so that endpoints are attached side by side.
type attachment struct {
	d        *Driver
	nl       netlinksafe.Handle
	bridge   int // index
	mtu      int
	mark     string
	firewall *nat.Firewall
}

func (d *Driver) attachment(ep davit.Endpoint) (attachment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkReady(); err != nil {
		return attachment{}, err
	}
	return attachment{
		d: d, nl: d.nl, bridge: d.link.Index, mtu: d.link.MTU,
		mark: d.markOf(ep.ContainerID), firewall: d.firewall,
	}, nil
}

// connect makes the pair and sets the container's end up.
func (a attachment) connect(ep davit.Endpoint, ns *os.File) error {
	mac, err := net.ParseMAC(ep.MAC)
	if err != nil {
		return fmt.Errorf("cannot use hardware address %q: %w", ep.MAC, err)
	}
	if err := a.createPair(ep, mac, ns); err != nil {
		return err
	}
	inside, err := netlinksafe.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot open a netlink socket in the container: %w", err)
	}
	defer inside.Close()
	return setUpInside(inside, ep)
}

// createPair makes both ends by one message, so that the container's end never
// exists on the host, then marks the host's.
func (a attachment) createPair(ep davit.Endpoint, mac net.HardwareAddr, ns *os.File) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = ep.HostLink, a.mtu, a.bridge
	attrs.HardwareAddr = randomMAC() // explicitly, or udev would change it (systemd.link(5))
	attrs.Flags = net.FlagUp
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = peerName, mac, uint32(a.mtu)
	veth.PeerNamespace = netlink.NsFd(int(ns.Fd()))
	err := a.nl.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		// The link of an attachment that was just undone, or eth0 exists inside.
		if delErr := a.disconnect(ep); delErr != nil {
			return errors.Join(err, delErr)
		}
		err = a.nl.LinkAdd(veth)
	}
	if err != nil {
		return fmt.Errorf("cannot create link %s with %s in the container: %w", ep.HostLink, peerName, err)
	}
	if err := a.nl.LinkSetAlias(veth, a.mark); err != nil {
		return errors.Join(fmt.Errorf("cannot mark link %s: %w", ep.HostLink, err), a.nl.LinkDel(veth))
	}
	return a.d.setPort(veth)
}

// setPort sets what the bridge does with a port. A packet may leave by the
// port that it came from: with br_netfilter that is the way of a container to
// its own published port. Containers that may not talk to each other are kept
// apart below IP, where no iptables rule sees them (bridge(8)); but not when
// br_netfilter shows bridged packets to iptables, since it sends those that
// were translated to a published port directly to the other port, and
// isolation would drop them.
func (d *Driver) setPort(link netlink.Link) error {
	if err := d.nl.LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("cannot set hairpin mode on link %s: %w", link.Attrs().Name, err)
	}
	isolated := !d.cfg.ICC && !bridgeFiltered(d.cfg)
	if err := d.nl.LinkSetIsolated(link, isolated); err != nil && isolated {
		return fmt.Errorf("cannot isolate link %s: %w", link.Attrs().Name, err)
	}
	return withoutIPv6(d.nl, link)
}

// bridgeFiltered says whether iptables rules of ours see bridged packets.
func bridgeFiltered(cfg davit.NetworkConfig) bool {
	now, err := sysctl{"net", "bridge", "bridge-nf-call-iptables"}.get()
	return cfg.IPTables && err == nil && now == "1"
}

// withoutIPv6 keeps the kernel from giving a link an IPv6 address: the network
// has none, and by link-local ones containers would reach each other past the
// IPv4 rules. A kernel without IPv6 does not know the attribute.
func withoutIPv6(nl netlinksafe.Handle, link netlink.Link) error {
	err := nl.LinkSetIP6AddrGenMode(link, netlinknl.IN6_ADDR_GEN_MODE_NONE)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("cannot turn IPv6 addresses of link %s off: %w", link.Attrs().Name, err)
	}
	return nil
}

// setUpInside configures the container's namespace.
func setUpInside(nl netlinksafe.Handle, ep davit.Endpoint) error {
	lo, err := nl.LinkByName("lo")
	if err == nil {
		err = nl.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("cannot set lo up in the container: %w", err)
	}
	eth, err := nl.LinkByName(peerName)
	if err != nil {
		return fmt.Errorf("cannot find %s in the container: %w", peerName, err)
	}
	if err := withoutIPv6(nl, eth); err != nil {
		return err
	}
	if err := nl.AddrReplace(eth, netlinkAddr(ep.Address)); err != nil {
		return fmt.Errorf("cannot give %s address %s: %w", peerName, ep.Address, err)
	}
	if err := nl.LinkSetUp(eth); err != nil {
		return fmt.Errorf("cannot set %s up: %w", peerName, err)
	}
	route := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: ep.Gateway.AsSlice()}
	if err := nl.RouteReplace(route); err != nil {
		return fmt.Errorf("cannot set the default route to %s: %w", ep.Gateway, err)
	}
	return nil
}

// findLink returns the endpoint's link if there is one and it has our mark:
// no other link is ever touched.
func (a attachment) findLink(ep davit.Endpoint) (netlink.Link, error) {
	link, err := a.nl.LinkByName(ep.HostLink)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for link %s: %w", ep.HostLink, err)
	}
	if link.Attrs().Alias != a.mark {
		return nil, nil
	}
	return link, nil
}

// disconnect deletes the pair and waits for it.
func (a attachment) disconnect(ep davit.Endpoint) error {
	link, err := a.findLink(ep)
	if err != nil || link == nil {
		return err
	}
	if err := a.nl.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot delete link %s: %w", ep.HostLink, err)
	}
	return nil
}

func (a attachment) publish(ctx context.Context, ep davit.Endpoint) error {
	if len(ep.Ports) == 0 {
		return nil
	}
	if a.firewall == nil {
		a.d.log.Warn("published ports lead nowhere without iptables", "container_id", ep.ContainerID)
		return nil
	}
	if err := a.firewall.Publish(ctx, ep.EndpointID, publication(ep)); err != nil {
		return err
	}
	if hasUDP(ep) {
		a.forget(a.d.hostFlows(ep))
	}
	return nil
}

func (a attachment) withdraw(ctx context.Context, ep davit.Endpoint) error {
	if a.firewall == nil || len(ep.Ports) == 0 {
		return nil
	}
	if err := a.firewall.Withdraw(ctx, ep.EndpointID); err != nil {
		return err
	}
	if hasUDP(ep) {
		a.forget(func(f nat.Flow) bool { return f.Translated() && f.From.Addr() == ep.Address.Addr() })
	}
	return nil
}

// forget only warns: a kernel without nf_conntrack_netlink still forwards.
func (a attachment) forget(drop func(nat.Flow) bool) {
	if err := nat.ForgetUDP(&a.nl, drop); err != nil {
		a.d.log.Warn("UDP clients may stay with a former server", "error", err)
	}
}

func hasUDP(ep davit.Endpoint) bool {
	for _, m := range ep.Ports {
		if m.Proto == "udp" {
			return true
		}
	}
	return false
}

// hostFlows chooses the flows that clients of the endpoint's UDP ports began
// with the host itself, before the ports were published.
func (d *Driver) hostFlows(ep davit.Endpoint) func(nat.Flow) bool {
	local := map[netip.Addr]bool{}
	addrs, err := netlinksafe.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		d.log.Warn("cannot list the host's addresses", "error", err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok {
			local[p.Addr()] = true
		}
	}
	return func(f nat.Flow) bool {
		to := f.To.Addr()
		if f.Translated() || !local[to] && !to.IsLoopback() {
			return false
		}
		for _, m := range ep.Ports {
			if m.Proto == "udp" && m.HostPort == f.To.Port() && (m.HostIP.IsUnspecified() || m.HostIP == to) {
				return true
			}
		}
		return false
	}
}
