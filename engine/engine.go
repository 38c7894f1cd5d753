// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Class says how the engine treats the jobs of a type.
type Class uint8

const (
	// Change jobs are queued on their subject, recorded, announced to
	// watchers, waited for at shutdown.
	Change Class = iota
	// Query jobs run at once in the caller's goroutine, and leave no trace.
	Query
	// Follow jobs last as long as their caller: attach, logs, events. They are
	// recorded while they run, end with the caller's context, and are cancelled
	// at shutdown instead of being waited for.
	Follow
)

func (c Class) String() string { return [...]string{"change", "query", "follow"}[c] }

// Request is the typed request of a job; JobType names its handler.
type Request interface{ JobType() string }

// Typed is a request that knows the type of its result. ResultOf is only
// there for the compiler.
type Typed[R any] interface {
	Request
	ResultOf() R
}

// Type is what the engine knows of a type of job beside its handler.
type Type[Q Request] struct {
	Class Class
	// Subject names what a request works on: jobs with the same key run one
	// after the other. The label is shown to users. nil: the job waits for
	// nothing.
	Subject func(Q) (key, label string)
	// Attrs are what the log says a request is about, in place of the subject's
	// label. nil, and when it returns none: the label. A handler that learns
	// more adds it with [Job.Annotate].
	Attrs func(Q) []slog.Attr
	// Join gives requests with the same non-empty key the same job while it
	// runs.
	Join func(Q) string
	// Internal types cannot be submitted by a front door.
	Internal bool
	// Access says what a caller from outside needs for a request; nil asks for
	// root. It may be called more than once for a job, and with no lock held.
	Access func(context.Context, Q) Access
	// Pin gives the names in a request the ids that they have now. It is applied
	// before Access for callers who are asked about: what was allowed is then what
	// is done, whoever renames things meanwhile. nil: nothing to pin.
	Pin func(Q) Q
	// Action is the permission that a request of this type needs at least, for
	// the table that users see; what counts is Access.
	Action string
	// Fixed jobs cannot be cancelled.
	Fixed bool
	// Deadline is how long a job may run without a sign of progress before
	// [Engine.Overdue] lists it; 0 is for ever.
	Deadline time.Duration
}

// TypeInfo describes a registered type.
type TypeInfo struct {
	Name     string
	Class    Class
	Internal bool
	// Action is the permission that a request needs at least; "" is root's.
	Action string
	// Parameters are the request's fields: name -> Go type, for people.
	Parameters map[string]string
}

// Transports of a [Caller].
const (
	Internal = "internal" // the daemon itself; the zero value means it too
	REST     = "rest"
	Bus      = "dbus"
)

type (
	callerKey struct{}
	jobKey    struct{}
)

// WithCaller returns a context whose jobs are submitted on behalf of c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// Detached returns a context for jobs that are not children of the job that
// ctx belongs to, and outlive it.
func Detached(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), jobKey{}, (*Job)(nil))
}

// entry is a row of the table of handlers, with the types erased.
type entry struct {
	TypeInfo
	fixed    bool
	deadline time.Duration
	access   func(context.Context, Request) Access
	pin      func(Request) Request
	subject  func(Request) (key, label string)
	attrs    func(Request) []slog.Attr
	join     func(Request) string
	decode   func(func(any) error) (Request, error)
	run      func(context.Context, *Job, Request) (any, error)
}

// Retention of finished jobs.
const (
	RetainFor   = 5 * time.Minute
	RetainCount = 256
)

// Engine is a table of handlers and the jobs that run, wait or have lately
// finished. Its methods may be called from any goroutine.
type Engine struct {
	log        *slog.Logger
	authorizer Authorizer // nil: only root may

	mu       sync.Mutex
	types    map[string]*entry
	lastID   uint32
	keepID   func(uint32) // is told each new id
	jobs     map[uint32]*Job
	finished []*Job            // oldest first
	queues   map[string][]*Job // per subject key; the first one runs
	joined   map[string]*Job
	watchers map[*watcher]struct{}
	running  sync.WaitGroup // goroutines of jobs, followers included
	active   int            // change jobs that wait or run
	idle     chan struct{}  // closed and renewed when active falls to zero

	start    startRecord
	shutdown shutdownState
}

// New returns an engine with an empty table that logs to log.
func New(log *slog.Logger) *Engine {
	return &Engine{
		log: log, types: map[string]*entry{}, jobs: map[uint32]*Job{},
		queues: map[string][]*Job{}, joined: map[string]*Job{},
		watchers: map[*watcher]struct{}{}, idle: make(chan struct{}), keepID: func(uint32) {},
		shutdown: shutdownState{done: make(chan struct{})}, start: startRecord{began: time.Now()},
	}
}

// Register puts a handler into the table under the name of Q. A name can be
// registered once.
//
// The handler's context ends when the job is cancelled; jobs that it submits
// with that context are the job's children.
func Register[Q Typed[R], R any](e *Engine, t Type[Q], handler func(context.Context, *Job, Q) (R, error)) error {
	var zero Q
	en := &entry{
		TypeInfo: TypeInfo{Name: zero.JobType(), Class: t.Class, Internal: t.Internal, Action: t.Action, Parameters: parametersOf(zero)},
		fixed:    t.Fixed,
		deadline: t.Deadline,
		run: func(ctx context.Context, j *Job, q Request) (any, error) {
			r, err := handler(ctx, j, q.(Q))
			return r, err
		},
		decode: func(fill func(any) error) (Request, error) {
			var q Q
			err := fill(&q)
			return q, err
		},
	}
	if t.Access != nil {
		en.access = func(ctx context.Context, q Request) Access { return t.Access(ctx, q.(Q)) }
	}
	if t.Pin != nil {
		en.pin = func(q Request) Request { return t.Pin(q.(Q)) }
	}
	if t.Subject != nil {
		en.subject = func(q Request) (string, string) { return t.Subject(q.(Q)) }
	}
	if t.Attrs != nil {
		en.attrs = func(q Request) []slog.Attr { return t.Attrs(q.(Q)) }
	}
	if t.Join != nil {
		en.join = func(q Request) string { return t.Join(q.(Q)) }
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.types[en.Name]; ok {
		return fmt.Errorf("cannot register handler for job %s: it has one", en.Name)
	}
	e.types[en.Name] = en
	return nil
}

// Types returns the table, sorted by name.
func (e *Engine) Types() []TypeInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []TypeInfo
	for _, en := range e.types {
		out = append(out, en.TypeInfo)
	}
	slices.SortFunc(out, func(a, b TypeInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// NewRequest makes a request of the named type; fill gets a pointer to it, to
// decode its arguments into.
func (e *Engine) NewRequest(name string, fill func(any) error) (Request, error) {
	e.mu.Lock()
	en := e.types[name]
	e.mu.Unlock()
	if en == nil {
		return nil, &UnknownTypeError{name}
	}
	return en.decode(fill)
}

// Submit makes a job of the request. It returns once the job is queued or
// runs; a query has then finished. It fails when there is no handler, and
// with [ErrShuttingDown] for callers from outside once the shutdown began.
//
// A change job does not end with ctx; it takes only its values. A follow job
// and a child of another job do.
func (e *Engine) Submit(ctx context.Context, q Request) (*Job, error) {
	name := q.JobType()
	caller, _ := ctx.Value(callerKey{}).(Caller)
	parent, _ := ctx.Value(jobKey{}).(*Job)
	e.mu.Lock()
	en := e.types[name]
	if en == nil || (en.Internal && parent == nil && !caller.Inside()) {
		e.mu.Unlock()
		return nil, &UnknownTypeError{name}
	}
	e.mu.Unlock()
	if parent == nil && !caller.Inside() { // it may take as long as a user needs to type a password
		if en.pin != nil && caller.UID != 0 {
			q = en.pin(q)
		}
		if err := e.Authorize(ctx, en.accessOf(ctx, q)); err != nil {
			return nil, err
		}
	}
	if en.Class == Query {
		e.mu.Lock()
		refused := e.refusesLocked(parent, caller)
		e.mu.Unlock()
		if refused {
			return nil, ErrShuttingDown
		}
		return e.runQuery(ctx, en, q, caller), nil
	}
	j := e.newJob(ctx, en, q)
	j.caller, j.parent = caller, parent
	if parent != nil && caller.Inside() {
		j.caller = parent.caller
	}
	return e.enqueue(j, en, q) //nolint:contextcheck // newJob made the job's context of ctx
}

// refusesLocked tells whether the shutdown is past jobs of the caller.
func (e *Engine) refusesLocked(parent *Job, c Caller) bool {
	return e.shutdown.begun && ((parent == nil && !c.Inside()) || e.shutdown.drained)
}

// accessOf says what a caller from outside needs for q. The details get the
// type and the label of the subject.
func (en *entry) accessOf(ctx context.Context, q Request) Access {
	a := Access{Action: en.Action}
	if en.access != nil {
		a = en.access(ctx, q)
	}
	details := map[string]string{"type": en.Name}
	if en.subject != nil {
		if _, label := en.subject(q); label != "" {
			details["subject"] = label
		}
	}
	maps.Copy(details, a.Details)
	a.Details = details
	return a
}

// runQuery runs a query in the caller's goroutine.
func (e *Engine) runQuery(ctx context.Context, en *entry, q Request, c Caller) *Job {
	j := &Job{engine: e, entry: en, caller: c, done: make(chan struct{}), feed: newFeed(), cancel: func() {}}
	j.output, j.err = j.call(ctx, q)
	j.finishLocked()
	return j
}

// enqueue records j, or finds the running job that it joins, and starts it
// when it is the first on its subject. That the shutdown is not past it is looked
// at under the same lock: its drain knows of all jobs.
func (e *Engine) enqueue(j *Job, en *entry, q Request) (*Job, error) {
	if en.subject != nil {
		j.key, j.subject = en.subject(q)
	}
	if en.attrs != nil {
		j.attrs = en.attrs(q)
	}
	if en.join != nil && j.parent == nil { // a child ends with its parent, whoever else waits for it
		j.joinKey = en.join(q)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refusesLocked(j.parent, j.caller) {
		j.cancel()
		return nil, ErrShuttingDown
	}
	if j.joinKey != "" {
		j.joinKey = en.Name + " " + j.joinKey
		if other := e.joined[j.joinKey]; other != nil && other.ctx.Err() == nil {
			other.waiters++
			j.cancel()
			return other, nil
		}
		e.joined[j.joinKey] = j
	}
	e.lastID++
	e.keepID(e.lastID)
	j.id, j.waiters = e.lastID, 1
	j.enqueued = time.Now()
	e.jobs[j.id] = j
	e.recordStartLocked(j)
	if en.Class == Change {
		e.active++
	}
	e.notifyLocked(Notice{Kind: JobNew, Job: j})
	// A child of the job that holds the subject would wait for its parent
	// for ever.
	if j.key == "" || j.parent.holds(j.key) || en.Class == Follow {
		j.key = ""
		e.startLocked(j, q)
		return j, nil
	}
	j.request = q
	e.queues[j.key] = append(e.queues[j.key], j)
	if len(e.queues[j.key]) == 1 {
		e.startLocked(j, q)
	}
	return j, nil
}

// startLocked runs j in a goroutine of its own.
func (e *Engine) startLocked(j *Job, q Request) {
	j.state, j.started, j.request = Running, time.Now(), nil
	j.touched = j.started
	e.notifyLocked(Notice{Kind: JobChanged, Job: j})
	e.running.Go(func() {
		e.log.Debug("job begins", j.logAttrs()...)
		out, err := j.call(context.WithValue(j.ctx, jobKey{}, j), q)
		e.finish(j, out, err)
	})
}

// finish records the end of j and starts the next job on its subject.
func (e *Engine) finish(j *Job, out any, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	j.output, j.err = out, err
	j.finishLocked()
	j.cancel()
	e.logEnd(j)
	if e.joined[j.joinKey] == j {
		delete(e.joined, j.joinKey)
	}
	if j.key != "" {
		e.nextLocked(j)
	}
	e.notifyLocked(Notice{Kind: JobRemoved, Job: j})
	if j.entry.Class != Change {
		delete(e.jobs, j.id)
		return
	}
	e.finished = append(e.finished, j)
	e.expireLocked(time.Now())
	if e.active--; e.active == 0 {
		close(e.idle)
		e.idle = make(chan struct{})
	}
}

// nextLocked takes j off its queue and starts the one behind it.
func (e *Engine) nextLocked(j *Job) {
	q := slices.DeleteFunc(e.queues[j.key], func(o *Job) bool { return o == j })
	if len(q) == 0 {
		delete(e.queues, j.key)
		return
	}
	e.queues[j.key] = q
	if q[0].state == Waiting {
		e.startLocked(q[0], q[0].request)
	}
}

// expireLocked forgets finished jobs that are too old or too many.
func (e *Engine) expireLocked(now time.Time) {
	n := 0
	for n < len(e.finished) && (len(e.finished)-n > RetainCount || now.Sub(e.finished[n].ended) > RetainFor) {
		delete(e.jobs, e.finished[n].id)
		n++
	}
	e.finished = slices.Delete(e.finished, 0, n)
}

// Job returns a job that waits, runs or has lately finished.
func (e *Engine) Job(id uint32) (*Job, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expireLocked(time.Now())
	if j := e.jobs[id]; j != nil {
		return j, nil
	}
	return nil, &NoSuchJobError{id}
}

// Jobs returns the jobs that wait, run or have lately finished, by id.
func (e *Engine) Jobs() []*Job {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expireLocked(time.Now())
	out := make([]*Job, 0, len(e.jobs))
	for _, j := range e.jobs {
		out = append(out, j)
	}
	slices.SortFunc(out, func(a, b *Job) int { return int(a.id) - int(b.id) })
	return out
}

// Cancel cancels the job with the id, for all who wait for it.
func (e *Engine) Cancel(id uint32) error {
	j, err := e.Job(id)
	if err != nil {
		return err
	}
	return j.Cancel()
}

// Do submits a request, waits for the job and returns its result. When ctx
// ends first, the job goes on and Do returns ctx's error; but a child, which
// ctx cancels too, is waited for: what it did, or undid, is then known to its
// parent.
func Do[Q Typed[R], R any](ctx context.Context, e *Engine, q Q) (R, error) {
	j, err := e.Submit(ctx, q)
	if err != nil {
		var zero R
		return zero, err
	}
	if j.parent != nil {
		ctx = context.WithoutCancel(ctx)
	}
	return Result(ctx, j, q)
}

// Result waits for a job that was made of q and returns its typed result.
func Result[Q Typed[R], R any](ctx context.Context, j *Job, _ Q) (R, error) {
	out, err := j.Wait(ctx)
	r, _ := out.(R)
	return r, err
}

// logEnd writes the record of a job's end.
func (e *Engine) logEnd(j *Job) {
	attrs := append(j.logAttrs(), slog.Duration("duration", j.ended.Sub(j.enqueued)), slog.String("result", string(j.result)))
	level := slog.LevelInfo
	if j.entry.Class == Follow {
		level = slog.LevelDebug
	}
	if j.err != nil && j.result == Failed {
		attrs = append(attrs, slog.String("error", j.err.Error()))
		if j.caller.Inside() {
			level = slog.LevelWarn
		}
	}
	e.log.Log(context.WithoutCancel(j.ctx), level, "job ends", attrs...)
}

func resultOf(err error, canceled bool) Outcome {
	var s skipped
	switch {
	case err == nil:
		return Done
	case errors.As(err, &s) && s.Skipped():
		return Skipped
	case canceled:
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	}
	return Failed
}
