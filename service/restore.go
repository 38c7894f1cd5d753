// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// lostExit is the exit code of a container that ended without a record of
// how: the host went down. It is not 0, so that on-failure applies.
const lostExit = 255

// restoreParallel bounds how many monitors are spoken to at once.
const restoreParallel = 16

// restore reads the records, adopts the containers that still run, records
// the exits of those that ended meanwhile, and removes what belongs to no
// record.
func (s *Service) restore(ctx context.Context, j *engine.Job, _ davit.Restore) (davit.Nothing, error) {
	recs, err := s.State.Containers()
	if err != nil {
		return davit.Nothing{}, err
	}
	var ids []string
	for _, rec := range recs {
		c := newContainer(*rec)
		s.mu.Lock()
		s.containers[rec.ID] = c
		s.names[rec.Name] = rec.ID
		s.mu.Unlock()
		ids = append(ids, rec.ID)
	}
	known, err := s.Runtime.Known()
	if err != nil {
		return davit.Nothing{}, err
	}
	err = j.Step(ctx, "adopt containers", func(ctx context.Context) error {
		s.adoptAll(ctx, known)
		return nil
	}, nil)
	if err != nil {
		return davit.Nothing{}, err
	}
	for _, id := range known {
		if !slices.Contains(ids, id) {
			s.dropOrphan(ctx, id)
		}
	}
	s.boots.Sync(s.records())
	return davit.Nothing{}, j.Step(ctx, "drop what no container has", func(context.Context) error {
		return errors.Join(s.Rootfs.Keep(ids), s.keepDirs(ids))
	}, nil)
}

// adoptAll adopts the containers that run by their records, or of which the
// runtime knows, and tells how far it is.
func (s *Service) adoptAll(ctx context.Context, known []string) {
	all := slices.DeleteFunc(s.all(), func(c *container) bool {
		return !c.record().State.Running() && !slices.Contains(known, c.id)
	})
	var wg sync.WaitGroup
	var done atomic.Int32
	slots := make(chan struct{}, restoreParallel)
	for _, c := range all {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			s.adopt(ctx, c)
			s.status(fmt.Sprintf("Restoring containers (%d/%d)", done.Add(1), len(all)))
		})
	}
	wg.Wait()
}

// adopt takes over the monitor of one container, or records how it ended. A
// failure is this container's alone.
func (s *Service) adopt(ctx context.Context, c *container) {
	rec := c.record()
	proc, err := s.Runtime.Adopt(ctx, &rec)
	if err == nil {
		err = s.adoptProcess(ctx, c, proc)
		if err == nil {
			return
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		s.endAtRestore(c, davit.Exit{Code: lostExit, At: time.Now().UTC()})
		return
	}
	s.log.Error("cannot adopt container yet", "container", rec.Name, "container_id", rec.ID, "error", err)
	s.watching.Go(func() { s.adoptLater(c) }) //nolint:contextcheck // goes on after the restore, under the context of the boot
}

// adoptLater goes on trying to reach a monitor that is there and does not
// answer. Until then the container counts as running and keeps its network.
func (s *Service) adoptLater(c *container) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.done:
			return
		}
		rec := c.record()
		proc, err := s.Runtime.Adopt(s.base, &rec)
		switch {
		case err == nil:
			s.takeOver(c, proc)
			return
		case errors.Is(err, os.ErrNotExist):
			s.apply(c, davit.Update{Status: davit.StatusDead, Exit: davit.Exit{Code: lostExit, At: time.Now().UTC()}})
			return
		}
	}
}

// takeOver follows a monitor that was reached late.
func (s *Service) takeOver(c *container, proc davit.Process) {
	slow := time.NewTimer(adoptPatience)
	defer slow.Stop()
	select {
	case u, ok := <-proc.Updates():
		if !ok || u.Status == davit.StatusCreated { // never started: see adoptProcess
			ctx, cancel := context.WithTimeout(s.base, killTimeout)
			defer cancel()
			err := s.abandon(ctx, c.id, proc)
			s.log.Warn("ended a container that its daemon did not come to start", "container", c.name(), "container_id", c.id, "error", err)
			s.apply(c, davit.Update{Status: davit.StatusDead, Exit: davit.Exit{Code: lostExit, At: time.Now().UTC()}})
			return
		}
		c.mu.Lock()
		c.proc = proc
		c.mu.Unlock()
		s.apply(c, u)
		s.agree(s.base, c)
	case <-slow.C:
		c.mu.Lock()
		c.proc = proc
		c.mu.Unlock()
	case <-s.done:
		return
	}
	s.follow(c, proc)
}

func (s *Service) adoptProcess(ctx context.Context, c *container, proc davit.Process) error {
	slow := time.NewTimer(adoptPatience)
	defer slow.Stop()
	select {
	case u, ok := <-proc.Updates():
		switch {
		case !ok:
			return os.ErrNotExist
		case u.Status == davit.StatusExited || u.Status == davit.StatusDead:
			c.lost = u.Status == davit.StatusDead
			c.update(func(r *davit.Container) {
				if r.Restarts = u.Restarts; !u.StartedAt.IsZero() {
					r.State.StartedAt = u.StartedAt
				}
				if u.Health != nil {
					r.State.Health = u.Health
				}
			})
			s.endAtRestore(c, u.Exit)
			return nil
		case u.Status == davit.StatusCreated:
			// Its daemon died between creating and starting it.
			err := s.abandon(ctx, c.id, proc)
			return errors.Join(os.ErrNotExist, err)
		}
		c.mu.Lock()
		c.proc = proc
		c.mu.Unlock()
		s.apply(c, u)
		s.agree(ctx, c)
		s.follow(c, proc)
		s.log.Info("adopted container", "container", c.name(), "container_id", c.id, "pid", u.Pid)
		return nil
	case <-slow.C:
		// Its monitor is stuck, in a dead file system say. The others do not wait
		// for it: what it tells is heard when it comes.
		c.mu.Lock()
		c.proc = proc
		c.mu.Unlock()
		s.follow(c, proc)
		s.log.Warn("the monitor of a container does not tell its state yet", "container", c.name(), "container_id", c.id)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// adoptPatience is how long the restore waits for a monitor's first word.
const adoptPatience = 5 * time.Second

// endAtRestore records an exit that happened while there was no daemon. The
// network is not up yet: whatever the container had of it is not claimed, and
// so cleaned.
func (s *Service) endAtRestore(c *container, x davit.Exit) {
	c.update(func(r *davit.Container) { r.Endpoints = nil })
	if err := s.recordExit(c, x); err != nil {
		s.log.Error("cannot record an exit", "container", c.name(), "container_id", c.id, "error", err)
	}
}

// dropOrphan ends a monitor whose container has no record.
func (s *Service) dropOrphan(ctx context.Context, id string) {
	proc, err := s.Runtime.Adopt(ctx, &davit.Container{ID: id, Name: davit.ShortID(id)})
	if err == nil {
		err = s.abandon(ctx, id, proc)
	} else if errors.Is(err, os.ErrNotExist) {
		err = s.Runtime.Forget(id)
	}
	if err != nil {
		s.log.Warn("cannot remove what a container without a record left", "container_id", id, "error", err)
	}
}

// keepDirs removes the directories of containers that have no record.
func (s *Service) keepDirs(ids []string) error {
	base := filepath.Join(s.cfg().DataRoot, "containers")
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs error
	for _, e := range entries {
		if !slices.Contains(ids, e.Name()) {
			errs = errors.Join(errs, os.RemoveAll(filepath.Join(base, e.Name())))
		}
	}
	return errs
}

// Resume starts, in the background, the containers whose restart policy wants
// them to run and which no monitor has, removes the --rm ones that ended
// meanwhile, and lets go on what a predecessor paused for a while. It is called when the daemon is ready: nobody waits for it.
func (s *Service) Resume() error {
	var errs error
	var starts []string
	for _, c := range s.all() {
		rec := c.record()
		var q engine.Request
		switch policy := rec.HostConfig.RestartPolicy; {
		case rec.State.Status == davit.StatusPaused && rec.State.PausedByEngine:
			q = davit.Unpause{Container: c.id} // the job that had it paused is gone
		case rec.State.Running():
			continue
		case rec.HostConfig.AutoRemove && rec.State.Status != davit.StatusCreated:
			q = davit.Delete{Container: c.id, Volumes: true}
		case policy.Name == "always" && rec.State.StoppedByAPI && rec.State.StoppedBoot != s.facts.BootID:
			starts = append(starts, c.id) // the host was booted since it was stopped
			continue
		case rec.State.StoppedByAPI || rec.State.Status == davit.StatusCreated:
			continue
		case policy.Name == "always", policy.Name == "unless-stopped",
			policy.Name == "on-failure" && (rec.State.ExitCode == lostExit || c.lost):
			starts = append(starts, c.id)
			continue
		default:
			continue
		}
		if _, err := s.eng.Submit(s.base, q); err != nil {
			errs = errors.Join(errs, fmt.Errorf("cannot resume container %s: %w", rec.Name, err))
		}
	}
	return errors.Join(errs, s.startInOrder(starts))
}
