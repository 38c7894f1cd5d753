// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// registerBoot registers the jobs that the daemon gives itself.
func (s *Service) registerBoot() error {
	e := s.eng
	return errors.Join(
		// Fixed: the doors stay open during the drain, to answer that the engine
		// is shutting down; a shutdown handler closes them.
		engine.Register(e, engine.Type[davit.ServeAPI]{Class: engine.Follow, Internal: true, Fixed: true}, s.serveAPI),
		engine.Register(e, engine.Type[davit.ServeBus]{Class: engine.Follow, Internal: true, Fixed: true}, s.serveBus),
		engine.Register(e, engine.Type[davit.Restore]{Internal: true}, s.restore),
		engine.Register(e, engine.Type[davit.InitNetworkDriver]{Internal: true}, s.initNetworkDriver),
		engine.Register(e, engine.Type[davit.ReapplyNetworks]{Action: davit.ActionManageNetworks}, s.reapplyNetworks),
		engine.Register(e, engine.Type[davit.AcceptConnections]{Internal: true}, s.acceptConnections),
	)
}

// door is a front door that serves: how to close it, and how it ended.
type door struct {
	listening chan struct{}
	ctx       context.Context // of its Serve; cancel closes the door
	cancel    context.CancelFunc
	job       *engine.Job // that serves it; nil: there is none
}

// Boot takes the daemon from nothing to serving, each step a job: listen,
// restore, network, bus, open the gate. status is told what is being done.
//
// base is the parent of everything that no request stands behind. When stop is
// closed Boot returns [context.Canceled]; what was begun ends with the shutdown.
func (s *Service) Boot(base context.Context, stop <-chan struct{}, status func(string)) error {
	s.base, s.status = base, status
	ctx, cancel := context.WithCancel(base)
	ended := make(chan struct{})
	defer func() { cancel(); <-ended }()
	go func() {
		defer close(ended)
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	s.api, s.bus = newDoor(base), newDoor(base)
	var err error
	if s.engineID, err = s.State.EngineID(); err != nil {
		return err
	}
	if s.facts.AppArmor && !s.loaded(davit.AppArmorDefault) {
		s.log.Warn(davit.AppArmorMissing)
	}
	status("Opening sockets")
	if err := s.openDoor(s.api, davit.ServeAPI{}); err != nil {
		return err
	}
	status("Restoring containers")
	if _, err := engine.Do(ctx, s.eng, davit.Restore{}); err != nil {
		return fmt.Errorf("cannot restore containers: %w", err)
	}
	status("Setting up the network")
	if _, err := engine.Do(ctx, s.eng, davit.InitNetworkDriver{}); err != nil {
		return fmt.Errorf("cannot set up the network: %w", err)
	}
	if s.Bus != nil {
		status("Connecting to the bus")
		if err := s.openDoor(s.bus, davit.ServeBus{}); err != nil {
			return err
		}
	}
	s.log.Info("davit "+davit.Release, "commit", davit.Commit, "storage", "overlay", "launcher", s.Runtime.Name(),
		"firewall", s.firewall(), "cgroup", s.facts.CgroupVersion, "containers", len(s.all()))
	_, err = engine.Do(ctx, s.eng, davit.AcceptConnections{})
	return err
}

func (s *Service) firewall() string {
	if s.Network == nil {
		return "none"
	}
	return s.Network.Backend()
}

// openDoor starts the job that serves a front door and returns once it
// listens.
func (s *Service) openDoor(d *door, q engine.Request) error {
	j, err := s.eng.Submit(s.base, q)
	if err != nil {
		return err
	}
	d.job = j
	err = s.eng.OnShutdown(engine.FrontDoors, q.JobType(), d.close)
	if err != nil {
		return err
	}
	select {
	case <-d.listening:
		s.watching.Go(func() { s.guard(j) })
		return nil
	case <-j.Done():
		_, err := j.Wait(s.base)
		return unlessSkipped(err)
	}
}

// close has the door serve what it took in, and returns when it is shut.
func (d *door) close(ctx context.Context) error {
	d.cancel()
	if d.job == nil {
		return nil
	}
	_, err := d.job.Wait(ctx)
	return unlessSkipped(err)
}

// CloseDoors closes the front doors ahead of a shutdown, while the engine still
// refuses nothing: the bus first, where a call may come until its name is
// released.
func (s *Service) CloseDoors(ctx context.Context) error {
	return errors.Join(s.bus.close(ctx), s.api.close(ctx))
}

// Counts returns how many containers there are, and how many run.
func (s *Service) Counts() (all, running int) {
	for _, c := range s.all() {
		if all++; c.record().State.Running() {
			running++
		}
	}
	return all, running
}

// unlessSkipped passes errors on, but not that there was nothing to serve: no
// bus on this host.
func unlessSkipped(err error) error {
	if davit.KindOf(err) == davit.NotModified {
		return nil
	}
	return err
}

// guard reports a door that ended by itself.
func (s *Service) guard(j *engine.Job) {
	select {
	case <-j.Done():
	case <-s.done:
		return
	}
	if _, err := j.Wait(s.base); unlessSkipped(err) != nil {
		select {
		case s.failed <- fmt.Errorf("%s: %w", j.Type(), err):
		default:
		}
	}
}

// Failed delivers why a front door ended although nobody closed it; the
// daemon then shuts down.
func (s *Service) Failed() <-chan error { return s.failed }

func newDoor(ctx context.Context) *door {
	ctx, cancel := context.WithCancel(ctx)
	return &door{listening: make(chan struct{}), ctx: ctx, cancel: cancel}
}

func (s *Service) serveAPI(context.Context, *engine.Job, davit.ServeAPI) (davit.Nothing, error) {
	return davit.Nothing{}, s.REST.Serve(s.api.ctx, func() { close(s.api.listening) }) //nolint:contextcheck // until the door is closed, whatever becomes of the job
}

func (s *Service) serveBus(context.Context, *engine.Job, davit.ServeBus) (davit.Nothing, error) {
	return davit.Nothing{}, s.Bus.Serve(s.bus.ctx, func() { close(s.bus.listening) }) //nolint:contextcheck // as the other door
}

func (s *Service) acceptConnections(context.Context, *engine.Job, davit.AcceptConnections) (davit.Nothing, error) {
	s.Gate.Open()
	return davit.Nothing{}, nil
}

// initNetworkDriver makes the default network and cleans up what no living
// container owns.
func (s *Service) initNetworkDriver(ctx context.Context, j *engine.Job, _ davit.InitNetworkDriver) (davit.Nothing, error) {
	var networks []davit.Network
	if s.Network != nil {
		live := s.liveEndpoints()
		err := j.Step(ctx, "set up the default network", func(ctx context.Context) error {
			n, err := s.Network.Init(ctx, live)
			networks = append(networks, n)
			return err
		}, nil)
		if err != nil {
			return davit.Nothing{}, err
		}
		if err := s.releaseEnded(ctx, live); err != nil {
			s.log.Warn("cannot release the network of a container that ended meanwhile", "error", err)
		}
	}
	known, err := s.State.Networks()
	if err != nil {
		return davit.Nothing{}, err
	}
	for name, driver := range map[string]string{"host": "host", "none": "null"} {
		n, err := s.builtIn(known, name, driver)
		if err != nil {
			return davit.Nothing{}, err
		}
		networks = append(networks, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.networks = networks
	return davit.Nothing{}, nil
}

// releaseEnded gives back what containers had that ended while the network
// came up: it was not there yet to be released.
func (s *Service) releaseEnded(ctx context.Context, live []davit.Endpoint) error {
	var errs error
	for _, ep := range live {
		same := func(o davit.Endpoint) bool { return o.EndpointID == ep.EndpointID }
		if c, err := s.find(ep.ContainerID); err == nil && slices.ContainsFunc(c.record().Endpoints, same) {
			continue
		}
		errs = errors.Join(errs, s.Network.Detach(ctx, ep))
		s.Network.Release(ep)
	}
	return errs
}

// builtIn returns the record of a network that is there on every host, and
// makes it at the first start so that its id stays the same.
func (s *Service) builtIn(known []davit.Network, name, driver string) (davit.Network, error) {
	for _, n := range known {
		if n.Name == name {
			return n, nil
		}
	}
	n := davit.Network{ID: newID(), Name: name, Driver: driver, Created: time.Now().UTC()}
	return n, s.State.PutNetwork(n)
}

func (s *Service) liveEndpoints() []davit.Endpoint {
	var live []davit.Endpoint
	for _, c := range s.all() {
		if rec := c.record(); rec.State.Running() {
			live = append(live, rec.Endpoints...)
		}
	}
	return live
}

func (s *Service) reapplyNetworks(ctx context.Context, _ *engine.Job, _ davit.ReapplyNetworks) (davit.Nothing, error) {
	if s.Network == nil {
		return davit.Nothing{}, davit.Errorf(davit.AlreadySo, "networking is disabled")
	}
	return davit.Nothing{}, s.Network.Reapply(ctx, s.liveEndpoints())
}
