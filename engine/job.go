// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// State of a job.
type State string

// A job goes through these once, in this order; a waiting job that is
// cancelled skips the middle one.
const (
	Waiting  State = "waiting"
	Running  State = "running"
	Finished State = "finished"
)

// Outcome is how a job ended, in systemd's words.
type Outcome string

// The outcomes of a job.
const (
	Done       Outcome = "done"
	Canceled   Outcome = "canceled"
	TimedOut   Outcome = "timeout"
	Failed     Outcome = "failed"
	Skipped    Outcome = "skipped" // it already was so
	Dependency Outcome = "dependency"
)

// Job is one run of a handler.
type Job struct {
	engine *Engine
	entry  *entry
	caller Caller
	parent *Job
	ctx    context.Context
	cancel context.CancelFunc
	feed   *feed
	done   chan struct{}

	stepsMu sync.Mutex // guards what the handler's own goroutines touch
	undo    []step
	steps   []StepTime
	attrs   []slog.Attr // what the log says it is about

	// The engine's mutex guards what follows.
	id           uint32
	key, subject string
	joinKey      string
	request      Request // until it runs
	waiters      int
	state        State
	phase        string
	noReturn     bool
	output       any
	err          error
	result       Outcome
	enqueued     time.Time
	started      time.Time
	touched      time.Time // the latest sign of progress
	ended        time.Time
}

type step struct {
	name string
	undo func(context.Context) error
}

// StepTime is when a step of a job ran.
type StepTime struct {
	Name       string
	Begin, End time.Time
}

// Snapshot is what can be told of a job at one moment.
type Snapshot struct {
	ID          uint32
	Type        string
	Class       Class
	Subject     string
	Parent      uint32 // 0 for none
	Caller      Caller
	State       State
	Result      Outcome // "" until it has finished
	Err         error
	Phase       string
	Progress    Progress
	Cancellable bool
	Output      any
	Enqueued    time.Time
	Started     time.Time // zero until it runs
	Ended       time.Time // zero until it has finished
	Steps       []StepTime
}

func (e *Engine) newJob(ctx context.Context, en *entry, _ Request) *Job {
	j := &Job{engine: e, entry: en, state: Waiting, feed: newFeed(), done: make(chan struct{})}
	parent, _ := ctx.Value(jobKey{}).(*Job)
	if en.Class != Follow && parent == nil {
		ctx = context.WithoutCancel(ctx)
	}
	j.ctx, j.cancel = context.WithCancel(ctx)
	return j
}

// holds tells whether j or one of its parents occupies the subject.
func (j *Job) holds(key string) bool {
	for ; j != nil; j = j.parent {
		if j.key == key {
			return true
		}
	}
	return false
}

// ID returns the job's number; 0 for a query, which has none.
func (j *Job) ID() uint32 { return j.id }

// Type returns the name of the job's type.
func (j *Job) Type() string { return j.entry.Name }

// Caller returns who asked for the job.
func (j *Job) Caller() Caller { return j.caller }

// Done is closed when the job has finished.
func (j *Job) Done() <-chan struct{} { return j.done }

// Ending is closed when the job is cancelled or has finished: what it reads
// and writes on its caller's behalf can be closed then, which ends a handler
// that waits for a caller who says nothing.
func (j *Job) Ending() <-chan struct{} {
	if j.ctx == nil { // a query, which has finished
		return j.done
	}
	return j.ctx.Done()
}

// After returns the jobs on the same subject that end before this one begins,
// the next to end first.
func (j *Job) After() []*Job {
	j.engine.mu.Lock()
	defer j.engine.mu.Unlock()
	if j.state != Waiting {
		return nil
	}
	q := j.engine.queues[j.key]
	return slices.Clone(q[:max(0, slices.Index(q, j))])
}

// Snapshot returns the state of the job now.
func (j *Job) Snapshot() Snapshot {
	j.stepsMu.Lock()
	steps := append([]StepTime(nil), j.steps...)
	j.stepsMu.Unlock()
	e := j.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Snapshot{
		ID: j.id, Type: j.entry.Name, Class: j.entry.Class, Subject: j.subject, Caller: j.caller,
		State: j.state, Result: j.result, Err: j.err, Phase: j.phase, Progress: j.feed.last(),
		Cancellable: !j.entry.fixed && !j.noReturn && j.state != Finished,
		Output:      j.output, Enqueued: j.enqueued, Started: j.started, Ended: j.ended, Steps: steps,
	}
	if j.parent != nil {
		s.Parent = j.parent.id
	}
	return s
}

// Wait returns the job's result and error once it has finished, or ctx's
// error when that ends first; the job then goes on.
func (j *Job) Wait(ctx context.Context) (any, error) {
	select {
	case <-j.done:
		return j.output, j.err
	default:
	}
	select {
	case <-j.done:
		return j.output, j.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Cancel asks the job to end. It is idempotent: a job that has finished, or
// was cancelled before, stays as it is. It fails with [ErrNotCancellable] when
// the job is past its point of no return.
func (j *Job) Cancel() error {
	e := j.engine
	e.mu.Lock()
	if j.state == Finished {
		e.mu.Unlock()
		return nil
	}
	if j.entry.fixed || j.noReturn {
		e.mu.Unlock()
		return ErrNotCancellable
	}
	j.cancel()
	waiting := j.state == Waiting
	if waiting {
		j.state = Finished // so that nextLocked does not start it
	}
	e.mu.Unlock()
	if waiting {
		e.finish(j, nil, ErrCanceled)
	}
	return nil
}

// Leave says that one who submitted the job no longer waits for it. When
// nobody does, the job is cancelled, unless it cannot be.
func (j *Job) Leave() {
	j.engine.mu.Lock()
	j.waiters--
	last := j.waiters <= 0
	j.engine.mu.Unlock()
	if last {
		_ = j.Cancel() // a job past its point of no return ends by itself
	}
}

// PointOfNoReturn is called by a handler when what follows must not be
// interrupted. It fails when the job has been cancelled before.
func (j *Job) PointOfNoReturn() error {
	j.engine.mu.Lock()
	defer j.engine.mu.Unlock()
	if j.ctx != nil && j.ctx.Err() != nil {
		return ErrCanceled
	}
	j.noReturn = true
	return nil
}

// Step does one thing to the host. When a later step fails, or the job is
// cancelled, the undo functions of the finished steps run, last first. undo
// may be nil; its context is not cancelled.
func (j *Job) Step(ctx context.Context, name string, do, undo func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.setPhase(name)
	begin := time.Now()
	err := do(ctx)
	j.stepsMu.Lock()
	defer j.stepsMu.Unlock()
	j.steps = append(j.steps, StepTime{name, begin, time.Now()})
	if err == nil && undo != nil {
		j.undo = append(j.undo, step{name, undo})
	}
	return err
}

func (j *Job) setPhase(name string) {
	j.engine.mu.Lock()
	defer j.engine.mu.Unlock()
	j.phase, j.touched = name, time.Now()
	if j.id != 0 {
		j.engine.notifyLocked(Notice{Kind: JobChanged, Job: j})
	}
}

// Report tells watchers how far the job is, and those of the jobs that it is
// a child of: who runs a container sees its image come. It does not block.
func (j *Job) Report(p Progress) {
	for ; j != nil; j = j.parent {
		if j.feed.put(p) && j.id != 0 {
			j.engine.mu.Lock()
			j.touched = time.Now()
			j.engine.notifyLocked(Notice{Kind: JobProgress, Job: j, Progress: p})
			j.engine.mu.Unlock()
		}
	}
}

// Watch calls f with the job's progress so far and then with all that
// follows, until the job has finished, ctx ends or f fails. A slow watcher
// gets the latest state of each item, not each step to it.
func (j *Job) Watch(ctx context.Context, f func(Progress) error) error { return j.feed.follow(ctx, f) }

// undoTimeout bounds the undoing of a failed job's steps.
const undoTimeout = 30 * time.Second

// call runs the handler, undoes its steps when it fails, and turns a panic
// into a failure.
func (j *Job) call(ctx context.Context, q Request) (out any, err error) {
	out, err = j.protect(ctx, q)
	if err == nil {
		return out, nil
	}
	if j.ctx != nil && j.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = ErrCanceled
	}
	j.stepsMu.Lock()
	undo := j.undo
	j.undo = nil
	j.stepsMu.Unlock()
	uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for i := len(undo) - 1; i >= 0; i-- {
		if uerr := undo[i].undo(uctx); uerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot undo %s: %w", undo[i].name, uerr))
		}
	}
	return nil, err
}

func (j *Job) protect(ctx context.Context, q Request) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			j.engine.log.Error("job panicked", append(j.logAttrs(), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))...)
			err = fmt.Errorf("internal error: job %s panicked: %v", j.entry.Name, p)
		}
	}()
	return j.entry.run(ctx, j, q)
}

// finishLocked sets the final state; the caller holds the engine's mutex, or
// is the only one who knows the job.
func (j *Job) finishLocked() {
	j.result = resultOf(j.err, errors.Is(j.err, ErrCanceled))
	j.state, j.ended = Finished, time.Now()
	j.feed.close()
	close(j.done)
}

// Annotate adds to what the log says the job is about: a container that it
// made, say. What may be a secret must not be in it.
func (j *Job) Annotate(attrs ...slog.Attr) {
	j.stepsMu.Lock()
	defer j.stepsMu.Unlock()
	j.attrs = append(j.attrs, attrs...)
}

func (j *Job) logAttrs() []any {
	transport := j.caller.Transport
	if transport == "" {
		transport = Internal
	}
	a := []any{
		slog.Uint64("job", uint64(j.id)), slog.String("type", j.entry.Name),
		slog.String("transport", transport), slog.Uint64("uid", uint64(j.caller.UID)),
	}
	j.stepsMu.Lock()
	for _, about := range j.attrs {
		a = append(a, about)
	}
	if len(j.attrs) == 0 && j.subject != "" {
		a = append(a, slog.String("subject", j.subject))
	}
	j.stepsMu.Unlock()
	if j.parent != nil {
		a = append(a, slog.Uint64("parent", uint64(j.parent.id)))
	}
	return a
}

// parametersOf lists the exported fields of a request that a caller outside
// can set.
func parametersOf(q Request) map[string]string {
	out := map[string]string{}
	t := reflect.TypeOf(q)
	if t == nil || t.Kind() != reflect.Struct {
		return out
	}
	for f := range t.Fields() {
		if f.Anonymous || !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		out[f.Name] = f.Type.String()
	}
	return out
}
