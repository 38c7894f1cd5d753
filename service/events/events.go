// SPDX-License-Identifier: Apache-2.0

// Package events keeps what happened lately and tells it to whoever listens, in
// the words of the Docker API.
package events

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/ring"
	"github.com/davit-engine/davit/service/filter"
)

// kept is how many events can be asked for after they happened, and how far a
// listener may lag behind.
const kept = 1024

// Log has the latest events. Its methods may be called from any goroutine.
type Log struct {
	ring *ring.Log[davit.Event]
}

// New returns a log with nothing in it.
func New() *Log { return &Log{ring.New[davit.Event](kept)} }

// Listeners returns how many listen.
func (l *Log) Listeners() int { return l.ring.Listeners() }

// Emit publishes an event. It waits for nobody.
func (l *Log) Emit(ev davit.Event) {
	if ev.Time.IsZero() {
		ev.Time = time.Now().UTC()
	}
	l.ring.Add(ev)
}

// Follow sends events to a listener.
func (l *Log) Follow(ctx context.Context, _ *engine.Job, q davit.Events) (davit.Nothing, error) {
	next := l.ring.Listen(1)
	defer l.ring.Listen(-1)
	if !q.Since.IsZero() {
		next = 0
	}
	if !q.Until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, q.Until)
		defer cancel()
	}
	if q.Ready != nil {
		q.Ready()
	}
	for replay := next == 0; ; replay = false {
		batch, n, lost, changed := l.ring.After(next)
		if lost && !replay {
			return davit.Nothing{}, davit.Errorf(davit.Failed, "the listener is more than %d events behind: listen again", kept)
		}
		next = n
		for _, ev := range batch {
			if ev.Time.Before(q.Since) || (!q.Until.IsZero() && ev.Time.After(q.Until)) || !match(ev, q.Filters) {
				continue
			}
			if err := q.Emit(ev); err != nil {
				return davit.Nothing{}, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if !q.Until.IsZero() && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return davit.Nothing{}, nil
			}
			return davit.Nothing{}, ctx.Err()
		}
	}
}

// match applies the filters of GET /events: values of one key are
// alternatives, keys add up.
func match(ev davit.Event, filters map[string][]string) bool {
	for key, values := range filters {
		ok := slices.ContainsFunc(values, func(v string) bool {
			switch key {
			case "type":
				return ev.Type == v
			case "event":
				return ev.Action == v || strings.HasPrefix(ev.Action, v+":")
			case "container", "image", "volume", "network", "daemon":
				return ev.Type == key && (ev.ActorID == v || ev.Attributes["name"] == v || (v != "" && strings.HasPrefix(ev.ActorID, v)))
			case "label":
				return filter.Label(ev.Attributes, v)
			}
			return key == "scope" && v == "local"
		})
		if !ok {
			return false
		}
	}
	return true
}
