// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Phase orders the shutdown handlers: those of one phase run side by side,
// the phases one after the other.
type Phase uint8

// The phases of a shutdown.
const (
	FrontDoors Phase = iota
	Networks
	Storage
	Records
	Pidfile
	phases
)

// HandlerTimeout bounds all shutdown handlers together.
const HandlerTimeout = 10 * time.Second

type shutdownHandler struct {
	name string
	run  func(context.Context) error
}

// shutdownState is guarded by the engine's mutex.
type shutdownState struct {
	begun    bool
	drained  bool // handlers run: nothing may be submitted any more
	handlers [phases][]shutdownHandler
	done     chan struct{} // closed at the end
	err      error
}

// OnShutdown registers a function for a phase of the shutdown. It fails once
// the shutdown has begun: the function would never run.
func (e *Engine) OnShutdown(p Phase, name string, f func(context.Context) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shutdown.begun {
		return ErrShuttingDown
	}
	e.shutdown.handlers[p] = append(e.shutdown.handlers[p], shutdownHandler{name, f})
	return nil
}

// Shutdown refuses new jobs from outside, cancels followers (but fixed ones:
// a front door goes on to tell callers of the shutdown), waits at most
// drain for the running jobs, then cancels those too, and runs the shutdown
// handlers, for at most [HandlerTimeout]. It returns what failed or was left
// unfinished. A second caller waits for the first and gets the same answer.
func (e *Engine) Shutdown(ctx context.Context, drain time.Duration) error {
	e.mu.Lock()
	if e.shutdown.begun {
		e.mu.Unlock()
		select {
		case <-e.shutdown.done:
			return e.shutdown.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	e.shutdown.begun = true
	followers := e.selectLocked(func(j *Job) bool { return j.entry.Class == Follow && !j.entry.fixed })
	e.mu.Unlock()
	for _, j := range followers {
		j.cancel()
	}
	err := e.drain(ctx, drain)
	e.mu.Lock()
	e.shutdown.drained = true
	handlers := e.shutdown.handlers
	e.mu.Unlock()
	err = errors.Join(err, runHandlers(ctx, handlers))
	e.mu.Lock()
	e.shutdown.err = err
	e.mu.Unlock()
	close(e.shutdown.done)
	return err
}

// drain waits for change jobs to end; after the limit it cancels them and
// gives them a second to undo what they did.
func (e *Engine) drain(ctx context.Context, limit time.Duration) error {
	if e.waitIdle(ctx, limit) {
		return nil
	}
	e.mu.Lock()
	left := e.selectLocked(func(j *Job) bool { return j.entry.Class == Change && j.state != Finished })
	e.mu.Unlock()
	for _, j := range left {
		_ = j.Cancel() //nolint:contextcheck // its end is told in the job's context. One past its point of no return cannot be helped
	}
	if e.waitIdle(ctx, time.Second) {
		return nil
	}
	var err error
	for _, j := range left {
		select {
		case <-j.done:
		default:
			err = errors.Join(err, fmt.Errorf("job %d (%s %s) did not end in %v", j.id, j.Type(), j.subject, limit))
		}
	}
	return err
}

func (e *Engine) waitIdle(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		e.mu.Lock()
		idle, changed := e.active == 0, e.idle
		e.mu.Unlock()
		if idle {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (e *Engine) selectLocked(want func(*Job) bool) []*Job {
	var out []*Job
	for _, j := range e.jobs {
		if want(j) {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b *Job) int { return int(a.id) - int(b.id) })
	return out
}

func runHandlers(ctx context.Context, handlers [phases][]shutdownHandler) error {
	ctx, cancel := context.WithTimeout(ctx, HandlerTimeout)
	defer cancel()
	var mu sync.Mutex
	var errs error
	for _, phase := range handlers {
		var wg sync.WaitGroup
		for _, h := range phase {
			wg.Go(func() {
				if err := h.run(ctx); err != nil {
					mu.Lock()
					errs = errors.Join(errs, fmt.Errorf("cannot shut down %s: %w", h.name, err))
					mu.Unlock()
				}
			})
		}
		ended := make(chan struct{})
		go func() { wg.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-ctx.Done():
			mu.Lock()
			defer mu.Unlock()
			return errors.Join(errs, fmt.Errorf("shutdown handlers did not end in %v", HandlerTimeout))
		}
	}
	return errs
}
