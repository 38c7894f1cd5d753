// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// TestWaitIsCut has the daemon leave while docker wait waits: it prints no exit
// status, and fails with the reason.
func TestWaitIsCut(t *testing.T) {
	d := openDoor(t)
	begun := make(chan struct{})
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Wait) (davit.Exit, error) {
		q.Ready()
		close(begun)
		<-ctx.Done()
		return davit.Exit{}, ctx.Err()
	})
	type result struct {
		out, errs string
		code      int
	}
	got := make(chan result, 1)
	go func() {
		out, errs, code := docker(t, d, "", "wait", "web")
		got <- result{out, errs, code}
	}()
	<-begun
	d.stop()
	if r := within(t, "the end of docker wait", got); r.out != "" || r.code == 0 || !strings.Contains(r.errs, "cannot wait for container web: ") {
		t.Errorf("docker wait gave %+v", r)
	}
}
