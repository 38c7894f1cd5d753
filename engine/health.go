// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"time"
)

// Number has the ids of jobs go on after last, which a predecessor used, and
// tells each new one to keep. It is called before the first job. keep is
// called with the engine's lock held: it must not block, nor call the engine.
func (e *Engine) Number(last uint32, keep func(id uint32)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastID, e.keepID = last, keep
}

// Load is what is under way.
type Load struct {
	Changes int // change jobs that wait or run
	Follows int // followers of callers from outside
}

// Idle tells whether there is nothing.
func (l Load) Idle() bool { return l == Load{} }

// Load counts what is under way.
func (e *Engine) Load() Load {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := Load{Changes: e.active}
	for _, j := range e.jobs {
		if j.entry.Class == Follow && !j.caller.Inside() {
			l.Follows++
		}
	}
	return l
}

// Overdue returns the jobs that have run for longer than the deadline of their
// type without a sign of progress, by id.
func (e *Engine) Overdue() []*Job {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.selectLocked(func(j *Job) bool {
		return j.state == Running && j.entry.deadline > 0 && now.Sub(j.touched) > j.entry.deadline
	})
}

// Stalled returns for how long the slowest watcher has been busy with one
// notice: the queue behind it only grows.
func (e *Engine) Stalled() time.Duration {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	var worst time.Duration
	for w := range e.watchers {
		w.mu.Lock()
		if !w.began.IsZero() {
			worst = max(worst, now.Sub(w.began))
		}
		w.mu.Unlock()
	}
	return worst
}

// CorruptError says that the engine's books contradict themselves: nothing it
// does from then on can be trusted, and only a new process helps.
type CorruptError struct{ What string }

// Error names the contradiction.
func (e *CorruptError) Error() string { return "the engine's queues are corrupt: " + e.What }

// Check proves the books of the engine against one another. Each rule holds
// whenever the lock is free, so that a breach is a fault of the program or of
// the memory and never a matter of load; it is then a [CorruptError].
func (e *Engine) Check() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	active := 0
	for id, j := range e.jobs {
		switch {
		case j.id != id:
			return &CorruptError{fmt.Sprintf("job %d is filed under %d", j.id, id)}
		case id > e.lastID:
			return &CorruptError{fmt.Sprintf("there is a job %d and the last one was %d", id, e.lastID)}
		}
		if j.entry.Class == Change && !j.over() {
			active++
		}
	}
	if active != e.active {
		return &CorruptError{fmt.Sprintf("%d jobs wait or run, counted were %d", active, e.active)}
	}
	for key, queue := range e.queues {
		if what := e.wrongLocked(key, queue); what != "" {
			return &CorruptError{"the queue of " + key + " " + what}
		}
	}
	return nil
}

// wrongLocked says what is wrong with the queue of a subject; "" if nothing.
func (e *Engine) wrongLocked(key string, queue []*Job) string {
	if len(queue) == 0 {
		return "is kept though it is empty"
	}
	for i, j := range queue {
		switch {
		case e.jobs[j.id] != j:
			return fmt.Sprintf("holds job %d, which is unknown", j.id)
		case j.key != key:
			return fmt.Sprintf("holds job %d, which is of %q", j.id, j.key)
		case j.over():
			return fmt.Sprintf("holds job %d, which has ended", j.id)
		case i == 0 && j.state == Waiting:
			return fmt.Sprintf("stands still: job %d is the first and waits", j.id)
		case i > 0 && j.state == Running:
			return fmt.Sprintf("lets job %d run before its turn", j.id)
		case slices.Contains(queue[:i], j):
			return fmt.Sprintf("holds job %d twice", j.id)
		}
	}
	return ""
}

// over tells whether the job's end was told. A waiting job that is cancelled
// is Finished a moment before.
func (j *Job) over() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}
