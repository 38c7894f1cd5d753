// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"

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
		return davit.Nothing{}, davit.Errorf(davit.ContainerBusy, "Container %s is restarting, wait until the container is running", rec.Name)
	}
	freezer, err := c.freezer()
	if err == nil {
		err = s.markBrief(c, q.Brief)
	}
	if err != nil {
		return davit.Nothing{}, err
	}
	if err := s.freeze(ctx, c, freezer, true); err != nil {
		return davit.Nothing{}, errors.Join(err, s.thaw(ctx, c, freezer))
	}
	return davit.Nothing{}, nil
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
	freezer, err := c.freezer()
	if err != nil {
		return davit.Nothing{}, err
	}
	return davit.Nothing{}, s.freeze(ctx, c, freezer, false)
}

// freezer returns the container's process as one that can be stopped.
func (c *container) freezer() (davit.Freezer, error) {
	proc, err := c.process()
	if err != nil {
		return nil, err
	}
	freezer, ok := proc.(davit.Freezer)
	if !ok {
		return nil, davit.Errorf(davit.NotSupported, "this runtime cannot pause containers")
	}
	return freezer, nil
}

// markBrief notes whether the pause that comes is the engine's own. One that is
// gets written first: a daemon that dies in it must not leave the container
// paused for ever.
func (s *Service) markBrief(c *container, brief bool) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	rec := c.update(func(r *davit.Container) { r.State.PausedByEngine = brief })
	if !brief || !rec.State.Running() {
		return nil
	}
	return s.State.PutContainer(&rec)
}

// thaw lets a container go on whose pause failed. A monitor that was asked may
// have stopped it all the same: its answer came late, or was not waited for.
func (s *Service) thaw(ctx context.Context, c *container, freezer davit.Freezer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*adoptPatience)
	defer cancel()
	err := s.freeze(ctx, c, freezer, false)
	if code := davit.CodeOf(err); err != nil && (code == davit.ContainerNotRunning || code == davit.ContainerBusy) {
		return nil // it has ended, or is about to
	}
	return err
}

// freeze returns when the record says what the container does: the update of
// its monitor came.
func (s *Service) freeze(ctx context.Context, c *container, freezer davit.Freezer, frozen bool) error {
	if err := freezer.Freeze(ctx, frozen); err != nil {
		return err
	}
	told, cancel := context.WithTimeout(ctx, adoptPatience)
	defer cancel()
	err := c.await(told, func(c *container) bool {
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
	if !frozen {
		rec = c.update(func(r *davit.Container) { r.State.PausedByEngine = false })
	}
	return s.State.PutContainer(&rec)
}
