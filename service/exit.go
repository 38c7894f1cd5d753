// SPDX-License-Identifier: Apache-2.0

package service

import (
	"cmp"
	"context"
	"errors"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// follow turns what a monitor tells into changes of the record, until the
// container has ended or the service closes.
func (s *Service) follow(c *container, proc davit.Process) {
	s.watching.Go(func() {
		for {
			select {
			case u, ok := <-proc.Updates():
				if !ok {
					return
				}
				s.apply(c, u)
			case <-s.done:
				return
			}
		}
	})
}

// apply makes one update true.
func (s *Service) apply(c *container, u davit.Update) {
	switch u.Status {
	case davit.StatusRunning, davit.StatusPaused:
		s.applyRunning(c, u)
	case davit.StatusRestarting:
		told := false
		rec := c.update(func(r *davit.Container) {
			told = r.State.OOMKilled
			r.State.Status, r.State.Pid = davit.StatusRestarting, 0
			r.State.ExitCode, r.State.OOMKilled = u.Exit.Code, u.Exit.OOMKilled
			r.State.FinishedAt, r.Restarts = u.Exit.At, u.Restarts
			// Who waits for an exit has one, as in Docker. The lock of c is held.
			c.exits++
			c.lastEnd = u.Exit
		})
		s.events.Die(&rec, u.Exit, told)
	case davit.StatusExited, davit.StatusDead:
		if _, err := engine.Do(s.base, s.eng, davit.Exited{Container: c.id, Exit: u.Exit}); err != nil {
			s.log.Error("cannot record an exit", "container", c.name(), "container_id", c.id, "error", err)
		}
		if u.Status == davit.StatusDead {
			s.restartLost(c)
		}
	}
}

// restartLost starts a container whose monitor was killed, if its restart
// policy wants it to run: the one who keeps the policy is gone.
func (s *Service) restartLost(c *container) {
	rec := c.record()
	policy := rec.HostConfig.RestartPolicy.Name
	if rec.State.StoppedByAPI || policy == "" || policy == "no" {
		return
	}
	s.log.Warn("the monitor of a container was lost; its restart policy starts it again", "container", rec.Name, "container_id", rec.ID)
	if _, err := s.eng.Submit(s.base, davit.Start{Container: c.id}); err != nil {
		s.log.Error("cannot start a container again", "container", rec.Name, "container_id", rec.ID, "error", err)
	}
}

// applyRunning records that the container runs, or is paused. Who waits for
// that finds its event, too.
func (s *Service) applyRunning(c *container, u davit.Update) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.wakeLocked()
	r := &c.rec
	before := r.State.Status
	c.identify(u.Pid)
	r.State.Status, r.State.Pid = u.Status, u.Pid
	r.State.ExitCode = 0
	if !u.StartedAt.IsZero() {
		r.State.StartedAt = u.StartedAt
	}
	r.Restarts, r.State.AppArmor = u.Restarts, cmp.Or(u.AppArmor, r.State.AppArmor)
	if before == davit.StatusRestarting {
		r.State.OOMKilled = false
		s.events.Container("start", r, nil)
	}
	if u.OOM {
		r.State.OOMKilled = true
		s.events.Container("oom", r, nil)
	}
	s.applyHealthLocked(r, u)
	switch {
	case before != davit.StatusPaused && u.Status == davit.StatusPaused:
		s.events.Container("pause", r, nil)
	case before == davit.StatusPaused && u.Status == davit.StatusRunning:
		s.events.Container("unpause", r, nil)
	}
}

// exited records the end of a container: its network is given back first, so
// that whoever waits for the end can use its ports at once.
func (s *Service) exited(ctx context.Context, _ *engine.Job, q davit.Exited) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	var errs error
	if len(c.record().Endpoints) > 0 {
		_, err := engine.Do(ctx, s.eng, davit.ReleaseInterface{Container: c.id})
		errs = errors.Join(errs, err)
	}
	errs = errors.Join(errs, s.recordExit(c, q.Exit))
	if c.record().HostConfig.AutoRemove {
		// Not a child: it would be waited for by the job that waits for this one.
		// Not forced: a restart has it running again by then.
		_, err := s.eng.Submit(engine.Detached(ctx), davit.Delete{Container: c.id, Volumes: true})
		errs = errors.Join(errs, err)
	}
	return davit.Nothing{}, errs
}

// recordExit writes the record and only then lets the runtime forget the
// exit: a crash between the two finds it again. Who waits for the end finds its
// event, too.
func (s *Service) recordExit(c *container, x davit.Exit) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	next := c.copyLocked()
	c.mu.Unlock()
	// Stopped while it waited for its next run: this end was told at its time.
	waited := next.State.Status == davit.StatusRestarting && next.State.FinishedAt.Equal(x.At)
	told := next.State.OOMKilled
	next.State.Status, next.State.Pid, next.State.PausedByEngine = davit.StatusExited, 0, false
	next.State.ExitCode, next.State.OOMKilled = x.Code, x.OOMKilled
	next.State.FinishedAt, next.State.Error = x.At, x.Error
	err := s.State.PutContainer(&next)
	if err == nil {
		err = s.Runtime.Forget(c.id)
	}
	s.execs.Drop(c.id)
	c.mu.Lock()
	defer c.mu.Unlock()
	next.State.StoppedByAPI, next.State.StoppedBoot = c.rec.State.StoppedByAPI, c.rec.State.StoppedBoot
	c.rec.State = next.State
	c.proc = nil
	c.exits++
	c.lastEnd = x
	if !waited {
		s.events.Die(&c.rec, x, told)
	}
	s.events.Unmounted(&c.rec)
	c.wakeLocked()
	return err
}
