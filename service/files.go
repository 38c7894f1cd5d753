// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/linux"
)

// withRoot calls f with a directory that is the container's root: that of its
// process while it runs, else a mount of its own.
func (s *Service) withRoot(ctx context.Context, ref string, f func(c *container, root string) error) error {
	c, err := s.find(ref)
	if err != nil {
		return err
	}
	return s.enterRoot(ctx, c, rootView{
		live: func(p davit.Process) (*os.File, error) { return liveRoot(c, p.Pid()) }, with: c.record().Mounts,
	}, func(root string) error { return f(c, root) })
}

// rootView is how the root of a container is to be seen.
type rootView struct {
	live func(davit.Process) (*os.File, error) // of one that runs
	with []davit.Mount                         // what is mounted in it, when it does not run
}

func (s *Service) enterRoot(ctx context.Context, c *container, v rootView, f func(root string) error) error {
	proc, err := c.process()
	if davit.CodeOf(err) == davit.MonitorUnreachable {
		return err
	}
	if err != nil {
		release, err := c.holdRoot(ctx)
		if err != nil {
			return err
		}
		defer release()
		if proc, err = c.process(); err != nil { // else it was started meanwhile
			dir, unmount, err := s.Rootfs.Mount(c.id, v.with...)
			if err != nil {
				return err
			}
			return errors.Join(f(dir), unmount())
		}
	}
	root, err := v.live(proc)
	if err != nil {
		return err
	}
	defer root.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d", root.Fd()))
}

// liveRoot opens the root of a process: the number may be another process's by
// the time that it is used.
func liveRoot(c *container, pid int) (*os.File, error) {
	if pid == 0 {
		return nil, davit.Errorf(davit.ContainerBusy, "container %s is restarting: wait until it runs", c.name())
	}
	root, err := linux.OpenPath(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return nil, davit.Errorf(davit.ContainerNotRunning, "container %s has just ended: %w", c.name(), err)
	}
	c.mu.Lock()
	started := c.start
	c.mu.Unlock()
	if now, err := linux.ProcessStart(pid); err != nil || now != started {
		return nil, errors.Join(davit.Errorf(davit.ContainerNotRunning, "container %s has just ended", c.name()), root.Close())
	}
	return root, nil
}

// notFound puts the container's name to a missing path, in Docker's words.
func notFound(err error, path, ref string) error {
	if davit.CodeOf(err) != davit.NoSuchFile {
		return err
	}
	return davit.Errorf(davit.NoSuchFile, "Could not find the file %s in container %s", path, ref)
}

func (s *Service) statPath(ctx context.Context, _ *engine.Job, q davit.ContainerStatPath) (st davit.FileStat, err error) {
	err = s.withRoot(ctx, q.Container, func(_ *container, root string) (err error) {
		st, err = s.Files.Stat(root, q.Path)
		return notFound(err, q.Path, q.Container)
	})
	return st, err
}

func (s *Service) copyOut(ctx context.Context, _ *engine.Job, q davit.ContainerCopy) (davit.Nothing, error) {
	return davit.Nothing{}, s.withRoot(ctx, q.Container, func(c *container, root string) error {
		st, err := s.Files.Stat(root, q.Path)
		if err != nil {
			return notFound(err, q.Path, q.Container)
		}
		w, err := q.Open(st)
		if err != nil {
			return err
		}
		s.emitContainer("archive-path", c, nil)
		return s.Files.Copy(ctx, root, q.Path, w)
	})
}

func (s *Service) copyIn(ctx context.Context, _ *engine.Job, q davit.ContainerExtract) (davit.Nothing, error) {
	return davit.Nothing{}, s.withRoot(ctx, q.Container, func(c *container, root string) error {
		if c.record().HostConfig.ReadonlyRootfs {
			return davit.Errorf(davit.AccessDenied, "container rootfs is marked read-only")
		}
		if err := s.Files.Extract(ctx, root, q.Path, q); err != nil {
			return notFound(err, q.Path, q.Container)
		}
		s.emitContainer("extract-to-dir", c, nil)
		return nil
	})
}
