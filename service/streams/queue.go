// SPDX-License-Identifier: Apache-2.0

package streams

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/davit-engine/davit"
)

// Queue has those who attached to a container before it was started. The zero
// value is empty; its methods may be called from any goroutine.
type Queue struct {
	mu      sync.Mutex
	waiting []*Turn
}

// Turn is the place in a queue of one who attached before the start.
type Turn struct {
	ctx  context.Context
	proc chan davit.Process // capacity 1
	// attached is closed when the streams are taken, or the waiter has gone.
	attached chan struct{}
	once     sync.Once
}

func (t *Turn) settle() { t.once.Do(func() { close(t.attached) }) }

// Join queues one who wants the next process's streams, until Leave.
func (q *Queue) Join(ctx context.Context) *Turn {
	t := &Turn{ctx: ctx, proc: make(chan davit.Process, 1), attached: make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, t)
	return t
}

// Leave forgets one who does not wait any more. It is idempotent.
func (q *Queue) Leave(t *Turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(o *Turn) bool { return o == t })
	t.settle()
}

// patience bounds how long a start waits for those who attached before it: a
// client that takes its answer slowly may lose output, but not hold up the
// container.
const patience = 5 * time.Second

// Attach gives the created process to those who wait for it and returns once
// it has their streams, so that nothing it writes is missed.
func (q *Queue) Attach(ctx context.Context, proc davit.Process) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for _, t := range q.Serve(proc) {
		select {
		case <-t.attached:
		case <-t.ctx.Done():
		case <-ctx.Done():
			return
		case <-late.C:
			return
		}
	}
}

// Serve gives the process to those who wait for one, and returns them.
func (q *Queue) Serve(proc davit.Process) []*Turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.waiting
	q.waiting = nil
	for _, t := range waiting {
		t.proc <- proc
	}
	return waiting
}
