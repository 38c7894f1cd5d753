// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge/nat"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// adoptLinks puts the links of the endpoints back on the bridge, and deletes
// all others that have our mark.
func (d *Driver) adoptLinks() error {
	links, err := d.nl.LinkList()
	if err != nil {
		return fmt.Errorf("cannot list the host's links: %w", err)
	}
	wanted := make(map[string]davit.Endpoint, len(d.endpoints))
	for _, ep := range d.endpoints {
		wanted[ep.HostLink] = ep
	}
	var errs []error
	for _, link := range links {
		attrs := link.Attrs()
		ep, ok := wanted[attrs.Name]
		switch {
		case link.Type() != "veth":
		case ok:
			errs = append(errs, d.adoptLink(link, d.markOf(ep.ContainerID)))
		case strings.HasPrefix(attrs.Name, linkPrefix) && strings.HasPrefix(attrs.Alias, d.mark()+":"):
			d.log.Info("delete the link of a container that is gone", "veth", attrs.Name)
			if err := d.nl.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
				errs = append(errs, fmt.Errorf("cannot delete link %s: %w", attrs.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// adoptLink sets again what may have been lost since the link was made: the
// daemon was killed in the middle, or the bridge was removed.
func (d *Driver) adoptLink(link netlink.Link, mark string) error {
	attrs := link.Attrs()
	if attrs.Alias != mark {
		if err := d.nl.LinkSetAlias(link, mark); err != nil {
			return fmt.Errorf("cannot mark link %s: %w", attrs.Name, err)
		}
	}
	if attrs.MasterIndex != d.link.Index {
		if err := d.nl.LinkSetMaster(link, d.link); err != nil {
			return fmt.Errorf("cannot put link %s on bridge %s: %w", attrs.Name, d.cfg.Link, err)
		}
	}
	if err := d.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot set link %s up: %w", attrs.Name, err)
	}
	return d.setPort(link)
}

// forgetStrangers ends the UDP flows to addresses of the network that no live
// container has.
func (d *Driver) forgetStrangers() {
	if d.firewall == nil {
		return
	}
	live := make(map[netip.Addr]bool, len(d.endpoints))
	for _, ep := range d.endpoints {
		live[ep.Address.Addr()] = true
	}
	err := nat.ForgetUDP(&d.nl, func(f nat.Flow) bool {
		return f.Translated() && d.network.Subnet.Contains(f.From.Addr()) && !live[f.From.Addr()]
	})
	if err != nil {
		d.log.Warn("UDP clients may stay with a former server", "error", err)
	}
}

// reapGrace is how long a link may take to go with its namespace.
const reapGrace = time.Second

// reapable is a link that must not stay.
type reapable struct {
	name, mark string
	index      int
}

// reaper deletes links in the background: those that outlive the grace, since
// their namespace does. What it has not done when the daemon ends, the next
// Init does.
type reaper struct {
	nl netlinksafe.Handle

	mu      sync.Mutex
	pending []reapable
	stop    chan struct{} // closed to end the running goroutine; nil: none runs
	done    chan struct{} // closed by it
	closed  bool
}

func (r *reaper) add(link reapable) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.pending = append(r.pending, link)
	if r.stop == nil {
		r.stop, r.done = make(chan struct{}), make(chan struct{})
		go r.run(r.stop, r.done)
	}
}

func (r *reaper) run(stop, done chan struct{}) {
	defer close(done)
	timer := time.NewTimer(reapGrace)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		due := r.take()
		if due == nil {
			return
		}
		for _, link := range due {
			r.reap(link)
		}
		timer.Reset(reapGrace)
	}
}

// take empties the queue; when it is empty the goroutine ends.
func (r *reaper) take() []reapable {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.pending
	r.pending = nil
	if due == nil {
		r.stop = nil
	}
	return due
}

// reap deletes the link if it is still the same one. An error means that it
// went meanwhile, or stays until the next Init.
func (r *reaper) reap(want reapable) {
	link, err := r.nl.LinkByName(want.name)
	if err != nil || link.Attrs().Index != want.index || link.Attrs().Alias != want.mark {
		return
	}
	_ = r.nl.LinkDel(link)
}

// close ends the goroutine and waits for it. It may be called again.
func (r *reaper) close() {
	r.mu.Lock()
	stop, done := r.stop, r.done
	r.stop, r.closed = nil, true
	r.mu.Unlock()
	if stop != nil {
		close(stop)
	}
	if done != nil {
		<-done
	}
}
