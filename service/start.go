// SPDX-License-Identifier: Apache-2.0

package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/exec"
	"github.com/davit-engine/davit/service/request"
)

// run creates a container and starts it: what a caller wants who has no use
// for the moment between.
func (s *Service) run(ctx context.Context, j *engine.Job, q davit.Run) (davit.Created, error) {
	if _, err := s.Images.Get(q.Create.Config.Image); err != nil {
		if !q.Pull || davit.CodeOf(err) != davit.NoSuchImage {
			return davit.Created{}, err
		}
		if _, err := engine.Do(ctx, s.eng, davit.Pull{Reference: q.Create.Config.Image, Platform: q.Create.Platform}); err != nil {
			return davit.Created{}, err
		}
	}
	made, err := engine.Do(ctx, s.eng, q.Create)
	if err != nil {
		return made, err
	}
	if c, err := s.find(made.ID); err == nil {
		j.Annotate(c.attrs()...)
	}
	if _, err := engine.Do(ctx, s.eng, davit.Start{Container: made.ID}); err != nil {
		_, derr := engine.Do(context.WithoutCancel(ctx), s.eng, davit.Delete{Container: made.ID, Force: true, Volumes: true})
		if davit.CodeOf(derr) == davit.NoSuchContainer {
			derr = nil // --rm was quicker
		}
		return davit.Created{}, errors.Join(err, derr)
	}
	return made, nil
}

// start runs a container's process.
func (s *Service) start(ctx context.Context, j *engine.Job, q davit.Start) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	rec := c.record()
	switch {
	case rec.State.Status == davit.StatusPaused:
		return davit.Nothing{}, davit.Errorf(davit.ContainerPaused, "cannot start a paused container, try unpause instead")
	case rec.State.Running():
		return davit.Nothing{}, davit.Errorf(davit.AlreadySo, "container %s is already running", rec.Name)
	case rec.State.Status == davit.StatusRemoving:
		return davit.Nothing{}, davit.Errorf(davit.NameConflict, "container is marked for removal and cannot be started")
	}
	patience, cancel := context.WithTimeout(ctx, copyPatience)
	release, err := c.holdRoot(patience)
	cancel()
	if err != nil {
		return davit.Nothing{}, davit.Errorf(davit.ContainerBusy, "cannot start container %s: its files are still being copied: %w", rec.Name, err)
	}
	err = s.launch(ctx, j, c)
	release()
	if err != nil {
		s.recordFailure(c, err)
		if rec.HostConfig.AutoRemove {
			_, derr := s.eng.Submit(engine.Detached(ctx), davit.Delete{Container: c.id, Volumes: true})
			err = errors.Join(err, derr)
		}
		return davit.Nothing{}, err
	}
	return davit.Nothing{}, nil
}

// copyPatience is how long a start waits for a copy of the container's files.
const copyPatience = 10 * time.Second

// recordFailure keeps why a start failed, for inspect.
func (s *Service) recordFailure(c *container, cause error) {
	rec := c.update(func(r *davit.Container) {
		r.State.Error = cause.Error()
		r.State.ExitCode = exec.ExitStatus(cause)
	})
	rec.Endpoints = nil // those in memory are needed by the undo, which comes after this
	if err := s.State.PutContainer(&rec); err != nil {
		s.log.Warn("cannot record a failed start", "container", rec.Name, "container_id", rec.ID, "error", err)
	}
}

// launch takes the steps of a start: address, monitor, link, program.
func (s *Service) launch(ctx context.Context, j *engine.Job, c *container) error {
	defer c.closeHeld()
	c.update(func(r *davit.Container) { r.State.Error, r.State.StoppedByAPI, r.Restarts = "", false, 0 })
	begun := c.record()
	if err := errors.Join(s.checkDonors(&begun), s.checkProfile(&begun.HostConfig)); err != nil {
		return err
	}
	if begun.HostConfig.NetworkMode == "bridge" {
		err := j.Step(ctx, "allocate address",
			func(ctx context.Context) error {
				_, err := engine.Do(ctx, s.eng, davit.AllocateInterface{Container: c.id})
				return err
			},
			func(ctx context.Context) error {
				_, err := engine.Do(ctx, s.eng, davit.ReleaseInterface{Container: c.id})
				return err
			})
		if err != nil {
			return err
		}
	}
	// The record says running before it is: a crash in between then finds a
	// container that must be looked for, and not one that was never started.
	rec := c.update(func(r *davit.Container) { r.State.Unit = s.unitOf(r) })
	first := rec.State.StartedAt.IsZero()
	rec.State.Status, rec.State.StartedAt = davit.StatusRunning, time.Now().UTC()
	if err := s.State.PutContainer(&rec); err != nil {
		return err
	}
	proc, err := s.createProcess(ctx, j, &rec, first)
	if err != nil {
		return err
	}
	if err := s.connect(ctx, j, &rec, proc); err != nil {
		return err
	}
	c.waiting.Attach(ctx, proc)
	if err := j.PointOfNoReturn(); err != nil {
		return err
	}
	return j.Step(ctx, "start", func(ctx context.Context) error { return s.setOff(ctx, c, proc) }, nil)
}

// unitOf names the unit that a start of the container makes, if it makes one.
func (s *Service) unitOf(r *davit.Container) string {
	if namer, ok := s.Runtime.(UnitNamer); ok {
		return namer.Unit(r)
	}
	return ""
}

// createProcess has the runtime create the container, for the first time or again.
func (s *Service) createProcess(ctx context.Context, j *engine.Job, rec *davit.Container, first bool) (davit.Process, error) {
	root, err := s.Rootfs.Rootfs(rec.ID)
	if err != nil {
		return nil, err
	}
	files, err := s.generateFiles(rec)
	if err != nil {
		return nil, err
	}
	var proc davit.Process
	err = j.Step(ctx, "create process",
		func(ctx context.Context) (err error) {
			proc, err = s.Runtime.Create(ctx, davit.Launch{
				Container: rec, Rootfs: root, Files: files, Dir: s.dir(rec.ID), LogPath: s.logPath(rec),
				Hostname: rec.Config.Hostname, OwnNetns: ownNetwork(rec), First: first,
				Init: s.wantsInit(&rec.HostConfig),
			})
			if err != nil {
				return fmt.Errorf("failed to create task for container: %w", err)
			}
			return nil
		},
		func(ctx context.Context) error { return s.abandon(ctx, rec.ID, proc) })
	return proc, err
}

// abandon ends a process that was created for nothing.
func (s *Service) abandon(ctx context.Context, id string, proc davit.Process) error {
	err := proc.Signal(ctx, sigKill, true)
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	for {
		select {
		case _, ok := <-proc.Updates():
			if !ok {
				return errors.Join(err, s.Runtime.Forget(id))
			}
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// connect links the container's namespace to its network.
func (s *Service) connect(ctx context.Context, j *engine.Job, rec *davit.Container, proc davit.Process) error {
	for _, ep := range rec.Endpoints {
		err := j.Step(ctx, "attach network",
			func(ctx context.Context) error {
				ns, err := proc.Netns(ctx)
				if err != nil {
					return err
				}
				defer ns.Close()
				return s.Network.Attach(ctx, ep, ns)
			},
			func(ctx context.Context) error { return s.Network.Detach(ctx, ep) })
		if err != nil {
			return err
		}
	}
	return nil
}

// setOff lets the program begin and from then on follows its monitor.
func (s *Service) setOff(ctx context.Context, c *container, proc davit.Process) error {
	if err := proc.Start(ctx, c.held()); err != nil {
		return err
	}
	c.mu.Lock()
	c.proc = proc
	c.identify(proc.Pid())
	c.rec.State = davit.State{
		Status: davit.StatusRunning, Pid: proc.Pid(), StartedAt: time.Now().UTC(), FinishedAt: c.rec.State.FinishedAt,
		Health: starting(&c.rec.Config), Unit: s.unitOf(&c.rec), // known for certain since Create
		AppArmor: s.profileOf(&c.rec.HostConfig), // until the monitor tells
	}
	c.wakeLocked()
	c.mu.Unlock()
	c.waiting.Serve(proc) // who came while it started: not waited for
	rec := c.record()
	s.events.Mounted(&rec)
	s.events.Container("start", &rec, nil)
	s.follow(c, proc)
	return nil
}

// generateFiles makes the files that Docker puts into each container.
func (s *Service) generateFiles(rec *davit.Container) ([]davit.File, error) {
	h := &rec.HostConfig
	cfg := s.cfg()
	owner, err := s.networkOwner(rec)
	if err != nil {
		return nil, err
	}
	if owner.ID != rec.ID {
		dir := s.dir(owner.ID)
		return []davit.File{{Target: "/etc/hostname", Dir: dir}, {Target: "/etc/hosts", Dir: dir}, {Target: "/etc/resolv.conf", Dir: dir}}, nil
	}
	pick := func(own, daemon []string) []string {
		if len(own) > 0 {
			return own
		}
		return daemon
	}
	var hosts, resolv []byte
	own := h.NetworkMode != "host"
	if own {
		hosts = request.HostsFile(rec)
	} else if hosts, resolv, err = s.Resolver.HostFiles(); err != nil {
		return nil, err
	} else {
		hosts = request.WithExtraHosts(hosts, rec)
	}
	if own || len(h.DNS)+len(h.DNSSearch)+len(h.DNSOptions) > 0 {
		resolv, err = s.Resolver.ResolvConf(pick(h.DNS, cfg.DNS), pick(h.DNSSearch, cfg.DNSSearch), pick(h.DNSOptions, cfg.DNSOptions))
		if err != nil {
			return nil, err
		}
	}
	hostname := rec.Config.Hostname
	if hostname == "" {
		hostname = s.facts.Hostname
	}
	return []davit.File{
		{Target: "/etc/hostname", Content: []byte(hostname + "\n")},
		{Target: "/etc/hosts", Content: hosts},
		{Target: "/etc/resolv.conf", Content: resolv},
	}, nil
}

// allocateInterface reserves the container's address and ports.
func (s *Service) allocateInterface(ctx context.Context, _ *engine.Job, q davit.AllocateInterface) (davit.Endpoint, error) {
	var none davit.Endpoint
	c, err := s.find(q.Container)
	if err != nil {
		return none, err
	}
	rec := c.record()
	ports, err := request.Ports(&rec, s.cfg().IP)
	if err != nil {
		return none, err
	}
	ep, hold, err := s.Network.Allocate(ctx, c.id, ports)
	if err != nil {
		return none, err
	}
	ep.MAC = cmp.Or(rec.MAC, ep.MAC)
	c.hold(hold)
	c.update(func(r *davit.Container) { r.Endpoints = []davit.Endpoint{ep} })
	s.events.Network("connect", c.id, ep)
	return ep, nil
}

// releaseInterface takes the container off its networks and gives back its
// addresses and ports. It is idempotent.
func (s *Service) releaseInterface(ctx context.Context, _ *engine.Job, q davit.ReleaseInterface) (davit.Nothing, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	var errs error
	var had []davit.Endpoint
	// Out of the record first: releaseEnded looks there.
	c.update(func(r *davit.Container) { had, r.Endpoints = r.Endpoints, nil })
	for _, ep := range had {
		errs = errors.Join(errs, s.Network.Detach(ctx, ep))
		s.Network.Release(ep)
		s.events.Network("disconnect", c.id, ep)
	}
	return davit.Nothing{}, errs
}

func itoa(n int) string { return strconv.Itoa(n) }

// ownNetwork tells whether a container has a network namespace that nobody else
// has made.
func ownNetwork(rec *davit.Container) bool {
	_, joins := request.Joined(rec.HostConfig.NetworkMode)
	return !joins && rec.HostConfig.NetworkMode != "host"
}

// wantsInit tells whether a container is run below an init. One that has not a
// pid namespace of its own has the init of that which it is in.
func (s *Service) wantsInit(h *davit.HostConfig) bool {
	if h.PidMode != "" && h.PidMode != "private" {
		return false
	}
	if h.Init == nil {
		return s.cfg().Init
	}
	return *h.Init
}
