// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"log/slog"
	"sync"

	godbus "github.com/godbus/dbus/v5"
)

// peer is a connection that called, by its unique name. The bus does not use
// a unique name twice.
type peer struct {
	ctx    context.Context // ends when the connection leaves the bus
	cancel context.CancelFunc
	known  chan struct{} // closed when uid and err are set
	uid    uint32
	err    error
}

type peers struct {
	mu    sync.Mutex
	known map[string]*peer
}

// peer returns the connection's user. The entry is made before the bus is
// asked: a connection that leaves in between is forgotten, or not found.
func (s *session) peer(name string) (*peer, error) {
	s.peers.mu.Lock()
	p := s.peers.known[name]
	mine := p == nil
	if mine {
		p = &peer{known: make(chan struct{})}
		p.ctx, p.cancel = context.WithCancel(s.ctx)
		s.peers.known[name] = p
	}
	s.peers.mu.Unlock()
	if mine {
		ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
		p.err = s.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixUser", 0, name).Store(&p.uid)
		cancel()
		close(p.known)
	}
	<-p.known
	if p.err != nil {
		s.gone(name)
		s.log.Debug("bus caller unknown", slog.String("name", name), slog.String("error", p.err.Error()))
		return nil, refuse(accessDenied, "the bus does not say who %s is", name)
	}
	return p, nil
}

// gone forgets a connection and ends the calls that wait on its behalf.
func (s *session) gone(name string) {
	s.peers.mu.Lock()
	p := s.peers.known[name]
	delete(s.peers.known, name)
	s.peers.mu.Unlock()
	if p != nil {
		p.cancel()
	}
}

// close ends all waiting calls.
func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, known := range p.known {
		known.cancel()
		delete(p.known, name)
	}
}

// DeliverSignal hears of connections that leave the bus. Its caller is the
// only reader of the connection.
func (s *session) DeliverSignal(iface, member string, signal *godbus.Signal) {
	if signal.Sender != "org.freedesktop.DBus" || iface+"."+member != "org.freedesktop.DBus.NameOwnerChanged" || len(signal.Body) != 3 {
		return
	}
	name, _ := signal.Body[0].(string)
	if owner, _ := signal.Body[2].(string); owner == "" {
		s.gone(name)
	}
}
