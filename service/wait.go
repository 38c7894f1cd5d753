// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// wait follows a container until it meets the condition.
func (s *Service) wait(ctx context.Context, _ *engine.Job, q davit.Wait) (davit.Exit, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Exit{}, err
	}
	c.mu.Lock()
	exits := c.exits
	c.mu.Unlock()
	var met func(*container) bool
	switch q.Condition {
	case "", "not-running":
		met = func(c *container) bool { return !c.rec.State.Running() || c.exits > exits || c.removed }
	case "next-exit":
		met = func(c *container) bool { return c.exits > exits || c.removed }
	case "removed":
		met = func(c *container) bool { return c.removed }
	default:
		return davit.Exit{}, invalid("invalid condition: %q: use not-running, next-exit or removed", q.Condition)
	}
	if q.Ready != nil {
		q.Ready()
	}
	if err := c.await(ctx, met); err != nil {
		return davit.Exit{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exits > exits { // it may run again by now
		return davit.Exit{Code: c.lastEnd.Code, OOMKilled: c.lastEnd.OOMKilled, At: c.lastEnd.At}, nil
	}
	exit := davit.Exit{Code: c.rec.State.ExitCode, OOMKilled: c.rec.State.OOMKilled, At: c.rec.State.FinishedAt}
	if !c.removed {
		exit.Error = c.rec.State.Error // why the last start failed; the code alone does not say that nothing ran
	}
	return exit, nil
}
