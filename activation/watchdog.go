// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"context"
	"log/slog"
	"time"
)

// RunWatchdog runs check three times in each interval and tells systemd that
// the service lives, each time that check succeeded before its context's
// deadline, a third of the interval. It returns when ctx ends, or at once
// without an interval.
//
// A check that does not return keeps the next from running, and so has systemd
// abort the service: that is what it is for.
func (s *Systemd) RunWatchdog(ctx context.Context, interval time.Duration, check func(context.Context) error, log *slog.Logger) {
	period := interval / 3
	if period <= 0 {
		return
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		s.watch(ctx, period, check, log)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Systemd) watch(ctx context.Context, period time.Duration, check func(context.Context) error, log *slog.Logger) {
	checkCtx, cancel := context.WithTimeout(ctx, period)
	defer cancel()
	began := time.Now()
	err := check(checkCtx)
	if err == nil {
		err = checkCtx.Err() // too late is not well
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		log.Error("self-check failed; the watchdog is not told that all is well", "error", err, "took", time.Since(began))
		return
	}
	if err := s.Notify("WATCHDOG=1"); err != nil {
		log.Error("cannot tell the watchdog that all is well", "error", err)
	}
}
