// SPDX-License-Identifier: Apache-2.0

// Package bridge is the default network: a bridge on the host, one veth pair
// for each container, addresses (ipam), published ports (nat) and name servers
// (dns).
//
// A [Driver] keeps what should be and makes the kernel follow. It remembers
// nothing across a restart but the network's identity and range: what lives is
// told to Init, and whatever else carries our mark is taken away. README.md
// lists the marks.
package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge/dns"
	"github.com/davit-engine/davit/bridge/ipam"
	"github.com/davit-engine/davit/bridge/nat"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// networkName is the default network's name, and its driver's.
const networkName = "bridge"

// Options are what the driver needs beside the network's configuration.
type Options struct {
	// StateDir is where the network's identity and range are kept, so that
	// both stay the same after a reboot. It is made if it is missing. "" keeps
	// nothing.
	StateDir string
	Log      *slog.Logger // nil logs nothing
	IPTables string       // path of iptables; "" finds it
	DNS      dns.Files    // the host's resolver files; zero value: the usual ones
}

// Driver makes the default network, in the process's network namespace. All
// methods may be called from any goroutine, after Init.
type Driver struct {
	cfg  davit.NetworkConfig
	opts Options
	log  *slog.Logger

	ports  *nat.Ports
	reaper reaper

	mu        sync.Mutex // guards what follows; host changes are made without it
	ready     bool
	nl        netlinksafe.Handle
	link      *netlink.Bridge
	network   davit.Network
	pool      *ipam.Pool
	firewall  *nat.Firewall             // nil without iptables
	endpoints map[string]davit.Endpoint // by endpoint id: all that hold an address
}

// New checks the configuration and returns a driver. It touches nothing of
// the host; Init does.
func New(cfg davit.NetworkConfig, opts Options) (*Driver, error) {
	if cfg.Link == "" {
		cfg.Link = DefaultLink
	}
	if err := checkConfig(cfg); err != nil {
		return nil, err
	}
	if !cfg.HostIP.IsValid() {
		cfg.HostIP = netip.IPv4Unspecified()
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.DNS == (dns.Files{}) {
		opts.DNS = dns.HostFiles()
	}
	return &Driver{
		cfg: cfg, opts: opts, log: opts.Log.With("network", networkName, "link", cfg.Link),
		ports: nat.NewPorts(), endpoints: map[string]davit.Endpoint{},
	}, nil
}

// Close waits for what the driver does in the background and closes its
// netlink socket. The network stays: containers outlive the daemon.
func (d *Driver) Close() error {
	d.reaper.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready {
		d.ready = false
		d.nl.Close()
	}
	return nil
}

// Backend names the firewall in use: "iptables-nft", "iptables-legacy", or
// "none" before Init and without iptables.
func (d *Driver) Backend() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.firewall == nil {
		return "none"
	}
	return d.firewall.Backend()
}

// Init implements service.Network.
func (d *Driver) Init(ctx context.Context, live []davit.Endpoint) (davit.Network, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready {
		d.claim(live)
		return d.network, errors.Join(d.reapply(ctx), d.publishAll(ctx))
	}
	nl, err := netlinksafe.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return davit.Network{}, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	d.nl, d.reaper.nl = nl, nl
	if err := d.init(ctx, live); err != nil {
		nl.Close()
		return davit.Network{}, fmt.Errorf("cannot make network %s: %w", networkName, err)
	}
	d.ready = true
	return d.network, nil
}

func (d *Driver) init(ctx context.Context, live []davit.Endpoint) error {
	rec, err := d.readRecord()
	if err != nil {
		return err
	}
	addr, err := d.makeBridge(live, rec.Address)
	if err != nil {
		return err
	}
	d.network = davit.Network{
		ID: rec.ID, Name: networkName, Driver: networkName, Created: rec.Created,
		Link: d.cfg.Link, Subnet: addr.Masked(), Gateway: addr.Addr(), MTU: d.link.MTU,
		Options: d.networkOptions(),
	}
	if d.pool, err = ipam.New(addr, addr.Addr()); err != nil {
		return err
	}
	// Written before the rules are: whoever finds them must know of them.
	before := rec
	rec.Address, rec.IPTables = addr, d.cfg.IPTables || before.IPTables
	if rec != before || !before.known {
		if err := d.writeRecord(rec); err != nil {
			return err
		}
	}
	d.endpoints = map[string]davit.Endpoint{}
	d.claim(live)
	// The firewall first: no moment in which the host forwards without it.
	if err := d.initFirewall(ctx, before.IPTables); err != nil {
		return err
	}
	if err := d.programHost(); err != nil {
		return err
	}
	d.forgetStrangers()
	return nil
}

// initFirewall finds iptables and writes the rules. Without it (by
// configuration) those of a predecessor are removed if that can be done.
func (d *Driver) initFirewall(ctx context.Context, before bool) error {
	if !d.cfg.IPTables && !before {
		return nil
	}
	fw, err := nat.Open(d.opts.IPTables)
	if d.cfg.IPTables {
		if err != nil {
			return err
		}
		d.firewall = fw
		published := map[string]nat.Publication{}
		for id, ep := range d.endpoints {
			if len(ep.Ports) > 0 {
				published[id] = publication(ep)
			}
		}
		return fw.Apply(ctx, d.rules(), published)
	}
	if err == nil {
		err = fw.Remove(ctx, d.cfg.Link)
	}
	if err != nil {
		d.log.Warn("cannot remove the firewall rules of a former configuration", "error", err)
	}
	return nil
}

// publishAll publishes what is not yet.
func (d *Driver) publishAll(ctx context.Context) error {
	if d.firewall == nil {
		return nil
	}
	var errs []error
	for id, ep := range d.endpoints {
		errs = append(errs, d.firewall.Publish(ctx, id, publication(ep)))
	}
	return errors.Join(errs...)
}

// programHost sets the kernel's parameters and the links of the endpoints.
func (d *Driver) programHost() error {
	if err := d.setSysctls(); err != nil {
		return err
	}
	return d.adoptLinks()
}

// claim takes the addresses and ports of live endpoints; those that cannot be
// ours are left out, with a warning: their containers run on, unreachable.
func (d *Driver) claim(live []davit.Endpoint) {
	for _, ep := range live {
		if _, known := d.endpoints[ep.EndpointID]; known {
			continue
		}
		if err := d.pool.Claim(ep.Address.Addr()); err != nil {
			d.log.Warn("cannot take over an endpoint", "container_id", ep.ContainerID, "error", err)
			continue
		}
		d.ports.Claim(ep.ContainerID, ep.Ports)
		d.endpoints[ep.EndpointID] = ep
	}
}

// Reapply implements service.Network: after another program has emptied the
// tables or removed the bridge, everything is made again. The driver knows the
// live endpoints since Init: those that are named, from records, may be older.
func (d *Driver) Reapply(ctx context.Context, _ []davit.Endpoint) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkReady(); err != nil {
		return err
	}
	return d.reapply(ctx)
}

func (d *Driver) reapply(ctx context.Context) error {
	if err := d.restoreBridge(); err != nil {
		return err
	}
	if d.firewall != nil {
		if err := d.firewall.Sync(ctx); err != nil {
			return err
		}
	}
	return d.programHost()
}

// Allocate implements service.Network. The caller owns the sockets, one for
// each port in the order of the requests.
func (d *Driver) Allocate(_ context.Context, containerID string, ports []davit.PortRequest) (davit.Endpoint, []*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkReady(); err != nil {
		return davit.Endpoint{}, nil, err
	}
	addr, err := d.pool.Next()
	if errors.Is(err, ipam.ErrExhausted) {
		return davit.Endpoint{}, nil, davit.Errorf(davit.AddressPoolExhausted, "no address of network %s (%s) is free", networkName, d.network.Subnet)
	} else if err != nil {
		return davit.Endpoint{}, nil, err
	}
	id := randomID()
	ep := davit.Endpoint{
		NetworkID: d.network.ID, NetworkName: networkName, ContainerID: containerID, EndpointID: id,
		Address: netip.PrefixFrom(addr, d.network.Subnet.Bits()), Gateway: d.network.Gateway,
		MAC: macOf(addr).String(), HostLink: linkPrefix + id[:11],
	}
	var held []*os.File
	for _, req := range ports {
		if !req.HostIP.IsValid() {
			req.HostIP = d.cfg.HostIP
		}
		m, socket, err := d.ports.Reserve(containerID, req)
		if err != nil {
			d.pool.Release(addr)
			d.ports.Release(containerID, ep.Ports)
			return davit.Endpoint{}, nil, errors.Join(err, closeAll(held))
		}
		ep.Ports, held = append(ep.Ports, m), append(held, socket)
	}
	d.endpoints[id] = ep
	return ep, held, nil
}

// Release implements service.Network. Releasing twice does nothing the second
// time, even if the address has a new owner by then.
func (d *Driver) Release(ep davit.Endpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	own, ok := d.endpoints[ep.EndpointID]
	if !ok {
		return
	}
	delete(d.endpoints, ep.EndpointID)
	d.pool.Release(own.Address.Addr())
	d.ports.Release(own.ContainerID, own.Ports)
}

func (d *Driver) checkReady() error {
	if !d.ready {
		return davit.Errorf(davit.ShuttingDown, "network %s is not up", networkName)
	}
	return nil
}

func (d *Driver) rules() nat.Rules {
	return nat.Rules{Link: d.cfg.Link, Subnet: d.network.Subnet, Masquerade: d.cfg.IPMasq, ICC: d.cfg.ICC}
}

// networkOptions are the names under which Docker shows the configuration of
// its default network (docker network inspect).
func (d *Driver) networkOptions() map[string]string {
	const prefix = "com.docker.network."
	return map[string]string{
		prefix + "bridge.default_bridge":       "true",
		prefix + "bridge.enable_icc":           fmt.Sprint(d.cfg.ICC),
		prefix + "bridge.enable_ip_masquerade": fmt.Sprint(d.cfg.IPMasq),
		prefix + "bridge.host_binding_ipv4":    d.cfg.HostIP.String(),
		prefix + "bridge.name":                 d.cfg.Link,
		prefix + "driver.mtu":                  fmt.Sprint(d.link.MTU),
	}
}

func publication(ep davit.Endpoint) nat.Publication {
	return nat.Publication{Address: ep.Address.Addr(), Ports: slices.Clone(ep.Ports)}
}

// macOf makes a locally administered hardware address of an IPv4 address, as
// Docker did: whoever gets an address next has the MAC that neighbours have in
// their caches for it.
func macOf(addr netip.Addr) net.HardwareAddr {
	ip := addr.As4()
	return net.HardwareAddr{0x02, 0x42, ip[0], ip[1], ip[2], ip[3]}
}

// randomID returns 64 hexadecimal digits.
func randomID() string {
	var raw [32]byte
	rand.Read(raw[:]) // never fails (crypto/rand)
	return hex.EncodeToString(raw[:])
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
