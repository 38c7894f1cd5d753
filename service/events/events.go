// SPDX-License-Identifier: Apache-2.0

// Package events keeps what happened lately and tells it to whoever listens, in
// the words of the Docker API.
package events

import (
	"context"
	"errors"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/ring"
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
	match, err := matcher(q.Filters)
	if err != nil {
		return davit.Nothing{}, err
	}
	next := l.ring.Listen(1)
	defer l.ring.Listen(-1)
	if !q.Since.IsZero() || !q.Until.IsZero() { // as Docker: what was comes first
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
			if ev.Time.Before(q.Since) || (!q.Until.IsZero() && ev.Time.After(q.Until)) || !match(ev) {
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
