// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/containerlog/reader"
	"github.com/davit-engine/davit/service/request"
)

// attach connects a caller to a container's streams. A container that does
// not run yet is waited for: docker run attaches before it starts.
func (s *Service) attach(ctx context.Context, _ *engine.Job, q davit.Attach) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	keys, err := request.DetachKeys(q.DetachKeys)
	if err != nil {
		return davit.Nothing{}, err
	}
	rec := c.record()
	if rec.State.Status == davit.StatusPaused {
		return davit.Nothing{}, davit.Errorf(davit.ContainerPaused, "container %s is paused, unpause the container before attach", rec.Name)
	}
	var proc davit.Process
	var pending *pendingAttach
	if q.Stream {
		if proc, pending = c.processOrPending(ctx); pending != nil {
			defer c.dropPending(pending)
		}
	}
	st, err := q.Open(rec.Config.Tty)
	if err != nil {
		return davit.Nothing{}, err
	}
	st = st.Only(q.Stdin && rec.Config.OpenStdin, q.Stdout, q.Stderr)
	if q.Logs {
		if err := s.readLog(ctx, &rec, reader.Options{Stdout: true, Stderr: true, Tail: -1}, st); err != nil {
			return davit.Nothing{}, err
		}
	}
	if !q.Stream {
		return davit.Nothing{}, nil
	}
	s.emitContainer("attach", c, nil)
	if pending != nil {
		if proc, err = pending.await(ctx, c); err != nil || proc == nil {
			return davit.Nothing{}, err
		}
		st.Attached = pending.settle
	}
	if !rec.Config.Tty && q.DetachKeys == "" {
		keys = nil
	}
	if err := proc.Attach(ctx, st, keys); err != nil && !errors.Is(err, os.ErrClosed) {
		return davit.Nothing{}, err
	}
	return davit.Nothing{}, nil
}

// await returns the process once there is one; nil when the container was
// removed instead.
func (p *pendingAttach) await(ctx context.Context, c *container) (davit.Process, error) {
	gone := make(chan struct{})
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if c.await(wctx, func(c *container) bool { return c.removed }) == nil {
			close(gone)
		}
	}()
	select {
	case proc := <-p.proc:
		return proc, nil
	case <-gone:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// logs writes a container's log and, with Follow, what comes until it ends.
func (s *Service) logs(ctx context.Context, _ *engine.Job, q davit.Logs) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	if !q.Stdout && !q.Stderr {
		return davit.Nothing{}, invalid("Bad parameters: you must choose at least one stream")
	}
	rec := c.record()
	if s.logPath(&rec) == "" {
		return davit.Nothing{}, davit.Errorf(davit.NotSupported, "configured logging driver does not support reading: container %s keeps no log (--log-driver none)", rec.Name)
	}
	st, err := q.Open(rec.Config.Tty)
	if err != nil {
		return davit.Nothing{}, err
	}
	opts := reader.Options{
		Stdout: q.Stdout, Stderr: q.Stderr, Timestamps: q.Timestamps, Since: q.Since, Until: q.Until,
		Tail: q.Tail, Follow: q.Follow && rec.State.Running(),
	}
	if opts.Follow {
		ended := make(chan struct{})
		opts.Done = ended
		wctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			defer close(ended)
			_ = c.awaitExit(wctx) // the reader's own context says why it ends
		}()
	}
	return davit.Nothing{}, s.readLog(ctx, &rec, opts, st)
}

func (s *Service) readLog(ctx context.Context, rec *davit.Container, opts reader.Options, st davit.Streams) error {
	discard := func(w io.Writer) io.Writer {
		if w == nil {
			return io.Discard
		}
		return w
	}
	errs := discard(st.Stderr)
	if rec.Config.Tty {
		errs = discard(st.Stdout)
	}
	err := reader.Read(ctx, s.logPath(rec), opts, discard(st.Stdout), errs)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has never been started
	}
	return err
}

// wait follows a container until it meets the condition.
func (s *Service) wait(ctx context.Context, _ *engine.Job, q davit.Wait) (davit.Exit, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Exit{}, err
	}
	c.mu.Lock()
	exits := c.exits
	c.mu.Unlock()
	var met func(*container) bool
	switch q.Condition {
	case "", "not-running":
		met = func(c *container) bool { return !c.rec.State.Running() || c.exits > exits || c.removed }
	case "next-exit":
		met = func(c *container) bool { return c.exits > exits || c.removed }
	case "removed":
		met = func(c *container) bool { return c.removed }
	default:
		return davit.Exit{}, invalid("invalid condition: %q: use not-running, next-exit or removed", q.Condition)
	}
	if q.Ready != nil {
		q.Ready()
	}
	if err := c.await(ctx, met); err != nil {
		return davit.Exit{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exits > exits { // it may run again by now
		return davit.Exit{Code: c.lastEnd.Code, OOMKilled: c.lastEnd.OOMKilled, At: c.lastEnd.At}, nil
	}
	return davit.Exit{Code: c.rec.State.ExitCode, OOMKilled: c.rec.State.OOMKilled, At: c.rec.State.FinishedAt}, nil
}
