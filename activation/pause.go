// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Pause lets the accepting of connections be stopped for a while: who connects
// meanwhile waits in the listening socket, which is the kernel's, and systemd's
// too when it passed it.
type Pause struct {
	mu        sync.Mutex
	changed   *sync.Cond // of all that follows, and of what the listeners say
	paused    bool
	listeners []*pausable
}

// NewPause returns a Pause of no listeners.
func NewPause() *Pause {
	p := new(Pause)
	p.changed = sync.NewCond(&p.mu)
	return p
}

// deadliner is what TCP and unix listeners are beside net.Listener.
type deadliner interface {
	net.Listener
	SetDeadline(time.Time) error
}

// pausable is a listener that a Pause stops.
type pausable struct {
	deadliner
	pause   *Pause
	accepts bool // an Accept runs, or what it returned is being taken care of
	closed  bool
}

// Listener returns l as one that p stops. Its Accept is called by one
// goroutine, again only when it has taken care of the connection before.
func (p *Pause) Listener(l net.Listener) (net.Listener, error) {
	d, ok := l.(deadliner)
	if !ok {
		return nil, fmt.Errorf("cannot pause the listener on %s: it has no deadline", l.Addr())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &pausable{deadliner: d, pause: p}
	p.listeners = append(p.listeners, out)
	return out, nil
}

// Stop returns when no listener accepts any more, and everything that was
// accepted before has been taken care of: its Accept was called again.
func (p *Pause) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = true
	if err := p.setDeadlines(time.Now()); err != nil {
		return err
	}
	for _, l := range p.listeners {
		for l.accepts && !l.closed {
			p.changed.Wait()
		}
	}
	return nil
}

// Resume has the listeners accept again.
func (p *Pause) Resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = false
	p.changed.Broadcast()
	return p.setDeadlines(time.Time{})
}

func (p *Pause) setDeadlines(t time.Time) error {
	var errs error
	for _, l := range p.listeners {
		if err := l.SetDeadline(t); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// Accept waits while the listener is paused.
func (l *pausable) Accept() (net.Conn, error) {
	for {
		if err := l.begin(); err != nil {
			return nil, err
		}
		conn, err := l.deadliner.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
	}
}

// begin returns when the listener is not paused.
func (l *pausable) begin() error {
	p := l.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.accepts && p.paused {
		l.accepts = false
		p.changed.Broadcast()
	}
	for p.paused && !l.closed {
		p.changed.Wait()
	}
	if l.closed {
		return &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.accepts = true
	return nil
}

// Close closes the listener, also when it is paused.
func (l *pausable) Close() error {
	l.pause.mu.Lock()
	l.closed = true
	l.pause.changed.Broadcast()
	l.pause.mu.Unlock()
	return l.deadliner.Close()
}
