// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/engine"
)

var errNoUser = errors.New("it has no user")

// peer is a connection that called, by its unique name. The bus does not use
// a unique name twice.
type peer struct {
	ctx    context.Context // ends when the connection leaves the bus
	cancel context.CancelFunc
	known  chan struct{} // closed when what follows is set
	uid    uint32
	gids   []uint32 // nil: the bus does not tell
	pid    int
	err    error
}

type peers struct {
	mu    sync.Mutex
	known map[string]*peer
}

// peer returns who a connection belongs to. The entry is made before the bus is
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
		p.err = s.credentials(name, p)
		close(p.known)
	}
	<-p.known
	if p.err != nil {
		s.gone(name)
		s.log.Debug("bus caller unknown", slog.String("name", name), slog.String("error", p.err.Error()))
		return nil, refusal.New(refusal.NameAccessDenied, "the bus does not say who %s is", name)
	}
	return p, nil
}

// credentials asks the bus for a connection's (GetConnectionCredentials in the
// D-Bus specification). Without a user there are none.
func (s *session) credentials(name string, p *peer) error {
	ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
	defer cancel()
	c := s.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionCredentials", 0, name)
	var told map[string]godbus.Variant
	if err := c.Store(&told); err != nil {
		return err
	}
	uid, ok := told["UnixUserID"].Value().(uint32)
	if !ok || uid == engine.NoUID {
		return errNoUser
	}
	p.uid = uid
	p.gids, _ = told["UnixGroupIDs"].Value().([]uint32)
	pid, _ := told["ProcessID"].Value().(uint32)
	p.pid = int(pid)
	return nil
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
