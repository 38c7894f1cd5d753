// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/davit-engine/davit/engine"
)

// authority remembers whether the last caller said that a user can be asked.
type authority struct{ interactive atomic.Bool }

func (a *authority) Authorize(_ context.Context, c engine.Caller, _ engine.Access) error {
	a.interactive.Store(c.Interactive)
	return nil
}

// TestAsksToAuthenticate looks at the flag that the engine sees.
func TestAsksToAuthenticate(t *testing.T) {
	startBus(t)
	a := &serve(t).authority
	for _, tt := range []struct {
		args []string
		want bool
	}{{[]string{"list-jobs"}, true}, {[]string{"--no-ask-password", "list-jobs"}, false}} {
		a.interactive.Store(!tt.want)
		if r := try(t.Context(), tt.args...); r.code != 0 || a.interactive.Load() != tt.want {
			t.Errorf("%v: %+v; a user can be asked: %v", tt.args, r, a.interactive.Load())
		}
	}
}
