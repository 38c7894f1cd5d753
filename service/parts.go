// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/logconfig"
	"github.com/davit-engine/davit/service/access"
	"github.com/davit-engine/davit/service/bootlist"
	"github.com/davit-engine/davit/service/inside"
	"github.com/davit-engine/davit/service/listing"
	"github.com/davit-engine/davit/service/streams"
	"github.com/davit-engine/davit/service/system"
	"github.com/davit-engine/davit/service/volumes"
)

// registerParts registers the handlers of the packages below this one. What
// they need of the service they declare, and find in [parts].
func (s *Service) registerParts(o Options) error {
	p := parts{s}
	vols := volumes.New(s.Volumes, p)
	sys := system.New(system.Options{
		Engine: o.Engine, Log: o.Log, Facts: o.Facts, Launcher: o.Runtime.Name(), Host: p, Emit: p.Emit,
		Configuration: o.Configuration, AppArmor: s.loaded,
		Disk: disk{p, vols.Usage},
		Pruners: map[string]system.Pruner{
			"container": s.pruneContainers, "image": s.images.Prune, "volume": vols.Prune, "network": s.pruneNetworks,
		},
	})
	return errors.Join(sys.Register(), vols.Register(o.Engine), s.registerLists(), s.registerInside(p))
}

// registerInside registers the jobs that look into containers.
func (s *Service) registerInside(p parts) error {
	o := inside.Options{Host: p, Rootfs: s.Rootfs, Files: s.Files, Image: s.Images.Get, Top: s.Runtime.Top, NewID: newID, Memory: s.facts.MemTotal}
	if meter, ok := s.Runtime.(Meter); ok {
		o.Stats = meter.Stats
	}
	in, e := inside.New(o), s.eng
	return errors.Join(
		engine.Register(e, engine.Type[davit.ContainerChanges]{Action: davit.ActionInspect, Class: engine.Query}, in.Changes),
		engine.Register(e, entering(s, engine.Type[davit.Export]{Action: davit.ActionTransferFiles}, func(q *davit.Export) *string { return &q.Container }), in.Export),
		engine.Register(e, following(beside(s, davit.ActionInspect, func(q davit.Stats) string { return q.Container })), in.Stats),
		engine.Register(e, engine.Type[davit.OSRelease]{Action: davit.ActionInspect, Class: engine.Query}, in.OSRelease),
		engine.Register(e, guarded(engine.Type[davit.RootDirectory]{Class: engine.Query}, access.Descriptor[davit.RootDirectory]), in.RootDirectory),
		engine.Register(e, engine.Type[davit.Top]{Action: davit.ActionInspect, Class: engine.Query}, in.Top),
		engine.Register(e, entering(s, engine.Type[davit.ContainerStatPath]{Action: davit.ActionTransferFiles, Class: engine.Query}, func(q *davit.ContainerStatPath) *string { return &q.Container }), in.StatPath),
		engine.Register(e, entering(s, engine.Type[davit.ContainerCopy]{Action: davit.ActionTransferFiles}, func(q *davit.ContainerCopy) *string { return &q.Container }), in.CopyOut),
		engine.Register(e, entering(s, engine.Type[davit.ContainerExtract]{Action: davit.ActionTransferFiles}, func(q *davit.ContainerExtract) *string { return &q.Container }), in.CopyIn),
	)
}

// newLister makes the part that answers which containers there are.
func (s *Service) newLister() *listing.Lister {
	o := listing.Options{Host: parts{s}, Images: s.Images, Rootfs: s.Rootfs}
	if meter, ok := s.Runtime.(Meter); ok {
		o.Owner = meter.Owner
	}
	return listing.New(o)
}

func (s *Service) registerLists() error {
	return errors.Join(
		engine.Register(s.eng, engine.Type[davit.Containers]{Action: davit.ActionInspect, Class: engine.Query}, s.lists.List),
		engine.Register(s.eng, engine.Type[davit.ContainerInspect]{Action: davit.ActionInspect, Class: engine.Query}, s.lists.Inspect),
		engine.Register(s.eng, engine.Type[davit.ContainerByPID]{Action: davit.ActionInspect, Class: engine.Query}, s.lists.ByPID),
	)
}

// listed is a State whose containers are listed to come back with the host.
type listed struct {
	State
	boots *bootlist.List
}

// PutContainer stores a record. A container that is to come back is listed
// before: after a power cut between the two nobody would look.
func (l listed) PutContainer(c *davit.Container) error {
	l.boots.Announce(c)
	err := l.State.PutContainer(c)
	if err == nil {
		l.boots.Put(c)
	}
	return err
}

// DeleteContainer deletes a record.
func (l listed) DeleteContainer(id string) error {
	err := l.State.DeleteContainer(id)
	if err == nil {
		l.boots.Delete(id)
	}
	return err
}

// parts is the service as the packages below it see it.
type parts struct{ s *Service }

func (p parts) Records() []davit.Container { return p.s.records() }
func (p parts) EngineID() string           { return p.s.engineID }
func (p parts) Config() *davit.Config      { return p.s.cfg() }
func (p parts) SetConfig(c davit.Config)   { p.s.config.Store(&c) }
func (p parts) Listeners() int             { return p.s.events.Listeners() }
func (p parts) Emit(ev davit.Event)        { p.s.events.Emit(ev) }

// Probe takes the mutex that every request takes.
func (p parts) Probe() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
}

func (p parts) Firewall() string {
	if p.s.Network == nil {
		return ""
	}
	return p.s.Network.Backend()
}

func (p parts) Images() (int, error) {
	images, err := p.s.Images.List()
	return len(images), err
}

func (p parts) VolumeUsers(name string) []string { return p.s.volumeUsers(name) }

// volumeUsers returns the ids of the containers that mount the volume.
func (s *Service) volumeUsers(name string) []string {
	return s.mounting(name, func(*davit.Container) bool { return true })
}

// volumeHolders returns those of them that are not on their way out: a
// container's own volumes go with it.
func (s *Service) volumeHolders(name string) []string {
	return s.mounting(name, func(r *davit.Container) bool { return r.State.Status != davit.StatusRemoving })
}

func (s *Service) mounting(name string, means func(*davit.Container) bool) []string {
	var out []string
	for _, c := range s.all() {
		rec := c.record()
		if means(&rec) && slices.ContainsFunc(rec.Mounts, func(m davit.Mount) bool { return m.Type == "volume" && m.Name == name }) {
			out = append(out, rec.ID)
		}
	}
	slices.Sort(out)
	return out
}

// usedByOther tells whether a container other than id mounts the volume.
func (s *Service) usedByOther(name, id string) bool {
	return slices.ContainsFunc(s.volumeUsers(name), func(user string) bool { return user != id })
}

// disk tells what the engine keeps.
type disk struct {
	parts
	volumes func(context.Context) ([]davit.VolumeUsage, error)
}

func (d disk) Layers() (int64, error) { return d.s.Images.Size() }

// Images lists them for the daemon itself: the caller was asked about before.
func (d disk) Images(ctx context.Context) ([]davit.ImageSummary, error) {
	list, err := engine.Do(engine.WithCaller(ctx, engine.Caller{}), d.s.eng, davit.Images{})
	if err != nil {
		return nil, err
	}
	all, err := d.s.Images.List()
	if err != nil {
		return nil, err
	}
	shared := system.Shared(all)
	for i := range list {
		list[i].SharedSize = shared[list[i].ID]
	}
	return list, nil
}

func (d disk) Containers(ctx context.Context) ([]davit.ContainerInfo, error) {
	return d.s.lists.List(ctx, nil, davit.Containers{All: true, Size: true})
}

func (d disk) Volumes(ctx context.Context) ([]davit.VolumeUsage, error) { return d.volumes(ctx) }

// InRoot calls f with the root of a container.
func (p parts) InRoot(ctx context.Context, ref string, f func(root string) error) error {
	return p.s.withRoot(ctx, ref, f)
}

// BareRoot calls f with the root of a container in which nothing is mounted.
func (p parts) BareRoot(ctx context.Context, ref string, f func(root string) error) error {
	c, err := p.s.find(ref)
	if err != nil {
		return err
	}
	return p.s.enterRoot(ctx, c, rootView{live: func(proc davit.Process) (*os.File, error) {
		opener, ok := proc.(davit.RootOpener)
		if !ok {
			return nil, davit.Errorf(davit.NotSupported, "this runtime cannot read the files of a container that runs: stop it")
		}
		return opener.OpenRoot(ctx)
	}}, f)
}

// OpenRoot opens the root of a container that runs.
func (p parts) OpenRoot(ref string) (*os.File, error) {
	c, err := p.s.find(ref)
	if err != nil {
		return nil, err
	}
	proc, err := c.process()
	if err != nil {
		return nil, err
	}
	return liveRoot(c, proc.Pid())
}

// Happened publishes an event of a container.
func (p parts) Happened(action string, rec *davit.Container) { p.s.events.Container(action, rec, nil) }

// emitContainer publishes an event of a container.
func (s *Service) emitContainer(action string, c *container, more map[string]string) {
	rec := c.record()
	s.events.Container(action, &rec, more)
}

// Process returns the process of a container that runs.
func (p parts) Process(id string) (davit.Process, error) {
	c, err := p.s.find(id)
	if err != nil {
		return nil, err
	}
	return c.process()
}

func (p parts) LogFile(rec *davit.Container) string { return p.s.logPath(rec) }
func (p parts) Networks() []davit.Network           { return p.s.allNetworks() }
func (p parts) Sessions(id string) []string         { return p.s.execs.IDs(id) }

// FilesDir is where the files are that the engine makes for a container: who
// joins another's network has the other's.
func (p parts) FilesDir(rec *davit.Container) string {
	owner, err := p.s.networkOwner(rec)
	if err != nil || rec.State.StartedAt.IsZero() {
		return ""
	}
	return p.s.dir(owner.ID)
}

// LogPath is what users are told of a log's place: as Docker, nothing of the
// local driver's, whose format is the engine's own business.
func (p parts) LogPath(rec *davit.Container) string {
	if rec.HostConfig.LogConfig.Type == logconfig.Local {
		return ""
	}
	return p.s.logPath(rec)
}

// Queue is where those wait who attach to a container that does not run.
func (p parts) Queue(id string) (*streams.Queue, error) {
	c, err := p.s.find(id)
	if err != nil {
		return nil, err
	}
	return &c.waiting, nil
}

// AwaitExit returns when a container does not run.
func (p parts) AwaitExit(ctx context.Context, id string) error {
	c, err := p.s.find(id)
	if err != nil {
		return nil //nolint:nilerr // it is gone
	}
	return c.awaitExit(ctx)
}

// AwaitRemoval returns when there is no such container any more.
func (p parts) AwaitRemoval(ctx context.Context, id string) error {
	c, err := p.s.find(id)
	if err != nil {
		return nil //nolint:nilerr // it is gone
	}
	return c.await(ctx, func(c *container) bool { return c.removed })
}
