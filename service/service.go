// SPDX-License-Identifier: Apache-2.0

package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/logconfig"
	"github.com/davit-engine/davit/service/access"
	"github.com/davit-engine/davit/service/bootlist"
	"github.com/davit-engine/davit/service/events"
	"github.com/davit-engine/davit/service/exec"
	"github.com/davit-engine/davit/service/images"
	"github.com/davit-engine/davit/service/listing"
	"github.com/davit-engine/davit/service/streams"
	"github.com/davit-engine/davit/service/system"
	"github.com/davit-engine/davit/service/volumes"
)

// Drivers are the hands of the service. Bus may be nil.
type Drivers struct {
	Runtime  Runtime
	Network  Network // nil when networking is disabled (--bridge=none)
	Resolver Resolver
	State    State
	Images   images.Store
	Rootfs   RootfsStore
	Volumes  VolumeStore
	Files    Files
	Registry images.Registry
	REST     Door
	Gate     Gate
	Bus      Door
}

// Options configure a [Service].
type Options struct {
	Engine *engine.Engine
	Log    *slog.Logger
	Config davit.Config
	Facts  davit.HostFacts
	// Binds says which paths of the host callers without run-privileged may
	// mount; nil: none.
	Binds access.Binder
	// Missing tells whether a path is not there on the host as monitors see it;
	// nil: nobody can tell before they look.
	Missing func(path string) bool
	// AppArmor tells whether a profile is loaded now; nil: none is.
	AppArmor func(profile string) bool
	// Configuration is the daemon's part in a reload.
	Configuration system.Configuration
	Drivers
}

// Service owns the state of the engine.
type Service struct {
	Drivers
	eng     *engine.Engine
	log     *slog.Logger
	facts   davit.HostFacts
	rules   *access.Rules
	missing func(path string) bool
	loaded  func(profile string) bool // into AppArmor
	images  *images.Service
	execs   *exec.Sessions
	lists   *listing.Lister

	keeper   *volumes.Keeper // is Volumes too
	filling  sync.Mutex      // held while volumes take what images have
	boots    *bootlist.List  // of containers that come back with the host
	config   atomic.Pointer[davit.Config]
	engineID string
	events   *events.Log

	mu         sync.Mutex
	containers map[string]*container
	names      map[string]string // name -> id
	networks   []davit.Network

	base     context.Context // of jobs that no request stands behind; set by Boot
	status   func(string)    // what the start is about; set by Boot
	api, bus *door
	failed   chan error     // capacity 2: one of each door
	watching sync.WaitGroup // goroutines that follow monitors
	done     chan struct{}  // closed by Close
}

// New returns a service with its handlers registered. It reads nothing yet:
// [Service.Boot] does.
func New(o Options) (*Service, error) {
	s := &Service{
		Drivers: o.Drivers, eng: o.Engine, log: o.Log, facts: o.Facts, missing: o.Missing,
		events:     events.New(),
		containers: map[string]*container{}, names: map[string]string{},
		done: make(chan struct{}), failed: make(chan error, 2),
	}
	if s.loaded = o.AppArmor; s.loaded == nil {
		s.loaded = func(string) bool { return false }
	}
	s.config.Store(&o.Config)
	s.boots = bootlist.New(filepath.Join(o.Config.DataRoot, "boot.d"), o.Log)
	s.State = listed{o.State, s.boots}
	s.keeper = volumes.NewKeeper(o.Volumes, s.volumeHolders)
	s.Volumes = s.keeper
	if o.Binds == nil {
		o.Binds = noBinds{}
	}
	s.rules = access.NewRules(parts{s}, o.Binds)
	s.lists = s.newLister()
	s.execs = exec.New(parts{s}, s.events, newID)
	return s, s.register(o)
}

// register fills the engine's table.
func (s *Service) register(o Options) error {
	return errors.Join(s.registerBoot(), s.registerContainers(), s.registerStreams(streams.New(parts{s})), s.newImages(), s.registerNetworks(), s.registerParts(o))
}

func (s *Service) registerContainers() error {
	e := s.eng
	exit := internal(beside(s, "", func(q davit.Exited) string { return q.Container }))
	exit.Fixed = true
	create := guarded(labelled(davit.ActionManageContainers, func(q davit.Create) string { return cmp.Or(q.Name, q.Config.Image) }), s.rules.Create)
	create.Pin = s.pinCreate
	run := guarded(labelled(davit.ActionManageContainers, func(q davit.Run) string { return cmp.Or(q.Create.Name, q.Create.Config.Image) }), s.rules.Run)
	run.Pin = func(q davit.Run) davit.Run { q.Create = s.pinCreate(q.Create); return q }
	return errors.Join(
		engine.Register(e, create, s.create),
		engine.Register(e, run, s.run),
		engine.Register(e, onContainer(s, davit.ActionManageContainers, func(q davit.Start) string { return q.Container }), s.start),
		engine.Register(e, onContainer(s, davit.ActionManageContainers, func(q davit.Stop) string { return q.Container }), s.stop),
		engine.Register(e, onContainer(s, davit.ActionManageContainers, func(q davit.Restart) string { return q.Container }), s.restart),
		engine.Register(e, onContainer(s, davit.ActionManageContainers, func(q davit.Pause) string { return q.Container }), s.pause),
		engine.Register(e, onContainer(s, davit.ActionManageContainers, func(q davit.Unpause) string { return q.Container }), s.unpause),
		// kill and resize do not queue: they must reach a container that a stop waits for.
		engine.Register(e, beside(s, davit.ActionManageContainers, func(q davit.Kill) string { return q.Container }), s.kill),
		engine.Register(e, engine.Type[davit.Resize]{Action: davit.ActionManageContainers, Class: engine.Query}, s.resize),
		// delete does not queue either: forced, it ends what a stop still waits for.
		engine.Register(e, beside(s, davit.ActionManageContainers, func(q davit.Delete) string { return q.Container }), s.remove),
		engine.Register(e, internal(onContainer(s, "", func(q davit.Destroy) string { return q.Container })), s.destroy),
		engine.Register(e, onContainer(s, davit.ActionManageContainers, func(q davit.Rename) string { return q.Container }), s.rename),
		engine.Register(e, onContainer(s, davit.ActionManageContainers, func(q davit.ContainerUpdate) string { return q.Container }), s.update),
		engine.Register(e, internal(beside(s, "", func(q davit.AllocateInterface) string { return q.Container })), s.allocateInterface),
		engine.Register(e, internal(beside(s, "", func(q davit.ReleaseInterface) string { return q.Container })), s.releaseInterface),
		engine.Register(e, exit, s.exited),
	)
}

func (s *Service) registerStreams(st *streams.Streams) error {
	e := s.eng
	return errors.Join(
		engine.Register(e, entering(s, engine.Type[davit.Attach]{Action: davit.ActionShell, Class: engine.Follow}, func(q *davit.Attach) *string { return &q.Container }), st.Attach),
		engine.Register(e, following(beside(s, davit.ActionReadLogs, func(q davit.Logs) string { return q.Container })), st.Logs),
		engine.Register(e, following(beside(s, davit.ActionInspect, func(q davit.Wait) string { return q.Container })), s.wait),
		engine.Register(e, engine.Type[davit.Events]{Action: davit.ActionInspect, Class: engine.Follow}, s.events.Follow),
		engine.Register(e, guarded(entering(s, engine.Type[davit.ExecCreate]{Action: davit.ActionExec}, func(q *davit.ExecCreate) *string { return &q.Exec.ContainerID }), s.rules.ExecCreate), s.execs.Create),
		engine.Register(e, guarded(engine.Type[davit.ExecStart]{Action: davit.ActionExec, Class: engine.Follow, Subject: s.sessionLabel}, s.rules.ExecStart), s.execs.Start),
		engine.Register(e, engine.Type[davit.ExecResize]{Action: davit.ActionExec, Class: engine.Query}, s.execs.Resize),
		engine.Register(e, engine.Type[davit.ExecKill]{Action: davit.ActionExec}, s.execs.Kill),
		engine.Register(e, engine.Type[davit.ExecInspect]{Action: davit.ActionInspect, Class: engine.Query}, s.execs.Inspect),
	)
}

// newImages makes the part that answers for images.
func (s *Service) newImages() (err error) {
	s.images, err = images.New(images.Options{
		Engine: s.eng, Store: s.Images, Registry: s.Registry, Containers: s.records, Find: s.findRecord, Emit: s.events.Emit, Happened: s.events.Container,
	})
	if err != nil {
		return err
	}
	commit := onContainer(s, davit.ActionManageImages, func(q davit.ContainerCommit) string { return q.Container })
	return engine.Register(s.eng, entering(s, commit, func(q *davit.ContainerCommit) *string { return &q.Container }), s.images.Commit)
}

func (s *Service) findRecord(ref string) (davit.Container, error) {
	c, err := s.find(ref)
	if err != nil {
		return davit.Container{}, err
	}
	return c.record(), nil
}

func (s *Service) registerNetworks() error {
	e := s.eng
	return errors.Join(
		engine.Register(e, engine.Type[davit.Networks]{Action: davit.ActionInspect, Class: engine.Query}, s.listNetworks),
		engine.Register(e, engine.Type[davit.NetworkInspect]{Action: davit.ActionInspect, Class: engine.Query}, s.inspectNetwork),
	)
}

// onContainer makes the jobs of a type wait for one another when they are
// about the same container, by whatever name they call it.
func onContainer[Q engine.Request](s *Service, action string, name func(Q) string) engine.Type[Q] {
	t := beside(s, action, name)
	t.Subject = func(q Q) (string, string) {
		c, err := s.find(name(q))
		if err != nil {
			return "", name(q)
		}
		return "container:" + c.id, c.name()
	}
	return t
}

// beside is for jobs about a container that do not wait for one another.
func beside[Q engine.Request](s *Service, action string, name func(Q) string) engine.Type[Q] {
	t := labelled(action, name)
	t.Attrs = attrsOf(s, name)
	return t
}

// attrsOf is what the log calls the container by that a request is about.
func attrsOf[Q engine.Request](s *Service, name func(Q) string) func(Q) []slog.Attr {
	return func(q Q) []slog.Attr {
		c, err := s.find(name(q))
		if err != nil {
			return nil // the label is all that is known
		}
		return c.attrs()
	}
}

// following makes the jobs of a type last as long as their caller.
func following[Q engine.Request](t engine.Type[Q]) engine.Type[Q] {
	t.Class = engine.Follow
	return t
}

// internal closes a type to the front doors.
func internal[Q engine.Request](t engine.Type[Q]) engine.Type[Q] {
	t.Internal = true
	return t
}

// labelled says what the jobs of a type are about without making them wait
// for one another.
func labelled[Q engine.Request](action string, label func(Q) string) engine.Type[Q] {
	return engine.Type[Q]{Action: action, Subject: func(q Q) (string, string) { return "", label(q) }}
}

// find looks a container up by id, name or unambiguous prefix of the id.
func (s *Service) find(ref string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[ref]; c != nil {
		return c, nil
	}
	if c := s.containers[s.names[strings.TrimPrefix(ref, "/")]]; c != nil {
		return c, nil
	}
	var found *container
	for id, c := range s.containers {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, davit.Errorf(davit.AmbiguousName, "multiple containers have an id that starts with %s: give more digits", ref)
		}
		found = c
	}
	if found == nil {
		return nil, davit.Errorf(davit.NoSuchContainer, "No such container: %s", ref)
	}
	return found, nil
}

// all returns the containers, in no order.
func (s *Service) all() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		out = append(out, c)
	}
	return out
}

// records returns copies of the records of all containers, in no order.
func (s *Service) records() []davit.Container {
	all := s.all()
	out := make([]davit.Container, 0, len(all))
	for _, c := range all {
		out = append(out, c.record())
	}
	return out
}

func (s *Service) cfg() *davit.Config { return s.config.Load() }

// dir is a container's own directory under the data root.
func (s *Service) dir(id string) string { return filepath.Join(s.cfg().DataRoot, "containers", id) }

// logPath is where a container's log is; "" when it keeps none, or none in a
// file.
func (s *Service) logPath(c *davit.Container) string {
	switch c.HostConfig.LogConfig.Type {
	case logconfig.None, logconfig.Journald:
		return ""
	case logconfig.Local:
		return filepath.Join(s.dir(c.ID), "local-logs", "container.log")
	}
	return filepath.Join(s.dir(c.ID), c.ID+"-json.log")
}

// Close waits for what follows the monitors; the containers go on.
func (s *Service) Close() error {
	close(s.done)
	s.execs.Close()
	s.watching.Wait()
	return nil
}

func newID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand.Read
	return hex.EncodeToString(b)
}

func invalid(format string, args ...any) error {
	return davit.Errorf(davit.InvalidConfiguration, "%w", fmt.Errorf(format, args...))
}
