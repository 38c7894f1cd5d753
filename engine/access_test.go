// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"context"
	"log/slog"
	"maps"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// open is a request about something that has a name and an id.
type open struct {
	davit.Returns[string]
	What string
}

func (open) JobType() string { return "open" }

// authorizer keeps what it was asked, and does something meanwhile.
type authorizer struct {
	asked []engine.Access
	do    func()
	err   error
}

func (a *authorizer) Authorize(_ context.Context, _ engine.Caller, q engine.Access) error {
	a.asked = append(a.asked, q)
	if a.do != nil {
		a.do()
	}
	return a.err
}

// TestWhatIsAuthorizedIsDone renames things while the caller is authorized:
// the job must be about what the name meant before.
func TestWhatIsAuthorizedIsDone(t *testing.T) {
	names := map[string]string{"door": "1", "safe": "2"}
	e := engine.New(slog.New(slog.DiscardHandler))
	must(t, engine.Register(e, engine.Type[open]{
		Class: engine.Query, Action: "look",
		Pin: func(q open) open {
			if id, ok := names[q.What]; ok {
				q.What = id
			}
			return q
		},
		Subject: func(q open) (string, string) { return "", q.What },
	}, func(_ context.Context, _ *engine.Job, q open) (string, error) {
		if id, ok := names[q.What]; ok {
			return id, nil
		}
		return q.What, nil
	}))
	a := &authorizer{do: func() { names["door"], names["safe"] = names["safe"], names["door"] }}
	e.SetAuthorizer(a)
	for _, tc := range []struct {
		caller engine.Caller
		want   string
	}{
		{engine.Caller{Transport: engine.REST, UID: 1000}, "1"},
		{engine.Caller{Transport: engine.REST, UID: engine.NoUID}, "2"}, // the first call has swapped them
	} {
		got, err := engine.Do(engine.WithCaller(t.Context(), tc.caller), e, open{What: "door"})
		if err != nil || got != tc.want {
			t.Errorf("uid %d opened %q (%v), want %q", tc.caller.UID, got, err, tc.want)
		}
	}
	want := map[string]string{"type": "open", "subject": "1"}
	if got := a.asked[0]; got.Action != "look" || !maps.Equal(got.Details, want) {
		t.Errorf("asked for %q with %v, want look with %v", got.Action, got.Details, want)
	}
}

// TestDetailsOfARequestStay checks that the type's own details win.
func TestDetailsOfARequestStay(t *testing.T) {
	e := engine.New(slog.New(slog.DiscardHandler))
	must(t, engine.Register(e, engine.Type[open]{Access: func(context.Context, open) engine.Access {
		return engine.Access{Action: "risky", Details: map[string]string{"reason": "it is", "subject": "mine"}}
	}, Subject: func(q open) (string, string) { return "", q.What }}, func(context.Context, *engine.Job, open) (string, error) { return "", nil }))
	a := &authorizer{err: engine.ErrDenied}
	e.SetAuthorizer(a)
	if _, err := engine.Do(engine.WithCaller(t.Context(), engine.Caller{Transport: engine.Bus, UID: 1}), e, open{What: "x"}); davit.CodeOf(err) != davit.AccessDenied {
		t.Fatalf("got %v, want a refusal", err)
	}
	want := map[string]string{"type": "open", "subject": "mine", "reason": "it is"}
	if got := a.asked[0]; got.Action != "risky" || !maps.Equal(got.Details, want) {
		t.Errorf("asked for %q with %v, want risky with %v", got.Action, got.Details, want)
	}
}
