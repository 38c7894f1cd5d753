// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/activation"
	"github.com/davit-engine/davit/engine"
	"golang.org/x/sys/unix"
)

// health is what the watchdog asks. Only what a new process would cure is
// asked: not registries, not the disk.
type health struct {
	eng      *engine.Engine
	log      *slog.Logger
	systemd  *activation.Systemd
	interval time.Duration // of the watchdog
	faults   *failpoint
	api, bus func(context.Context) error
	activity *activity

	dumped bool                 // since all was well; only the watchdog's goroutine
	late   map[uint32]time.Time // jobs that were cancelled for being overdue, and when
	last   *atomic.Uint64       // monotonic time of the latest round that passed, in microseconds
}

// run runs the watchdog until ctx ends.
func (h *health) run(ctx context.Context) {
	h.systemd.RunWatchdog(ctx, &activation.Watchdog{
		Interval: h.interval, Log: h.log, Well: h.well, Sick: h.sick, Checks: h.checks(),
	})
}

// once runs every check and returns what failed, or did not return in time.
func (h *health) once(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, c := range h.checks() {
		if err := c.Run(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	h.well()
	return nil
}

func (h *health) checks() []activation.Check {
	return []activation.Check{
		{Name: "a job through the queue", Run: h.job},
		{Name: "the API through its socket", Run: h.unnoticed(h.api)},
		{Name: "the engine through the bus", Run: h.unnoticed(h.bus)},
		{Name: "the notices of jobs", Run: h.fanOut},
		{Name: "the jobs that run", Run: h.handlers},
		{Name: "the engine's books", Run: h.books},
	}
}

// unnoticed keeps a check from being taken for work that somebody wants.
func (h *health) unnoticed(check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		return h.activity.overlook(func() error { return check(ctx) })
	}
}

// job proves that a job gets through the queue, and that the lock can be had
// which every request needs.
func (h *health) job(ctx context.Context) error {
	_, err := engine.Do(ctx, h.eng, davit.Noop{})
	return err
}

// noticePatience is the least that one who follows the jobs may take for one
// notice.
const noticePatience = time.Second

// fanOut proves that whoever follows the jobs keeps up.
func (h *health) fanOut(context.Context) error {
	if d := h.eng.Stalled(); d > max(h.interval/3, noticePatience) {
		return fmt.Errorf("one who follows the jobs has been busy with one notice for %v", d)
	}
	return nil
}

// handlers cancels jobs that are past their deadline, and fails when one still
// runs a third of the interval later.
func (h *health) handlers(context.Context) error {
	late := map[uint32]time.Time{}
	var errs error
	for _, j := range h.eng.Overdue() {
		since, known := h.late[j.ID()]
		if !known {
			since = time.Now()
			h.log.Error("job is overdue and is cancelled", "job", j.ID(), "type", j.Type())
			_ = j.Cancel() //nolint:contextcheck // its end is told in the job's context. One that cannot be cancelled has until the next round too
		}
		late[j.ID()] = since
		if time.Since(since) > h.interval/3 {
			errs = errors.Join(errs, fmt.Errorf("job %d (%s) is past its deadline and does not end", j.ID(), j.Type()))
		}
	}
	h.late = late
	return errs
}

// books proves the engine's books right.
func (h *health) books(context.Context) error {
	if h.faults.corrupt.Load() {
		return &engine.CorruptError{What: "a test says so"}
	}
	return h.eng.Check()
}

func (h *health) well() {
	h.dumped = false
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		h.last.Store(uint64(now.Nano() / 1000))
	}
}

// sick says where all goroutines are as soon as it is certain that something
// is wrong, and has a corrupt engine ended at once: what it does next cannot be
// right.
func (h *health) sick(err error, round int) {
	var hung *activation.HungError
	var corrupt *engine.CorruptError
	wrong := errors.As(err, &corrupt)
	if !h.dumped && (wrong || round >= 2 || errors.As(err, &hung)) {
		h.dumped = true
		h.log.Error("the stacks of all goroutines follow")
		dump()
	}
	if !wrong {
		return
	}
	if err := h.systemd.Trigger(err.Error()); err != nil {
		h.log.Error("cannot trigger the watchdog", "error", err)
	}
}

// dump writes the stacks of all goroutines to stderr.
func dump() {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			_, _ = os.Stderr.Write(append(buf[:n], '\n')) // there is nowhere else to write it
			return
		}
		buf = make([]byte, 2*len(buf))
	}
}
