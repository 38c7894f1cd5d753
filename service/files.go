// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

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
	if proc, err := c.process(); err == nil {
		return withLiveRoot(c, proc.Pid(), f)
	} else if davit.CodeOf(err) == davit.MonitorUnreachable {
		return err
	}
	release, err := c.holdRoot(ctx)
	if err != nil {
		return err
	}
	defer release()
	if proc, err := c.process(); err == nil { // it was started meanwhile
		return withLiveRoot(c, proc.Pid(), f)
	}
	dir, unmount, err := s.Rootfs.Mount(c.id, c.record().Mounts...)
	if err != nil {
		return err
	}
	return errors.Join(f(c, dir), unmount())
}

// withLiveRoot gives f the root of a process by a descriptor: the number may
// be another process's by the time that f uses it.
func withLiveRoot(c *container, pid int, f func(*container, string) error) error {
	if pid == 0 {
		return davit.Errorf(davit.ContainerBusy, "container %s is restarting: wait until it runs", c.name())
	}
	root, err := linux.OpenPath(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return davit.Errorf(davit.ContainerNotRunning, "container %s has just ended: %w", c.name(), err)
	}
	defer root.Close()
	c.mu.Lock()
	started := c.start
	c.mu.Unlock()
	if now, err := linux.ProcessStart(pid); err != nil || now != started {
		return davit.Errorf(davit.ContainerNotRunning, "container %s has just ended", c.name())
	}
	return f(c, fmt.Sprintf("/proc/self/fd/%d", root.Fd()))
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

// hostsFile is /etc/hosts of a container: hosts(5).
func hostsFile(rec *davit.Container) []byte {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	var gateway netip.Addr
	for _, ep := range rec.Endpoints {
		gateway = ep.Gateway
	}
	for _, h := range rec.HostConfig.ExtraHosts {
		name, addr, ok := strings.Cut(h, ":")
		if ok && addr == "host-gateway" && gateway.IsValid() {
			addr = gateway.String()
		}
		if ok {
			fmt.Fprintf(&b, "%s\t%s\n", addr, name)
		}
	}
	for _, ep := range rec.Endpoints {
		names := rec.Config.Hostname
		if rec.Config.Domainname != "" {
			names = rec.Config.Hostname + "." + rec.Config.Domainname + " " + names
		}
		fmt.Fprintf(&b, "%s\t%s\n", ep.Address.Addr(), names)
	}
	return []byte(b.String())
}
