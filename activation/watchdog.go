// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Check is one thing that shows that the service works. It should return when
// its context ends; one that does not counts as failed all the same.
type Check struct {
	Name string
	Run  func(context.Context) error
}

// Watchdog has the checks run again and again.
type Watchdog struct {
	Interval time.Duration // in which systemd wants to be told; 0: nothing runs
	Checks   []Check       // run side by side
	Log      *slog.Logger
	// Well is told of each round that all checks passed, and Sick of each that
	// one failed in, with the number of such rounds in a row. They may be nil.
	Well func()
	Sick func(err error, round int)

	mu   sync.Mutex
	busy map[string]bool // checks that have not returned
}

// RunWatchdog runs the checks three times in each interval, each within a
// sixth of it, and tells systemd that the service lives each time that all of
// them succeeded. It returns when ctx ends, or at once without an interval.
//
// A check that hangs fails its round and those that follow until it returns,
// so that systemd aborts the service: that is what it is for. RunWatchdog does
// not wait for it.
func (s *Systemd) RunWatchdog(ctx context.Context, w *Watchdog) {
	period := w.Interval / 3
	if period <= 0 {
		return
	}
	w.busy = map[string]bool{}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for failed := 0; ; {
		began := time.Now()
		err := w.round(ctx, period/2)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failed++
			w.Log.Error("self-check failed; the watchdog is not told that all is well", "error", err, "round", failed, "took", time.Since(began))
			if w.Sick != nil {
				w.Sick(err, failed)
			}
		default:
			failed = 0
			if w.Well != nil {
				w.Well()
			}
			if err := s.Notify("WATCHDOG=1"); err != nil {
				w.Log.Error("cannot tell the watchdog that all is well", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// HungError says which checks did not return in time.
type HungError struct{ Names []string }

// Error names the checks.
func (e *HungError) Error() string { return "no answer in time from: " + strings.Join(e.Names, ", ") }

// round runs the checks once. Those that still hang from a round before are
// not started again.
func (w *Watchdog) round(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	results := make(chan error, len(w.Checks))
	started := 0
	for _, c := range w.Checks {
		if !w.begin(c.Name) {
			continue
		}
		started++
		go func() {
			err := c.Run(ctx)
			if err == nil {
				err = ctx.Err() // too late is not well
			}
			w.end(c.Name)
			if err != nil {
				err = fmt.Errorf("%s: %w", c.Name, err)
			}
			results <- err
		}()
	}
	var errs error
	for range started {
		select {
		case err := <-results:
			errs = errors.Join(errs, err)
			continue
		case <-ctx.Done():
		}
		// Those that heed the context answer now.
		grace := time.NewTimer(limit / 10)
		select {
		case err := <-results:
			errs = errors.Join(errs, err)
		case <-grace.C:
		}
		grace.Stop()
	}
	if hung := w.hung(); len(hung) > 0 {
		errs = errors.Join(errs, &HungError{hung})
	}
	return errs
}

func (w *Watchdog) begin(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[name] {
		return false
	}
	w.busy[name] = true
	return true
}

func (w *Watchdog) end(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, name)
}

// hung returns the names of the checks that have not returned, in their order.
func (w *Watchdog) hung() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, c := range w.Checks {
		if w.busy[c.Name] {
			names = append(names, c.Name)
		}
	}
	return names
}
