// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/davit-engine/davit"
)

// activity counts what the front doors have under way: connections, calls,
// streams.
type activity struct {
	mu         sync.Mutex
	running    int
	overlooked int       // checks that go on; what they do is no work
	closed     bool      // the daemon is about to exit
	since      time.Time // when something last went on
	changed    chan struct{}
}

func newActivity() *activity {
	return &activity{since: time.Now(), changed: make(chan struct{}, 1)}
}

// straggle is for how long after its check what the check began may go on: a
// server sees that a connection was closed a little later than its client.
const straggle = time.Second

// begin counts something in; the function that it returns counts it out, once.
func (a *activity) begin() (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running++
	a.touchLocked()
	began, checked := time.Now(), a.overlooked > 0
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.running--
		if !checked || time.Since(began) > straggle {
			a.touchLocked()
		}
	})
}

// touchLocked starts the time of idleness anew. What begins or ends during a
// self-check may be the check's own and does not: an engine may exit a little
// early, and must not stay up for looking after itself.
func (a *activity) touchLocked() {
	if a.overlooked == 0 {
		a.since = time.Now()
	}
}

// overlook runs a check of the daemon itself, and what happens meanwhile does
// not count as work. There is none when the daemon is about to exit: a
// connection that it made to itself would start it again.
func (a *activity) overlook(check func() error) error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.overlooked++
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.overlooked--
	}()
	return check()
}

// close returns whether nothing goes on, and if so has no check begin any more.
func (a *activity) close() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = a.running == 0 && a.overlooked == 0
	return a.closed
}

// reopen undoes close, and starts the time of idleness anew.
func (a *activity) reopen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed, a.since = false, time.Now()
}

// touch starts the time of idleness anew.
func (a *activity) touch() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since = time.Now()
}

// wake has await look again at how long it is to wait.
func (a *activity) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// idle returns whether nothing goes on, and since when.
func (a *activity) idle() (since time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.since, a.running == 0
}

// await returns nil when nothing has gone on for as long as after says, which
// is asked again after wake; 0 is for ever. It returns ctx's error when that
// ends first.
func (a *activity) await(ctx context.Context, after func() time.Duration, busy func() bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		limit := after()
		since, quiet := a.idle()
		left := limit - time.Since(since)
		switch {
		case limit == 0:
		case left <= 0 && quiet && !busy():
			return nil
		case left <= 0: // what goes on began long ago: a job that nobody waits for, say
			a.touch()
			left = limit
			fallthrough
		default:
			timer.Reset(left)
			due = timer.C
		}
		select {
		case <-due:
		case <-a.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// barrierTimeout bounds the wait for systemd to have read that the daemon
// stops.
const barrierTimeout = 5 * time.Second

// idleDrain bounds what slipped in between the decision to exit and the
// release of the bus name: it is served, however long it takes.
const idleDrain = time.Hour

// idleExit ends an idle daemon so that nobody notices: it accepts no more
// connections, and they wait in the socket that systemd holds; when all is
// still quiet then, systemd learns that the daemon stops, and so starts it
// again for whatever comes; only then is the bus name released. It returns
// false when there was something to do after all.
func (d *daemon) idleExit(ctx context.Context) (code int, exited bool) {
	resume := func(cause error) (int, bool) {
		if cause = errors.Join(cause, d.pause.Resume()); cause != nil {
			d.log.Error("cannot exit on idle", "error", cause)
		}
		d.activity.reopen()
		return 0, false
	}
	if err := d.pause.Stop(); err != nil {
		return resume(err)
	}
	if !d.activity.close() || d.busy() {
		return resume(nil)
	}
	d.log.Info("davitd ends: it was idle", "idle-exit", d.live.Load().IdleExit.String())
	d.life.stopping("Idle: exiting until somebody calls")
	barrier, cancel := context.WithTimeout(ctx, barrierTimeout)
	defer cancel()
	d.life.tell(d.systemd.Barrier(barrier))
	if err := d.service.CloseDoors(ctx); err != nil {
		d.log.Error("cannot close the front doors", "error", err)
	}
	return d.end(ctx, nil, idleDrain), true
}

// busy tells whether a job runs or somebody follows one.
func (d *daemon) busy() bool { return !d.eng.Load().Idle() }

// checkIdleExit refuses an idle exit after which nobody would start the daemon
// again.
func checkIdleExit(c *davit.Config, activated bool) error {
	if c.IdleExit == 0 {
		return nil
	}
	if !activated {
		return davit.Errorf(davit.InvalidConfiguration, "idle-exit needs a daemon that systemd started by its socket, and would start again: remove idle-exit, or start davit.socket instead of the daemon")
	}
	for _, h := range c.Hosts {
		if h != "fd://" {
			return davit.Errorf(davit.InvalidConfiguration, "idle-exit and host %s exclude each other: nobody listens there while the daemon is away; remove one of the two", h)
		}
	}
	return nil
}
