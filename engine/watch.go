// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"sync"
	"time"
)

// NoticeKind says what a [Notice] is about.
type NoticeKind uint8

// The kinds of notices.
const (
	JobNew      NoticeKind = iota // a job was queued
	JobChanged                    // its state or phase changed
	JobProgress                   // at most four a second for each job
	JobRemoved                    // it has finished
)

// Notice is something that happened to a job.
type Notice struct {
	Kind     NoticeKind
	Job      *Job
	Progress Progress // of JobProgress
}

// watcher is an unbounded queue: losing a JobRemoved would leave its reader
// waiting for ever, and blocking would let a reader stop the engine.
type watcher struct {
	mu    sync.Mutex
	queue []Notice
	began time.Time     // when the reader took up the notice that it has; zero for none
	wake  chan struct{} // capacity 1
}

func (e *Engine) notifyLocked(n Notice) {
	for w := range e.watchers {
		w.mu.Lock()
		w.queue = append(w.queue, n)
		w.mu.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) busy(since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began = since
}

// Watch calls f with each notice, in order, until ctx ends. Jobs that run
// already are announced first, as new.
func (e *Engine) Watch(ctx context.Context, f func(Notice)) {
	w := &watcher{wake: make(chan struct{}, 1)}
	e.mu.Lock()
	for _, j := range e.jobs {
		if j.state != Finished {
			w.queue = append(w.queue, Notice{Kind: JobNew, Job: j})
		}
	}
	e.watchers[w] = struct{}{}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.watchers, w)
		e.mu.Unlock()
	}()
	for {
		w.mu.Lock()
		batch := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, n := range batch {
			w.busy(time.Now())
			f(n)
		}
		w.busy(time.Time{})
		if len(batch) > 0 {
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}
