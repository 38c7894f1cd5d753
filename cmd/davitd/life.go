// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/davit-engine/davit/activation"
)

// stage is how far the daemon's life is. It only advances.
type stage int

const (
	starting stage = iota
	ready
	stopping
)

const (
	// extendBy is asked for every extendEvery, of systemd, while the daemon
	// starts, reloads or stops.
	extendBy    = 30 * time.Second
	extendEvery = 10 * time.Second
	// startPatience is for how long a start without a sign of progress is still
	// taken for one that goes on.
	startPatience = time.Minute
	// statusEvery bounds how often the same kind of status is sent.
	statusEvery = 100 * time.Millisecond
)

// life is what the daemon tells systemd of itself. Its methods may be called
// from any goroutine. What cannot be told is logged: the daemon does not depend
// on being heard.
type life struct {
	systemd *activation.Systemd
	log     *slog.Logger

	mu       sync.Mutex
	stage    stage
	reloads  bool
	shown    string    // the latest status
	sent     time.Time // when it was
	progress time.Time // when the start last got on
	failure  string    // of the latest reload; "" is none
	doomed   bool      // it failed: that is the status to stay
}

func newLife(systemd *activation.Systemd, log *slog.Logger) *life {
	return &life{systemd: systemd, log: log, progress: time.Now()}
}

func (l *life) tell(err error) {
	if err != nil {
		l.log.Warn("cannot tell systemd", "error", err)
	}
}

// phase says what the start is about. Counts that change fast are told now
// and then.
func (l *life) phase(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.progress = now
	if l.stage != starting || text == l.shown || now.Sub(l.sent) < statusEvery && sameKind(text, l.shown) {
		return
	}
	l.shown, l.sent = text, now
	l.tell(l.systemd.Status(text))
}

// sameKind tells whether two texts differ in their numbers only.
func sameKind(a, b string) bool {
	digits := func(s string) string {
		out := make([]byte, 0, len(s))
		for i := range len(s) {
			if s[i] < '0' || s[i] > '9' {
				out = append(out, s[i])
			}
		}
		return string(out)
	}
	return digits(a) == digits(b)
}

// status says what the daemon does, once it has started.
func (l *life) status(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage == ready && l.failure != "" {
		text += "; the last reload failed: " + l.failure
	}
	if l.stage == starting || l.reloads || l.doomed || text == l.shown {
		return
	}
	l.shown = text
	l.tell(l.systemd.Status(text))
}

// ready says, once, that the daemon can be used.
func (l *life) ready(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != starting {
		return
	}
	l.stage, l.shown = ready, text
	l.tell(l.systemd.Ready(text))
}

// reloading says that the configuration is read again, and the function that
// it returns that this is over. Before the daemon is ready, and when it is on
// its way out, systemd waits for something else and is told nothing.
func (l *life) reloading(text func() string) (end func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != ready {
		return func(error) {}
	}
	l.reloads = true
	l.tell(l.systemd.Reloading())
	return func(err error) {
		now := text()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reloads, l.failure = false, ""
		if err != nil {
			l.failure = err.Error()
			now = "Reload failed: " + l.failure
		}
		if l.stage != ready {
			return
		}
		l.shown = now
		l.tell(l.systemd.Ready(now))
	}
}

// stopping says, once, that the daemon is on its way out.
func (l *life) stopping(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage == stopping {
		return
	}
	if l.stage = stopping; l.doomed {
		text = l.shown
	}
	l.shown = text
	l.tell(l.systemd.Stopping(text))
}

// fatal says why the daemon fails.
func (l *life) fatal(err error, busError string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown, l.doomed = err.Error(), true
	l.tell(l.systemd.Fatal(err, busError))
}

// at returns the stage.
func (l *life) at() stage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stage
}

// extend asks systemd for time as long as the daemon starts and gets on,
// reloads or stops. It returns when ctx ends.
func (l *life) extend(ctx context.Context) {
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		needed := l.stage == stopping || l.reloads || l.stage == starting && time.Since(l.progress) < startPatience
		l.mu.Unlock()
		if needed {
			l.tell(l.systemd.Extend(extendBy))
		}
	}
}
