// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
)

// withRoot calls f with a directory that is the container's root: that of its
// process while it runs, else a mount of its own.
func (s *Service) withRoot(ctx context.Context, ref string, f func(root string) error) error {
	c, err := s.find(ref)
	if err != nil {
		return err
	}
	return s.enterRoot(ctx, c, rootView{
		live: func(p davit.Process) (*os.File, error) { return liveRoot(c, p.Pid()) }, with: c.record().Mounts,
	}, f)
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
