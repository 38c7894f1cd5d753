// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a request whose handler waits until it is let go.
type slow struct {
	Go      chan struct{}
	Subject string
}

func (slow) JobType() string        { return "slow" }
func (slow) ResultOf() (n struct{}) { return n }

type tail struct{}

func (tail) JobType() string        { return "tail" }
func (tail) ResultOf() (n struct{}) { return n }

func slowEngine(t *testing.T) *Engine {
	t.Helper()
	e := New(slog.New(slog.DiscardHandler))
	subject := func(q slow) (string, string) { return q.Subject, "" }
	open := func(context.Context, slow) Access { return Access{Open: true} }
	err := errors.Join(
		Register(e, Type[slow]{Subject: subject, Deadline: time.Minute, Access: open}, func(_ context.Context, j *Job, q slow) (struct{}, error) {
			j.Report(Progress{Phase: "begun"})
			<-q.Go
			return struct{}{}, nil
		}),
		Register(e, Type[tail]{Class: Follow}, func(ctx context.Context, _ *Job, _ tail) (struct{}, error) {
			<-ctx.Done()
			return struct{}{}, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func submit(ctx context.Context, t *testing.T, e *Engine, q Request) *Job {
	t.Helper()
	j, err := e.Submit(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestIDsGoOn(t *testing.T) {
	e := slowEngine(t)
	var kept []uint32
	e.Number(41, func(id uint32) { kept = append(kept, id) })
	done := make(chan struct{})
	close(done)
	for want := range uint32(3) {
		if j := submit(t.Context(), t, e, slow{Go: done}); j.ID() != 42+want {
			t.Errorf("id %d, want %d", j.ID(), 42+want)
		}
	}
	if len(kept) != 3 || kept[2] != 44 {
		t.Errorf("kept %v", kept)
	}
}

func TestLoad(t *testing.T) {
	e := slowEngine(t)
	release := make(chan struct{})
	if l := e.Load(); !l.Idle() {
		t.Errorf("at first %+v", l)
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := submit(ctx, t, e, slow{Go: release, Subject: "a"})
	second := submit(ctx, t, e, slow{Go: release, Subject: "a"})
	own := submit(ctx, t, e, tail{})
	theirs := submit(WithCaller(ctx, Caller{Transport: REST}), t, e, tail{})
	if l := e.Load(); l != (Load{Changes: 2, Follows: 1}) {
		t.Errorf("%+v, want two jobs, one waiting, and one follower: the daemon's own does not count", l)
	}
	close(release)
	cancel()
	for _, j := range []*Job{first, second, own, theirs} {
		<-j.Done()
	}
	if l := e.Load(); !l.Idle() {
		t.Errorf("at the end %+v", l)
	}
}

func TestOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := slowEngine(t)
		release := make(chan struct{})
		j := submit(t.Context(), t, e, slow{Go: release, Subject: "a"})
		waits := submit(t.Context(), t, e, slow{Go: release, Subject: "a"})
		<-time.After(59 * time.Second)
		if late := e.Overdue(); len(late) != 0 {
			t.Errorf("overdue too early: %v", late[0].ID())
		}
		j.Report(Progress{Phase: "alive"})
		<-time.After(59 * time.Second)
		if late := e.Overdue(); len(late) != 0 {
			t.Errorf("progress does not count: %v", late[0].ID())
		}
		<-time.After(2 * time.Second)
		if late := e.Overdue(); len(late) != 1 || late[0] != j {
			t.Errorf("overdue are %v, want job %d alone: the one behind it waits", late, j.ID())
		}
		close(release)
		<-waits.Done()
		if late := e.Overdue(); len(late) != 0 {
			t.Error("overdue though it has ended")
		}
	})
}

func TestStalledWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := slowEngine(t)
		ctx, cancel := context.WithCancel(t.Context())
		hold, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			e.Watch(ctx, func(Notice) { <-hold })
		}()
		synctest.Wait()
		if d := e.Stalled(); d != 0 {
			t.Errorf("stalled for %v with nothing to do", d)
		}
		release := make(chan struct{})
		close(release)
		submit(t.Context(), t, e, slow{Go: release})
		<-time.After(time.Minute)
		if d := e.Stalled(); d != time.Minute {
			t.Errorf("stalled for %v, want a minute", d)
		}
		close(hold)
		synctest.Wait()
		if d := e.Stalled(); d != 0 {
			t.Errorf("stalled for %v after it went on", d)
		}
		cancel()
		<-ended
	})
}

// The books are right at every moment, whatever goes on; and each kind of
// damage is found.
func TestCheck(t *testing.T) {
	e := slowEngine(t)
	release := make(chan struct{})
	var jobs []*Job
	for i := range 30 {
		jobs = append(jobs, submit(t.Context(), t, e, slow{Go: release, Subject: string(rune('a' + i%3))}))
		if err := e.Check(); err != nil {
			t.Fatal(err)
		}
	}
	for _, j := range jobs[10:20] {
		go func() { _ = j.Cancel() }()
	}
	close(release)
	for _, j := range jobs {
		if err := e.Check(); err != nil {
			t.Fatal(err)
		}
		<-j.Done()
	}
	for name, damage := range map[string]func(e *Engine, first, second *Job){
		"counted":      func(e *Engine, _, _ *Job) { e.active++ },
		"filed under":  func(e *Engine, _, second *Job) { second.id = 77 },
		"last one was": func(e *Engine, _, _ *Job) { e.lastID = 1 },
		"stands still": func(e *Engine, first, _ *Job) { first.state = Waiting },
		"before its":   func(e *Engine, _, second *Job) { second.state = Running },
		"unknown":      func(e *Engine, _, second *Job) { delete(e.jobs, second.id); e.active-- },
		"twice":        func(e *Engine, _, second *Job) { e.queues["a"] = append(e.queues["a"], second) },
		"empty":        func(e *Engine, _, _ *Job) { e.queues["b"] = nil },
		"which is of":  func(e *Engine, _, second *Job) { second.key = "c" },
		"has ended":    func(e *Engine, _, second *Job) { close(second.done); e.active-- },
	} {
		e := slowEngine(t)
		release := make(chan struct{})
		first, second := submit(t.Context(), t, e, slow{Go: release, Subject: "a"}), submit(t.Context(), t, e, slow{Go: release, Subject: "a"})
		e.mu.Lock()
		damage(e, first, second)
		e.mu.Unlock()
		var corrupt *CorruptError
		if err := e.Check(); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: found %v", name, err)
		}
	}
}
