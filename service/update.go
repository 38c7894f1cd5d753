// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/request"
)

// update changes the limits and the restart policy of a container. One that
// runs gets them first: what it cannot have is not recorded.
func (s *Service) update(ctx context.Context, _ *engine.Job, q davit.ContainerUpdate) ([]string, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return nil, err
	}
	before := c.record()
	if before.State.Status == davit.StatusRemoving || before.State.Status == davit.StatusDead {
		return nil, davit.Errorf(davit.UpdateConflict, "Cannot update container %s: container is marked for removal and cannot be \"update\"", c.id)
	}
	after := before.HostConfig
	warnings, err := request.Update(&after, &q, &s.facts)
	if err != nil {
		return nil, err
	}
	if err := s.updateLive(ctx, c, &after); err != nil {
		return nil, err
	}
	if err := s.keepUpdate(c, &after); err != nil {
		return nil, errors.Join(err, s.updateLive(context.WithoutCancel(ctx), c, &before.HostConfig))
	}
	s.emitContainer("update", c, nil)
	return warnings, nil
}

// agree gives a container that was adopted what its record says: a predecessor
// may have died between the two halves of an update, which nobody was told is
// done. So the record counts.
func (s *Service) agree(ctx context.Context, c *container) {
	ctx, cancel := context.WithTimeout(ctx, adoptPatience)
	defer cancel()
	rec := c.record()
	if err := s.updateLive(ctx, c, &rec.HostConfig); err != nil && davit.CodeOf(err) != davit.NotSupported {
		s.log.Warn("cannot tell that a container has the limits of its record", "container", rec.Name, "container_id", rec.ID, "error", err)
	}
}

// updateLive gives the container's process what there is in h, if it has one.
func (s *Service) updateLive(ctx context.Context, c *container, h *davit.HostConfig) error {
	proc, err := c.process()
	if davit.CodeOf(err) == davit.ContainerNotRunning {
		return nil
	}
	if err != nil {
		return err
	}
	updater, ok := proc.(davit.Updater)
	if !ok {
		return davit.Errorf(davit.NotSupported, "this runtime cannot limit a container that runs: stop it")
	}
	err = updater.Update(ctx, h.Resources, &h.RestartPolicy)
	if errors.Is(err, os.ErrClosed) || davit.CodeOf(err) == davit.ContainerNotRunning {
		return nil // it has ended meanwhile
	}
	return err
}

// keepUpdate records it.
func (s *Service) keepUpdate(c *container, h *davit.HostConfig) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	rec := c.record()
	rec.HostConfig = *h
	if err := s.State.PutContainer(&rec); err != nil {
		return err
	}
	c.update(func(r *davit.Container) { r.HostConfig = *h })
	return nil
}
