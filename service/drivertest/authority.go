// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/access"
)

// Polkit is a host's policy under test: an authority that goes by contrib/polkit
// and by one rule more, which refuses push-images to everybody.
type Polkit struct {
	access.Authority
	// As returns a caller who is in the group, or in none for "".
	As func(t *testing.T, group string) engine.Caller
	// Gone returns a caller whose process has ended.
	Gone func(t *testing.T) engine.Caller
	// Remove takes the authority off the host; Hang makes it not answer.
	Remove, Hang func(t *testing.T)
}

// TestAuthority checks an [access.Authority].
func TestAuthority(t *testing.T, open func(t *testing.T) Polkit) {
	t.Run("matrix", func(t *testing.T) { testAuthorityMatrix(t, open(t)) })
	t.Run("details", func(t *testing.T) {
		p := open(t)
		allowed, err := p.Check(t.Context(), p.As(t, "davit"), davit.ActionManageContainers, map[string]string{"type": "create", "subject": "wäb \x01"})
		if !allowed || err != nil {
			t.Errorf("got %v, %v", allowed, err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		p := open(t)
		wantNoAnswer(t, p, p.Gone(t))
	})
	t.Run("unknown user", func(t *testing.T) {
		p := open(t)
		wantNoAnswer(t, p, engine.Caller{Transport: engine.REST, UID: engine.NoUID})
	})
	t.Run("unknown action", func(t *testing.T) {
		p := open(t)
		if allowed, err := p.Check(t.Context(), p.As(t, "davit"), "no-such-thing", nil); allowed || err == nil || davit.CodeOf(err) == davit.NoAuthority {
			t.Errorf("got %v, %v; want an error that is not about a missing authority", allowed, err)
		}
	})
	t.Run("absent", func(t *testing.T) {
		p := open(t)
		who := p.As(t, "davit")
		p.Remove(t)
		allowed, err := p.Check(t.Context(), who, davit.ActionInspect, nil)
		if allowed {
			t.Error("an absent authority allows")
		}
		wantCode(t, err, davit.NoAuthority, "asking nobody")
	})
	t.Run("hangs", func(t *testing.T) {
		p := open(t)
		who := p.As(t, "davit")
		p.Hang(t)
		wantNoAnswer(t, p, who)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if allowed, err := p.Check(ctx, who, davit.ActionInspect, nil); allowed || !errors.Is(err, context.Canceled) {
			t.Errorf("with a caller who left: %v, %v", allowed, err)
		}
	})
}

// wantNoAnswer checks that the authority neither allows nor counts as absent.
func wantNoAnswer(t *testing.T, p Polkit, who engine.Caller) {
	t.Helper()
	allowed, err := p.Check(t.Context(), who, davit.ActionInspect, nil)
	if code := davit.CodeOf(err); allowed || err == nil || code == davit.NoAuthority || code == davit.AuthenticationRequired {
		t.Errorf("got %v, %v; want no answer", allowed, err)
	}
}

func testAuthorityMatrix(t *testing.T, p Polkit) {
	for _, group := range []string{"davit", davit.ObserversGroup, ""} {
		who := p.As(t, group)
		for _, action := range davit.Actions() {
			var want davit.Code // "" is a yes
			switch {
			case action == davit.ActionPushImages:
				want = davit.AccessDenied // a plain no, which has no error
			case group == "davit" && action != davit.ActionRunPrivileged:
			case group == davit.ObserversGroup && (action == davit.ActionInspect || action == davit.ActionReadLogs):
			default:
				want = davit.AuthenticationRequired
			}
			allowed, err := p.Check(t.Context(), who, action, nil)
			got := davit.CodeOf(err)
			switch {
			case err == nil && allowed:
				got = ""
			case err == nil:
				got = davit.AccessDenied
			}
			if got != want {
				t.Errorf("group %q, %s: %q (%v), want %q", group, action, got, err, want)
			}
		}
	}
}
