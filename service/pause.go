// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// pause stops all processes of a container where they are.
func (s *Service) pause(ctx context.Context, _ *engine.Job, q davit.Pause) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	switch rec := c.record(); rec.State.Status {
	case davit.StatusPaused:
		return davit.Nothing{}, davit.Errorf(davit.ContainerPaused, "container %s is already paused", rec.Name)
	case davit.StatusRestarting:
		return davit.Nothing{}, davit.Errorf(davit.ContainerBusy, "container %s is restarting, wait until the container is running", rec.Name)
	}
	return davit.Nothing{}, s.freeze(ctx, c, true)
}

// unpause lets them go on.
func (s *Service) unpause(ctx context.Context, _ *engine.Job, q davit.Unpause) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	if rec := c.record(); rec.State.Status == davit.StatusRunning || rec.State.Status == davit.StatusRestarting {
		return davit.Nothing{}, davit.Errorf(davit.ContainerRunning, "container %s is not paused", rec.Name)
	}
	return davit.Nothing{}, s.freeze(ctx, c, false)
}

// freeze returns when the record says what the container does: the update of
// its monitor came.
func (s *Service) freeze(ctx context.Context, c *container, frozen bool) error {
	proc, err := c.process()
	if err != nil {
		return err
	}
	freezer, ok := proc.(davit.Freezer)
	if !ok {
		return davit.Errorf(davit.NotSupported, "this runtime cannot pause containers")
	}
	if err := freezer.Freeze(ctx, frozen); err != nil {
		return err
	}
	told, cancel := context.WithTimeout(ctx, adoptPatience)
	defer cancel()
	err = c.await(told, func(c *container) bool {
		return (c.rec.State.Status == davit.StatusPaused) == frozen || !c.rec.State.Running() || c.removed
	})
	if err != nil && ctx.Err() == nil { // a signal that was to stop it, say
		err = davit.Errorf(davit.ContainerBusy, "somebody else has changed container %s meanwhile: look at its state", c.name())
	}
	if err != nil {
		return err
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	rec := c.record()
	if !rec.State.Running() {
		return davit.Errorf(davit.ContainerNotRunning, "container %s has ended", rec.Name)
	}
	return s.State.PutContainer(&rec)
}
