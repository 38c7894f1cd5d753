// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// late are requests whose handlers come while jobs run already.
type (
	late0 struct{ davit.Returns[int] }
	late1 struct{ davit.Returns[int] }
	late2 struct{ davit.Returns[int] }
	late3 struct{ davit.Returns[int] }
)

func (late0) JobType() string { return "late0" }
func (late1) JobType() string { return "late1" }
func (late2) JobType() string { return "late2" }
func (late3) JobType() string { return "late3" }

func registerLate[Q engine.Typed[int]](e *engine.Engine) error {
	return engine.Register(e, engine.Type[Q]{}, func(context.Context, *engine.Job, Q) (int, error) { return 1, nil })
}

// TestFault02_HandlersAreRegisteredWhileJobsRun is for the race detector: in
// 1.2 the boot filled a bare map while the API read it.
func TestFault02_HandlersAreRegisteredWhileJobsRun(t *testing.T) {
	e := engine.New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	must(t, engine.Register(e, engine.Type[ask]{Class: engine.Query}, func(context.Context, *engine.Job, ask) (int, error) { return 42, nil }))
	registers := []func(*engine.Engine) error{registerLate[late0], registerLate[late1], registerLate[late2], registerLate[late3]}
	var all sync.WaitGroup
	errs := make(chan error, 3*len(registers))
	for i, register := range registers {
		all.Go(func() { errs <- register(e) })
		all.Go(func() {
			_, err := engine.Do(t.Context(), e, ask{})
			errs <- err
		})
		all.Go(func() {
			// It may not be there yet; looking it up must do no harm.
			_, _ = e.NewRequest("late"+strconv.Itoa(i), func(any) error { return nil })
			e.Types()
			errs <- nil
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		must(t, err)
	}
	if n := len(e.Types()); n != len(registers)+1 {
		t.Errorf("%d types are registered, want %d", n, len(registers)+1)
	}
	for _, q := range []engine.Typed[int]{late0{}, late1{}, late2{}, late3{}} {
		j, err := e.Submit(t.Context(), q)
		must(t, err)
		if got, err := j.Wait(t.Context()); got != 1 || err != nil {
			t.Errorf("%s: %v, %v", q.JobType(), got, err)
		}
	}
}
