// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davit-engine/davit/engine"
)

func TestTheStartIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		began := time.Now()
		child := make(chan struct{})
		parent := func(ctx context.Context, j *engine.Job) (string, error) {
			return "", j.Step(ctx, "one step", func(ctx context.Context) error {
				<-child
				_, err := engine.Do(ctx, e, work{Subject: "child", Do: func(context.Context, *engine.Job) (string, error) { return "", nil }})
				return err
			}, nil)
		}
		nothing := func(context.Context, *engine.Job) (string, error) { return "", nil }
		j, err := e.Submit(t.Context(), work{Subject: "parent", Do: parent})
		must(t, err)
		_, err = e.Submit(engine.WithCaller(t.Context(), engine.Caller{Transport: engine.REST}), work{Subject: "a caller's", Do: nothing})
		must(t, err)
		<-time.After(time.Second)
		if s := e.Start(); !s.Ready.IsZero() || !s.Began.Equal(began) || len(s.Jobs) != 1 {
			t.Errorf("before the end of the start: %+v", s)
		}
		ready := time.Now()
		e.Started(ready)
		e.Started(ready.Add(time.Second))
		_, err = engine.Do(t.Context(), e, work{Subject: "later", Do: nothing})
		must(t, err)
		close(child)
		_, err = j.Wait(t.Context())
		must(t, err)
		<-time.After(2 * engine.RetainFor)
		if _, err := e.Job(j.ID()); err == nil {
			t.Error("the job has not been forgotten: the test proves nothing")
		}
		s := e.Start()
		if !s.Ready.Equal(ready) || len(s.Jobs) != 2 {
			t.Fatalf("%+v, want ready at %v and two jobs", s, ready)
		}
		if p, c := s.Jobs[0], s.Jobs[1]; p.Subject != "parent" || p.Result != engine.Done || len(p.Steps) != 1 || p.Steps[0].End.Sub(p.Steps[0].Begin) != time.Second ||
			c.Subject != "child" || c.Parent != p.ID {
			t.Errorf("got %+v", s.Jobs)
		}
	})
}

func TestProgressOfAChildIsItsParents(t *testing.T) {
	e := newEngine(t)
	report := func(_ context.Context, j *engine.Job) (string, error) {
		j.Report(engine.Progress{Phase: "Downloading", Item: "abc", Current: 1, Total: 2})
		return "", nil
	}
	j, err := e.Submit(t.Context(), work{Do: func(ctx context.Context, _ *engine.Job) (string, error) {
		return engine.Do(ctx, e, work{Do: report})
	}})
	must(t, err)
	_, err = j.Wait(t.Context())
	must(t, err)
	var got []engine.Progress
	must(t, j.Watch(t.Context(), func(p engine.Progress) error { got = append(got, p); return nil }))
	if len(got) != 1 || got[0].Item != "abc" {
		t.Errorf("the parent tells %+v", got)
	}
}
