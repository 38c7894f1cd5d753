// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/service/streams"
)

// container is a record in memory with its process and those who wait for it.
type container struct {
	id   string
	lost bool // its monitor was killed while there was no daemon; set by the restore

	// saving is held from reading the record to having written what was made of
	// it, by those who do not queue on the container: none undoes another's. It
	// is taken before the service's mutex.
	saving sync.Mutex

	root    chan struct{} // capacity 1: held by a start, or a copy that has the root mounted
	mu      sync.Mutex
	rec     davit.Container
	proc    davit.Process // nil unless a monitor has it
	exits   uint64        // how often it ended
	lastEnd davit.Exit
	removed bool
	changed chan struct{} // closed and renewed at each change of rec.State
	waiting streams.Queue // who attached before the start
	start   uint64        // start time of the process in clock ticks: with the pid, its identity
	sockets []*os.File    // that reserve the published ports, until the monitor has them
}

func newContainer(rec davit.Container) *container {
	return &container{id: rec.ID, rec: rec, changed: make(chan struct{}), root: make(chan struct{}, 1)}
}

func (c *container) name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Name
}

// attrs is what the log calls a container by.
func (c *container) attrs() []slog.Attr {
	return []slog.Attr{slog.String("container", c.name()), slog.String("container_id", c.id)}
}

// record returns a copy of the record.
func (c *container) record() davit.Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copyLocked()
}

func (c *container) copyLocked() davit.Container {
	r := c.rec
	r.Endpoints = slices.Clone(r.Endpoints)
	r.Mounts = slices.Clone(r.Mounts)
	return r
}

// update changes the record under the lock and wakes those who wait for a
// change. It returns the new record.
func (c *container) update(f func(*davit.Container)) davit.Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.rec)
	c.wakeLocked()
	return c.copyLocked()
}

func (c *container) wakeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// process returns the container's process, or an error that says it does not
// run, or that its monitor does not answer.
func (c *container) process() (davit.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc == nil && c.rec.State.Running() {
		return nil, davit.Errorf(davit.MonitorUnreachable, "the monitor of container %s does not answer (see the log of davitd): try again, or end its unit or davit-holder process", c.rec.Name)
	}
	if c.proc == nil || !c.rec.State.Running() {
		return nil, davit.Errorf(davit.ContainerNotRunning, "container %s is not running", c.id)
	}
	return c.proc, nil
}

// await blocks until done says so of the container, or ctx ends. done is
// called with the lock held.
func (c *container) await(ctx context.Context, done func(*container) bool) error {
	for {
		c.mu.Lock()
		ok, changed := done(c), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitExit blocks until the container has no process.
func (c *container) awaitExit(ctx context.Context) error {
	return c.await(ctx, func(c *container) bool { return !c.rec.State.Running() || c.removed })
}

// hold keeps the sockets that reserve the container's ports.
func (c *container) hold(sockets []*os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sockets = sockets
}

func (c *container) held() []*os.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sockets
}

// closeHeld closes the daemon's own descriptors of the sockets.
func (c *container) closeHeld() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.sockets {
		_ = f.Close() // nothing was written to it
	}
	c.sockets = nil
}

// holdRoot keeps others from mounting the container's root until release:
// overlayfs allows one mount of an upper directory at a time.
func (c *container) holdRoot(ctx context.Context) (release func(), err error) {
	select {
	case c.root <- struct{}{}:
		return func() { <-c.root }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// identify notes which process has the pid; the caller holds the lock. One
// that has ended already leaves no identity that another could have.
func (c *container) identify(pid int) {
	c.start, _ = linux.ProcessStart(pid) // 0 on failure: no process has it
}
