// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"time"
)

// Start is the account of the daemon's start, kept for as long as the engine
// lives: its jobs are told here when [Engine.Jobs] has long forgotten them.
type Start struct {
	Began time.Time // when the engine was made
	Ready time.Time // zero until [Engine.Started] was called
	// Jobs are those that the daemon gave itself until then, and their
	// children, by id; at most [RetainCount].
	Jobs []Snapshot
}

// startRecord is guarded by the engine's mutex.
type startRecord struct {
	began, ready time.Time
	over         bool
	jobs         []*Job
}

// Started ends the account of the start: jobs that are submitted from now on
// belong to it only as children of one that does. ready is when the daemon
// could be used. Only the first call counts.
func (e *Engine) Started(ready time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.start.over {
		e.start.over, e.start.ready = true, ready
	}
}

// Start returns the account of the daemon's start.
func (e *Engine) Start() Start {
	e.mu.Lock()
	s := Start{Began: e.start.began, Ready: e.start.ready, Jobs: []Snapshot{}}
	jobs := slices.Clone(e.start.jobs)
	e.mu.Unlock()
	for _, j := range jobs {
		s.Jobs = append(s.Jobs, j.Snapshot())
	}
	return s
}

// recordStartLocked keeps j if it belongs to the start.
func (e *Engine) recordStartLocked(j *Job) {
	own := j.parent == nil && j.caller.Inside() && !e.start.over
	if (own || slices.Contains(e.start.jobs, j.parent)) && len(e.start.jobs) < RetainCount {
		e.start.jobs = append(e.start.jobs, j)
	}
}
