// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/petname"
	"github.com/davit-engine/davit/service/inside"
	"github.com/davit-engine/davit/service/request"
)

// create makes the record of a container, its writable layer and its volumes.
func (s *Service) create(ctx context.Context, j *engine.Job, q davit.Create) (davit.Created, error) {
	var none davit.Created
	name := strings.TrimPrefix(q.Name, "/")
	if name != "" {
		if err := request.CheckName(name); err != nil {
			return none, err
		}
	}
	img, err := s.Images.Get(q.Config.Image)
	if err != nil {
		return none, err
	}
	if err := request.CheckModes(&q.Config, &q.HostConfig); err != nil {
		return none, err
	}
	if err := request.CheckPlatform(&img, q.Platform, q.Config.Image); err != nil {
		return none, err
	}
	rec := davit.Container{
		ID: newID(), Name: name, Created: time.Now().UTC(), ImageID: img.ID, ImageRef: q.Config.Image,
		Config: request.Merge(q.Config, img.Config), HostConfig: q.HostConfig, MAC: q.MAC, State: davit.State{Status: davit.StatusCreated},
	}
	warnings, err := s.completeConfig(&rec)
	if err != nil {
		return none, err
	}
	c := newContainer(rec)
	err = j.Step(ctx, "reserve name", func(context.Context) error { return s.reserve(c) },
		func(context.Context) error { s.dropName(c, c.rec.Name); return nil })
	if err != nil {
		return none, err
	}
	j.Annotate(c.attrs()...)
	defer s.keeper.Release(c.id) // it is published then, or undone next
	if err := s.makeContainer(ctx, j, c, img); err != nil {
		return none, err
	}
	s.publish(c)
	s.emitContainer("create", c, nil)
	return davit.Created{ID: c.id, Warnings: warnings}, nil
}

// makeContainer makes what a container is on disk; the record comes last and
// makes it true.
func (s *Service) makeContainer(ctx context.Context, j *engine.Job, c *container, img davit.Image) error {
	err := j.Step(ctx, "make directory",
		func(context.Context) error { return os.MkdirAll(s.dir(c.id), 0o700) },
		func(context.Context) error { return os.RemoveAll(s.dir(c.id)) })
	if err != nil {
		return err
	}
	mounted, err := s.mountedImages(c.rec.Mounts)
	if err != nil {
		return err
	}
	err = j.Step(ctx, "make writable layer",
		func(context.Context) error { return s.Rootfs.Create(c.id, img, mounted...) },
		func(context.Context) error { return s.Rootfs.Remove(c.id) })
	if err != nil {
		return err
	}
	if c.rec.Config.WorkingDir != img.Config.WorkingDir {
		if err := j.Step(ctx, "look for the working directory", func(context.Context) error { return s.checkWorkingDir(&c.rec) }, nil); err != nil {
			return err
		}
	}
	if err := s.makeVolumes(ctx, j, c); err != nil {
		return err
	}
	return j.Step(ctx, "write record", func(context.Context) error { return s.State.PutContainer(&c.rec) }, nil)
}

// checkWorkingDir refuses a working directory that is a file of the image, or
// below one. What the container mounts is not looked at: it may be made later.
func (s *Service) checkWorkingDir(rec *davit.Container) error {
	name := path.Clean(rec.Config.WorkingDir)
	if name == "/" || inside.InMount(rec, name) {
		return nil
	}
	dir, release, err := s.Rootfs.Mount(rec.ID)
	if err != nil {
		return err
	}
	_, err = s.Files.Stat(dir, name+"/.")
	switch davit.CodeOf(err) {
	case davit.InvalidConfiguration:
		err = invalid("Cannot mkdir: %s is not a directory: it cannot be the working directory", name)
	case davit.NoSuchFile:
		err = nil // it is made by the start
	}
	return joinRelease(err, release)
}

// reserve takes the container's name, making one up when it has none.
func (s *Service) reserve(c *container) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.rec.Name != "" {
		return s.takeNameLocked(c, c.rec.Name)
	}
	for try := range 10 {
		name := petname.New()
		if try > 4 {
			name += "_" + c.id[:4]
		}
		if _, taken := s.names[name]; !taken {
			c.rec.Name = name
			s.names[name] = c.id
			return nil
		}
	}
	c.rec.Name = davit.ShortID(c.id)
	s.names[c.rec.Name] = c.id
	return nil
}

func nameConflict(name, holder string) error {
	return davit.Errorf(davit.NameConflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, holder)
}

// takeName gives the container a name, beside the one that it has, so that
// nobody else takes it.
func (s *Service) takeName(c *container, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeNameLocked(c, name)
}

func (s *Service) takeNameLocked(c *container, name string) error {
	if holder, taken := s.names[name]; taken {
		return nameConflict(name, holder)
	}
	s.names[name] = c.id
	return nil
}

// dropName takes a name from the container.
func (s *Service) dropName(c *container, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] == c.id {
		delete(s.names, name)
	}
}

// publish makes the container visible.
func (s *Service) publish(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[c.id] = c
}

// completeConfig checks the configuration and fills in the defaults. It
// returns warnings for the user.
func (s *Service) completeConfig(r *davit.Container) ([]string, error) {
	if r.HostConfig.NetworkMode == "" || r.HostConfig.NetworkMode == "default" {
		r.HostConfig.NetworkMode = "bridge"
	}
	r.HostConfig.LogConfig = request.CompleteLog(r.HostConfig.LogConfig, davit.LogConfig{Type: s.cfg().LogDriver, Config: s.cfg().LogOpts}, s.Runtime.Name())
	if err := s.checkJoined(&r.HostConfig); err != nil {
		return nil, err
	}
	request.Namespaces(r, &s.facts)
	r.HostConfig.Ulimits = request.WithDefaults(r.HostConfig.Ulimits, s.cfg().DefaultUlimits)
	argv := slices.Concat(r.Config.Entrypoint, r.Config.Cmd)
	if len(argv) == 0 {
		return nil, invalid("no command specified")
	}
	r.Path, r.Args = argv[0], argv[1:]
	if err := s.nameHost(r); err != nil {
		return nil, err
	}
	if r.HostConfig.ShmSize == 0 {
		r.HostConfig.ShmSize = 64 << 20
	}
	if s.Network == nil && r.HostConfig.NetworkMode == "bridge" {
		return nil, davit.Errorf(davit.NotSupported, "networking is disabled (--bridge=none): use --network none or host")
	}
	if err := request.CheckParent(r.HostConfig.CgroupParent, s.Runtime.Name() == "systemd"); err != nil {
		return nil, err
	}
	warnings, err := request.Check(r, &s.facts)
	if err != nil {
		return nil, err
	}
	if err := s.checkProfile(&r.HostConfig); err != nil {
		return nil, err
	}
	if h := &r.HostConfig; len(h.DNS)+len(h.DNSSearch)+len(h.DNSOptions) > 0 {
		if _, err := s.Resolver.ResolvConf(h.DNS, h.DNSSearch, h.DNSOptions); err != nil {
			return nil, err
		}
	}
	if _, err := request.Ports(r, s.cfg().IP); err != nil {
		return nil, err
	}
	if r.HostConfig.NetworkMode == "host" && len(r.HostConfig.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	return warnings, request.Mounts(r, s.lookup())
}

// nameHost gives the container the name of whoever's network or UTS namespace
// it is in, or else one of its own.
func (s *Service) nameHost(r *davit.Container) error {
	owner, err := s.networkOwner(r)
	switch {
	case err != nil:
		return err
	case owner.ID != r.ID:
		r.Config.Hostname, r.Config.Domainname = owner.Config.Hostname, owner.Config.Domainname
	case r.Config.Hostname != "":
	case r.HostConfig.NetworkMode == "host", r.HostConfig.UTSMode == "host":
		r.Config.Hostname = s.facts.Hostname
	default:
		r.Config.Hostname = davit.ShortID(r.ID)
	}
	return nil
}
