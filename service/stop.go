// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/request"
	"github.com/davit-engine/davit/service/volumes"
)

const (
	sigTerm = 15
	sigKill = 9
	// defaultStopTimeout is Docker's.
	defaultStopTimeout = 10 * time.Second
	// killTimeout bounds the wait after KILL: past it the process is stuck in
	// the kernel.
	killTimeout = 10 * time.Second
)

// stop ends a container: signal, wait, KILL.
func (s *Service) stop(ctx context.Context, _ *engine.Job, q davit.Stop) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	if !c.record().State.Running() {
		return davit.Nothing{}, davit.Errorf(davit.AlreadySo, "container %s is already stopped", c.name())
	}
	if err := s.end(ctx, c, q.Signal, q.Timeout); err != nil {
		return davit.Nothing{}, err
	}
	s.emitContainer("stop", c, nil)
	return davit.Nothing{}, nil
}

// end stops a running container and returns once its exit is recorded.
func (s *Service) end(ctx context.Context, c *container, name string, timeout *time.Duration) error {
	proc, err := c.process()
	if davit.CodeOf(err) == davit.MonitorUnreachable {
		return err
	}
	if err != nil {
		return nil // it has ended by itself
	}
	rec := c.record()
	if name == "" {
		name = rec.Config.StopSignal
	}
	sig := sigTerm
	if name != "" {
		if sig, err = request.Signal(name); err != nil {
			return err
		}
	}
	wait := defaultStopTimeout
	if rec.Config.StopTimeout != nil {
		wait = time.Duration(*rec.Config.StopTimeout) * time.Second
	}
	if timeout != nil {
		wait = *timeout
	}
	s.wantStopped(c)
	if err := s.signal(ctx, c, proc, sig); err != nil {
		return err
	}
	if wait < 0 {
		return c.awaitExit(ctx)
	}
	gone, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := c.awaitExit(gone); err == nil || ctx.Err() != nil {
		return err
	}
	return s.killAndWait(ctx, c, proc)
}

// wantStopped notes that a user wants the container down. With a restart
// policy that is written first: a daemon that dies before the container does
// must not have its successor start it again.
func (s *Service) wantStopped(c *container) {
	c.saving.Lock()
	defer c.saving.Unlock()
	rec := c.update(s.markStopped)
	if p := rec.HostConfig.RestartPolicy.Name; p == "" || p == "no" || !rec.State.Running() {
		return
	}
	if err := s.State.PutContainer(&rec); err != nil {
		s.log.Warn("cannot record a stop", "container", rec.Name, "container_id", rec.ID, "error", err)
	}
}

func (s *Service) killAndWait(ctx context.Context, c *container, proc davit.Process) error {
	if err := s.signal(ctx, c, proc, sigKill); err != nil {
		return err
	}
	return awaitKilled(ctx, c)
}

// awaitKilled waits for the exit of a container that was killed.
func awaitKilled(ctx context.Context, c *container) error {
	gone, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := c.awaitExit(gone); err != nil {
		return davit.Errorf(davit.Failed, "container %s did not exit within %v of SIGKILL: its process is stuck in the kernel: %w", c.name(), killTimeout, err)
	}
	return nil
}

// signal sends a signal that is to end the container.
func (s *Service) signal(ctx context.Context, c *container, proc davit.Process, sig int) error {
	err := proc.Signal(ctx, sig, true)
	if isOver(err) {
		return nil // its exit is on the way
	}
	if err == nil && c.record().State.Status != davit.StatusRestarting { // nobody is there to get it, then
		s.emitContainer("kill", c, map[string]string{"signal": itoa(sig)})
	}
	return err
}

// isOver says of the error of a signal that the container has ended by itself.
func isOver(err error) bool {
	return errors.Is(err, os.ErrClosed) || davit.CodeOf(err) == davit.ContainerNotRunning
}

// kill sends one signal.
func (s *Service) kill(ctx context.Context, _ *engine.Job, q davit.Kill) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	sig := sigKill
	if q.Signal != "" {
		if sig, err = request.Signal(q.Signal); err != nil {
			return davit.Nothing{}, err
		}
	}
	proc, err := c.process()
	if err != nil {
		return davit.Nothing{}, davit.Errorf(davit.ContainerNotRunning, "cannot kill container: %s: %w", q.Container, err)
	}
	rec := c.record()
	stopSignal := sigTerm
	if rec.Config.StopSignal != "" {
		stopSignal, _ = request.Signal(rec.Config.StopSignal) // checked at create
	}
	if sig == sigKill {
		s.wantStopped(c)
		return davit.Nothing{}, s.killAndWait(ctx, c, proc)
	}
	if sig == stopSignal {
		s.wantStopped(c)
		return davit.Nothing{}, s.signal(ctx, c, proc, sig)
	}
	if err := proc.Signal(ctx, sig, false); err != nil {
		return davit.Nothing{}, err
	}
	s.emitContainer("kill", c, map[string]string{"signal": itoa(sig)})
	return davit.Nothing{}, s.wake(ctx, c)
}

// wake lets a paused container go on that was sent a signal, as Docker does: it
// could not see it. A pause of the engine's own is left to end.
func (s *Service) wake(ctx context.Context, c *container) error {
	if rec := c.record(); rec.State.Status != davit.StatusPaused || rec.State.PausedByEngine {
		return nil
	}
	freezer, err := c.freezer()
	if err != nil {
		return nil //nolint:nilerr // it has ended meanwhile
	}
	return s.thaw(ctx, c, freezer)
}

// restart stops the container, if it runs, and starts it.
func (s *Service) restart(ctx context.Context, j *engine.Job, q davit.Restart) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	ran := c.record().State.Running()
	if err := s.end(ctx, c, q.Signal, q.Timeout); err != nil {
		return davit.Nothing{}, err
	}
	if ran {
		s.emitContainer("stop", c, nil)
	}
	if _, err := engine.Do(ctx, s.eng, davit.Start{Container: c.id}); err != nil {
		return davit.Nothing{}, err
	}
	s.emitContainer("restart", c, nil)
	return davit.Nothing{}, nil
}

// remove removes a container. A forced one does not wait for its turn to
// kill: a stop may be giving the container a minute.
func (s *Service) remove(ctx context.Context, _ *engine.Job, q davit.Delete) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	if proc, err := c.process(); err == nil && q.Force {
		s.wantStopped(c)
		if err := s.signal(ctx, c, proc, sigKill); err != nil {
			return davit.Nothing{}, err
		}
	}
	return engine.Do(ctx, s.eng, davit.Destroy{Container: c.id, Force: q.Force, Volumes: q.Volumes})
}

// destroy removes a container with all that it has. The record goes first:
// what a crash leaves behind it, the next start cleans.
func (s *Service) destroy(ctx context.Context, j *engine.Job, q davit.Destroy) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	if c.record().State.Running() {
		if !q.Force && c.record().State.Status == davit.StatusPaused {
			return davit.Nothing{}, davit.Errorf(davit.ContainerPaused, "cannot remove container %q: container is paused and must be unpaused first", "/"+c.name())
		}
		if !q.Force {
			return davit.Nothing{}, davit.Errorf(davit.ContainerRunning, "cannot remove container %q: container is %s: stop the container before removing or force remove", "/"+c.name(), c.record().State.Status)
		}
		proc, err := c.process()
		if davit.CodeOf(err) == davit.MonitorUnreachable {
			return davit.Nothing{}, err
		}
		if err == nil {
			// Again, and not told again: it may have been started since [Service.remove]
			// killed it.
			c.update(s.markStopped)
			err := proc.Signal(ctx, sigKill, true)
			if err == nil || isOver(err) {
				err = awaitKilled(ctx, c)
			}
			if err != nil {
				return davit.Nothing{}, err
			}
		}
	}
	if err := j.PointOfNoReturn(); err != nil {
		return davit.Nothing{}, err
	}
	rec := c.update(func(r *davit.Container) { r.State.Status = davit.StatusRemoving })
	if err := s.State.DeleteContainer(c.id); err != nil {
		c.update(func(r *davit.Container) { r.State.Status = davit.StatusDead })
		return davit.Nothing{}, err
	}
	errs := errors.Join(s.Runtime.Forget(c.id), s.Rootfs.Remove(c.id), os.RemoveAll(s.dir(c.id)))
	if q.Volumes {
		errs = errors.Join(errs, s.removeAnonymous(&rec))
	}
	s.forget(c)
	s.emitContainer("destroy", c, nil)
	return davit.Nothing{}, errs
}

// forget takes the container out of the tables and tells who waits for that.
func (s *Service) forget(c *container) {
	s.mu.Lock()
	delete(s.containers, c.id)
	for name, id := range s.names {
		if id == c.id {
			delete(s.names, name)
		}
	}
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = true
	c.wakeLocked()
}

// removeAnonymous removes the container's unnamed volumes that nobody else
// uses.
func (s *Service) removeAnonymous(rec *davit.Container) error {
	var errs error
	for _, m := range rec.Mounts {
		if m.Type != "volume" {
			continue
		}
		v, err := s.Volumes.Get(m.Name)
		if err != nil || !v.Anonymous || s.usedByOther(m.Name, rec.ID) {
			continue
		}
		err = s.Volumes.Remove(m.Name)
		if err == nil {
			s.events.Emit(volumes.Destroyed(m.Name))
		}
		if davit.CodeOf(err) == davit.VolumeInUse {
			continue // a container is being made with it
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// rename gives the container another name. The service's mutex is not held while
// the record is written: whoever removes an image holds the database, and asks
// then which containers there are.
func (s *Service) rename(_ context.Context, _ *engine.Job, q davit.Rename) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	name := strings.TrimPrefix(q.Name, "/")
	if err := request.CheckName(name); err != nil {
		return davit.Nothing{}, err
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	if name == c.name() {
		return davit.Nothing{}, davit.Errorf(davit.InvalidName, "Renaming a container with the same name as its current name: %s", name)
	}
	if err := s.takeName(c, name); err != nil {
		return davit.Nothing{}, err
	}
	rec := c.record()
	old := rec.Name
	rec.Name = name
	if err := s.State.PutContainer(&rec); err != nil {
		s.dropName(c, name)
		return davit.Nothing{}, err
	}
	c.update(func(r *davit.Container) { r.Name = name })
	s.dropName(c, old)
	s.emitContainer("rename", c, map[string]string{"oldName": "/" + old})
	return davit.Nothing{}, nil
}

// resize sets the size of the container's terminal.
func (s *Service) resize(ctx context.Context, _ *engine.Job, q davit.Resize) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	proc, err := c.process()
	if err != nil {
		return davit.Nothing{}, err
	}
	if err := proc.Resize(ctx, q.Rows, q.Columns); err != nil {
		return davit.Nothing{}, err
	}
	s.emitContainer("resize", c, map[string]string{"height": itoa(int(q.Rows)), "width": itoa(int(q.Columns))})
	return davit.Nothing{}, nil
}

// markStopped notes that a user ended the container, and in which boot of the
// host: a policy of always holds again after the next one.
func (s *Service) markStopped(r *davit.Container) {
	r.State.StoppedByAPI, r.State.StoppedBoot = true, s.facts.BootID
}
