// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// work is a request whose handler is the test's.
type work struct {
	davit.Returns[string]
	Subject string
	Do      func(context.Context, *engine.Job) (string, error)
}

func (work) JobType() string { return "work" }

type ask struct{ davit.Returns[int] }

func (ask) JobType() string { return "ask" }

type follow struct {
	davit.Returns[davit.Nothing]
	Began chan struct{}
}

func (follow) JobType() string { return "follow" }

func newEngine(t *testing.T) *engine.Engine {
	t.Helper()
	e := engine.New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	subject := func(q work) (string, string) { return q.Subject, q.Subject }
	must(t, engine.Register(e, engine.Type[work]{Subject: subject}, func(ctx context.Context, j *engine.Job, q work) (string, error) {
		return q.Do(ctx, j)
	}))
	must(t, engine.Register(e, engine.Type[ask]{Class: engine.Query}, func(context.Context, *engine.Job, ask) (int, error) { return 42, nil }))
	must(t, engine.Register(e, engine.Type[follow]{Class: engine.Follow}, func(ctx context.Context, _ *engine.Job, q follow) (davit.Nothing, error) {
		close(q.Began)
		<-ctx.Done()
		return davit.Nothing{}, ctx.Err()
	}))
	return e
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestChecklist07_RegisteringTwiceIsAnError(t *testing.T) {
	e := newEngine(t)
	err := engine.Register(e, engine.Type[ask]{}, func(context.Context, *engine.Job, ask) (int, error) { return 0, nil })
	if err == nil || !strings.Contains(err.Error(), "ask") {
		t.Fatalf("got %v, want an error that names the job", err)
	}
}

type unknown struct{ davit.Returns[int] }

func (unknown) JobType() string { return "unknown" }

func TestChecklist07_UnknownJobIs127WithText(t *testing.T) {
	_, err := engine.Do(t.Context(), newEngine(t), unknown{})
	var u *engine.UnknownTypeError
	if !errors.As(err, &u) || u.ExitStatus() != 127 || !strings.Contains(err.Error(), "unknown") {
		t.Fatalf("got %v", err)
	}
	if davit.CodeOf(err) != davit.NoSuchJobType {
		t.Fatalf("code %s", davit.CodeOf(err))
	}
}

func TestQueryLeavesNoTrace(t *testing.T) {
	e := newEngine(t)
	n, err := engine.Do(t.Context(), e, ask{})
	if err != nil || n != 42 {
		t.Fatal(n, err)
	}
	if len(e.Jobs()) != 0 {
		t.Fatal("a query was recorded")
	}
}

func TestJobsOnOneSubjectRunInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		var mu sync.Mutex
		var order []int
		var jobs []*engine.Job
		for i := range 5 {
			j, err := e.Submit(t.Context(), work{Subject: "a", Do: func(context.Context, *engine.Job) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
				return "", nil
			}})
			must(t, err)
			jobs = append(jobs, j)
		}
		for _, j := range jobs {
			if _, err := j.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Fatal(order)
		}
	})
}

func TestJobsOnDifferentSubjectsRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		meet := make(chan struct{})
		do := func(other bool) func(context.Context, *engine.Job) (string, error) {
			return func(context.Context, *engine.Job) (string, error) {
				if other {
					meet <- struct{}{}
				} else {
					<-meet
				}
				return "met", nil
			}
		}
		a, err := e.Submit(t.Context(), work{Subject: "a", Do: do(false)})
		must(t, err)
		if got, err := engine.Do(t.Context(), e, work{Subject: "b", Do: do(true)}); err != nil || got != "met" {
			t.Fatal(got, err)
		}
		_, err = a.Wait(t.Context())
		must(t, err)
	})
}

func TestChildOnItsParentsSubjectDoesNotDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		got, err := engine.Do(t.Context(), e, work{Subject: "a", Do: func(ctx context.Context, _ *engine.Job) (string, error) {
			return engine.Do(ctx, e, work{Subject: "a", Do: func(_ context.Context, j *engine.Job) (string, error) {
				if j.Snapshot().Parent == 0 {
					return "", errors.New("the child has no parent")
				}
				return "child", nil
			}})
		}})
		if err != nil || got != "child" {
			t.Fatal(got, err)
		}
	})
}

func TestCancelledParentWaitsForItsChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		undone := false
		j, err := e.Submit(t.Context(), work{Subject: "a", Do: func(ctx context.Context, j *engine.Job) (string, error) {
			if err := j.Step(ctx, "child", func(ctx context.Context) error {
				_, err := engine.Do(ctx, e, work{Do: func(ctx context.Context, _ *engine.Job) (string, error) {
					<-ctx.Done()
					<-time.After(time.Second) // it was past stopping, and succeeds
					return "", nil
				}})
				return err
			}, func(context.Context) error { undone = true; return nil }); err != nil {
				return "", err
			}
			return "", j.Step(ctx, "next", func(context.Context) error { return nil }, nil)
		}})
		must(t, err)
		synctest.Wait()
		must(t, j.Cancel())
		<-j.Done()
		for _, other := range e.Jobs() {
			if s := other.Snapshot(); s.State != engine.Finished {
				t.Errorf("job %d is still %s", s.ID, s.State)
			}
		}
		if !undone {
			t.Error("what the child did after all was not undone")
		}
	})
}

func TestFailureUndoesFinishedStepsLastFirst(t *testing.T) {
	e := newEngine(t)
	var undone []string
	step := func(ctx context.Context, j *engine.Job, name string, err error) error {
		return j.Step(ctx, name, func(context.Context) error { return err }, func(context.Context) error {
			undone = append(undone, name)
			return nil
		})
	}
	boom := errors.New("boom")
	_, err := engine.Do(t.Context(), e, work{Do: func(ctx context.Context, j *engine.Job) (string, error) {
		return "", errors.Join(step(ctx, j, "one", nil), step(ctx, j, "two", nil), step(ctx, j, "three", boom))
	}})
	if !errors.Is(err, boom) || !slices.Equal(undone, []string{"two", "one"}) {
		t.Fatal(err, undone)
	}
}

func TestCancelReachesTheHandlerAndUndoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		undone := false
		j, err := e.Submit(t.Context(), work{Do: func(ctx context.Context, j *engine.Job) (string, error) {
			if err := j.Step(ctx, "one", func(context.Context) error { return nil }, func(ctx context.Context) error {
				undone = true
				return ctx.Err()
			}); err != nil {
				return "", err
			}
			<-ctx.Done()
			return "", ctx.Err()
		}})
		must(t, err)
		synctest.Wait()
		must(t, e.Cancel(j.ID()))
		_, err = j.Wait(t.Context())
		if !errors.Is(err, engine.ErrCanceled) || !undone || j.Snapshot().Result != engine.Canceled {
			t.Fatal(err, undone, j.Snapshot().Result)
		}
		must(t, j.Cancel()) // idempotent
	})
}

func TestWaitingJobCanBeCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		release := make(chan struct{})
		first, err := e.Submit(t.Context(), work{Subject: "a", Do: func(context.Context, *engine.Job) (string, error) { <-release; return "", nil }})
		must(t, err)
		second, err := e.Submit(t.Context(), work{Subject: "a", Do: func(context.Context, *engine.Job) (string, error) { return "ran", nil }})
		must(t, err)
		third, err := e.Submit(t.Context(), work{Subject: "a", Do: func(context.Context, *engine.Job) (string, error) { return "third", nil }})
		must(t, err)
		must(t, second.Cancel())
		if _, err := second.Wait(t.Context()); !errors.Is(err, engine.ErrCanceled) {
			t.Fatal(err)
		}
		close(release)
		_, err = first.Wait(t.Context())
		must(t, err)
		if got, err := third.Wait(t.Context()); got != "third" || err != nil {
			t.Fatal(got, err)
		}
	})
}

func TestPastThePointOfNoReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		release := make(chan struct{})
		j, err := e.Submit(t.Context(), work{Do: func(_ context.Context, j *engine.Job) (string, error) {
			if err := j.PointOfNoReturn(); err != nil {
				return "", err
			}
			<-release
			return "", nil
		}})
		must(t, err)
		synctest.Wait()
		if err := j.Cancel(); !errors.Is(err, engine.ErrNotCancellable) {
			t.Fatal(err)
		}
		close(release)
		_, err = j.Wait(t.Context())
		must(t, err)
	})
}

func TestPanicFailsItsJobOnly(t *testing.T) {
	e := newEngine(t)
	_, err := engine.Do(t.Context(), e, work{Do: func(context.Context, *engine.Job) (string, error) { panic("oops") }})
	if err == nil || !strings.Contains(err.Error(), "oops") {
		t.Fatal(err)
	}
	if n, err := engine.Do(t.Context(), e, ask{}); n != 42 || err != nil {
		t.Fatal("the engine died too", err)
	}
}

func TestSkipped(t *testing.T) {
	e := newEngine(t)
	j, err := e.Submit(t.Context(), work{Do: func(context.Context, *engine.Job) (string, error) {
		return "", davit.Errorf(davit.AlreadySo, "already")
	}})
	must(t, err)
	<-j.Done()
	if r := j.Snapshot().Result; r != engine.Skipped {
		t.Fatal(r)
	}
}

func TestProgressIsReplayedToLateWatchers(t *testing.T) {
	e := newEngine(t)
	j, err := e.Submit(t.Context(), work{Do: func(_ context.Context, j *engine.Job) (string, error) {
		for i := range 2000 {
			j.Report(engine.Progress{Phase: "Downloading", Item: "layer", Current: uint64(i), Total: 1999})
		}
		j.Report(engine.Progress{Phase: "Complete", Item: "layer"})
		return "", nil
	}})
	must(t, err)
	<-j.Done()
	var got []engine.Progress
	must(t, j.Watch(t.Context(), func(p engine.Progress) error { got = append(got, p); return nil }))
	want := []engine.Progress{{Phase: "Downloading", Item: "layer", Current: 1999, Total: 1999}, {Phase: "Complete", Item: "layer"}}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v", got)
	}
}

func TestFinishedJobsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		none := func(context.Context, *engine.Job) (string, error) { return "", nil }
		var first *engine.Job
		for range engine.RetainCount + 5 {
			j, err := e.Submit(t.Context(), work{Do: none})
			must(t, err)
			<-j.Done()
			if first == nil {
				first = j
			}
		}
		synctest.Wait()
		if n := len(e.Jobs()); n != engine.RetainCount {
			t.Fatal("kept", n)
		}
		if _, err := e.Job(first.ID()); davit.CodeOf(err) != davit.NoSuchJob {
			t.Fatal(err)
		}
		<-time.After(engine.RetainFor + time.Second)
		if n := len(e.Jobs()); n != 0 {
			t.Fatal("kept for ever", n)
		}
	})
}

func TestShutdownContract(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		var order []string
		for _, p := range []engine.Phase{engine.Pidfile, engine.FrontDoors, engine.Storage} {
			must(t, e.OnShutdown(p, "", func(context.Context) error {
				order = append(order, [...]string{"doors", "networks", "storage", "records", "pidfile"}[p])
				return nil
			}))
		}
		began := make(chan struct{})
		f, err := e.Submit(t.Context(), follow{Began: began})
		must(t, err)
		<-began
		rest := engine.WithCaller(t.Context(), engine.Caller{Transport: engine.REST})
		childRan := make(chan error, 1)
		slow, err := e.Submit(rest, work{Do: func(ctx context.Context, _ *engine.Job) (string, error) {
			<-time.After(2 * time.Second)
			_, err := engine.Do(ctx, e, work{Do: func(context.Context, *engine.Job) (string, error) { return "", nil }})
			childRan <- err
			return "", err
		}})
		must(t, err)
		synctest.Wait()
		start := time.Now()
		done := make(chan error, 2)
		go func() { done <- e.Shutdown(context.WithoutCancel(t.Context()), 5*time.Second) }()
		synctest.Wait()
		if _, err := e.Submit(rest, ask{}); !errors.Is(err, engine.ErrShuttingDown) {
			t.Fatal("a new job was taken:", err)
		}
		go func() { done <- e.Shutdown(context.WithoutCancel(t.Context()), 0) }() // waits for the first
		if err := <-childRan; err != nil {
			t.Fatal("a running job's own job was refused:", err)
		}
		<-f.Done()
		if _, err := slow.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		must(t, <-done)
		must(t, <-done)
		if took := time.Since(start); took != 2*time.Second {
			t.Fatal("took", took)
		}
		if !slices.Equal(order, []string{"doors", "storage", "pidfile"}) {
			t.Fatal(order)
		}
	})
}

type late struct{ davit.Returns[davit.Nothing] }

func (late) JobType() string { return "late" }

// TestShutdownKnowsOfAllJobs has one come in the moment before the shutdown: it
// is waited for or refused, and does not run when all is closed.
func TestShutdownKnowsOfAllJobs(t *testing.T) {
	e := newEngine(t)
	between := engine.Type[late]{Subject: func(late) (string, string) {
		must(t, e.Shutdown(t.Context(), time.Second))
		return "", ""
	}}
	must(t, engine.Register(e, between, func(context.Context, *engine.Job, late) (davit.Nothing, error) {
		t.Error("a job runs after the shutdown")
		return davit.Nothing{}, nil
	}))
	if _, err := engine.Do(t.Context(), e, late{}); !errors.Is(err, engine.ErrShuttingDown) {
		t.Errorf("got %v", err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		release := make(chan struct{})
		must(t, e.OnShutdown(engine.Storage, "stuck", func(context.Context) error { <-release; return nil }))
		j, err := e.Submit(t.Context(), work{Do: func(_ context.Context, j *engine.Job) (string, error) {
			must(t, j.PointOfNoReturn())
			<-release
			return "", nil
		}})
		must(t, err)
		synctest.Wait()
		start := time.Now()
		err = e.Shutdown(context.WithoutCancel(t.Context()), 5*time.Second)
		if took := time.Since(start); took > 17*time.Second {
			t.Fatal("took", took)
		}
		if err == nil || !strings.Contains(err.Error(), "work") || !strings.Contains(err.Error(), "handlers") {
			t.Fatal(err)
		}
		close(release)
		<-j.Done()
	})
}

func TestIdenticalWorkJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engine.New(slog.New(slog.NewTextHandler(io.Discard, nil)))
		must(t, engine.Register(e, engine.Type[work]{Join: func(q work) string { return q.Subject }},
			func(ctx context.Context, j *engine.Job, q work) (string, error) { return q.Do(ctx, j) }))
		do := func(ctx context.Context, _ *engine.Job) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		a, err := e.Submit(t.Context(), work{Subject: "x", Do: do})
		must(t, err)
		b, err := e.Submit(t.Context(), work{Subject: "x", Do: do})
		must(t, err)
		if a != b {
			t.Fatal("two jobs for the same work")
		}
		a.Leave()
		synctest.Wait()
		select {
		case <-b.Done():
			t.Fatal("cancelled although one still waits")
		default:
		}
		b.Leave()
		if _, err := b.Wait(t.Context()); !errors.Is(err, engine.ErrCanceled) {
			t.Fatal(err)
		}
	})
}

func TestWatchersSeeTheWholeLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		ctx, cancel := context.WithCancel(t.Context())
		var kinds []engine.NoticeKind
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			e.Watch(ctx, func(n engine.Notice) { kinds = append(kinds, n.Kind) })
		}()
		synctest.Wait()
		_, err := engine.Do(t.Context(), e, work{Do: func(context.Context, *engine.Job) (string, error) { return "", nil }})
		must(t, err)
		synctest.Wait()
		cancel()
		<-ended
		if !slices.Equal(kinds, []engine.NoticeKind{engine.JobNew, engine.JobChanged, engine.JobRemoved}) {
			t.Fatal(kinds)
		}
	})
}

// records collects what an engine logs, one map for each record.
type records struct {
	mu  sync.Mutex
	out []map[string]string
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *records) WithGroup(string) slog.Handler            { return r }

func (r *records) Handle(_ context.Context, rec slog.Record) error {
	m := map[string]string{"msg": rec.Message, "level": rec.Level.String()}
	rec.Attrs(func(a slog.Attr) bool {
		m[a.Key] = a.Value.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = append(r.out, m)
	return nil
}

func TestRecordsSayWhatAJobIsAbout(t *testing.T) {
	r := &records{}
	e := engine.New(slog.New(r))
	about := func(q work) []slog.Attr {
		if q.Subject == "unknown" {
			return nil
		}
		return []slog.Attr{slog.String("ship", q.Subject)}
	}
	typ := engine.Type[work]{Attrs: about, Subject: func(q work) (string, string) { return "", q.Subject }}
	must(t, engine.Register(e, typ, func(ctx context.Context, j *engine.Job, q work) (string, error) { return q.Do(ctx, j) }))
	for _, subject := range []string{"known", "unknown"} {
		_, err := engine.Do(t.Context(), e, work{Subject: subject, Do: func(_ context.Context, j *engine.Job) (string, error) {
			j.Annotate(slog.String("made", "later"))
			return "", nil
		}})
		must(t, err)
	}
	e.Jobs() // returns once the last record is written
	if len(r.out) != 4 {
		t.Fatalf("%d records, want begin and end of two jobs: %v", len(r.out), r.out)
	}
	for i, want := range []map[string]string{
		{"msg": "job begins", "ship": "known", "made": "", "subject": "", "job": "1", "type": "work", "level": "DEBUG"},
		{"msg": "job ends", "ship": "known", "made": "later", "subject": "", "result": "done", "level": "INFO"},
		{"msg": "job begins", "ship": "", "subject": "unknown"},
		{"msg": "job ends", "ship": "", "subject": "", "made": "later"},
	} {
		for key, value := range want {
			if got := r.out[i][key]; got != value {
				t.Errorf("record %d: %s is %q, want %q", i, key, got, value)
			}
		}
	}
}
