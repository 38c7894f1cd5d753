// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"io"
	"math"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/lines"
	"github.com/davit-engine/davit/dbus/parameters"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
)

// instant converts microseconds since the epoch, of which 0 and UINT64_MAX are
// none.
func instant(usec uint64) time.Time {
	if usec == 0 || usec > math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}

// openEvents answers with a pipe of lines of JSON: OpenEvents(filters,
// since_usec, until_usec, flags).
func openEvents(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 3), 0); err != nil {
		return nil, err
	}
	q := davit.Events{Since: instant(arg[uint64](c, 1)), Until: instant(arg[uint64](c, 2))}
	var err error
	if q.Filters, err = parameters.Filters(arg[map[string]godbus.Variant](c, 0)); err != nil {
		return nil, err
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && q.Until.Before(q.Since) {
		return nil, refusal.InvalidArgs("until_usec is before since_usec")
	}
	return c.follow(true, func(w io.Writer, _ func()) engine.Request {
		q.Emit = func(e davit.Event) error {
			return lines.Write(w, lines.Event(e))
		}
		return q
	})
}

// openLogs answers with a pipe of the log's text: OpenLogs(options, flags) with
// the options Stdout b, Stderr b (both, unless one is named), Follow b,
// Timestamps b, SinceUSec t, UntilUSec t, Tail t (lines; all by default).
func openLogs(c *call, i davit.ContainerInfo) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	q := davit.Logs{Container: i.ID, Tail: -1}
	o := parameters.Of(arg[map[string]godbus.Variant](c, 0))
	var since, until uint64
	tail := uint64(math.MaxUint64)
	parameters.Take(o, "Stdout", &q.Stdout)
	parameters.Take(o, "Stderr", &q.Stderr)
	parameters.Take(o, "Follow", &q.Follow)
	parameters.Take(o, "Timestamps", &q.Timestamps)
	parameters.Take(o, "SinceUSec", &since)
	parameters.Take(o, "UntilUSec", &until)
	parameters.Take(o, "Tail", &tail)
	if err := o.Finish(); err != nil {
		return nil, err
	}
	if !q.Stdout && !q.Stderr {
		q.Stdout, q.Stderr = true, true
	}
	if tail <= math.MaxInt32 {
		q.Tail = int(tail)
	}
	q.Since, q.Until = instant(since), instant(until)
	return c.follow(false, func(w io.Writer, begin func()) engine.Request {
		q.Open = func(bool) (davit.Streams, error) {
			begin()
			return davit.Streams{Stdout: w, Stderr: w}, nil
		}
		return q
	})
}

// openStats answers with a pipe of lines of JSON: OpenStats(interval_usec,
// flags), where an interval of 0 is the default.
func openStats(c *call, i davit.ContainerInfo) ([]any, error) {
	interval := arg[uint64](c, 0)
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	if interval > uint64(math.MaxInt64/time.Microsecond) {
		return nil, refusal.InvalidArgs("interval_usec is too large: %d", interval)
	}
	return c.follow(false, func(w io.Writer, begin func()) engine.Request {
		q := davit.Stats{Container: i.ID, Interval: time.Duration(interval) * time.Microsecond}
		var before lines.Stats
		q.Emit = func(s davit.ContainerStats) error {
			begin()
			l := lines.StatsOf(i, s)
			l.PreRead, l.PreCPU = before.Read, before.CPU
			before = l
			return lines.Write(w, l)
		}
		return q
	})
}

// getStats answers with what the container uses now, by the names that
// systemd's units have for it where they have one.
func getStats(c *call, i davit.ContainerInfo) ([]any, error) {
	var s davit.ContainerStats
	_, err := ask(c, davit.Stats{Container: i.ID, Once: true, Emit: func(one davit.ContainerStats) error {
		s = one
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return []any{values.Stats(s).Variants()}, nil
}
