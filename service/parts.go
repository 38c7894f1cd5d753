// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/bootlist"
	"github.com/davit-engine/davit/service/system"
	"github.com/davit-engine/davit/service/volumes"
)

// registerParts registers the handlers of the packages below this one. What
// they need of the service they declare, and find in [parts].
func (s *Service) registerParts(o Options) error {
	p := parts{s}
	sys := system.New(system.Options{
		Engine: o.Engine, Log: o.Log, Facts: o.Facts, Launcher: o.Runtime.Name(), Host: p, Emit: p.Emit,
		Configuration: o.Configuration,
	})
	return errors.Join(sys.Register(), volumes.New(o.Volumes, p).Register(o.Engine))
}

// listed is a State whose containers are listed to come back with the host.
type listed struct {
	State
	boots *bootlist.List
}

// PutContainer stores a record.
func (l listed) PutContainer(c *davit.Container) error {
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
func (p parts) Emit(ev davit.Event)        { p.s.emit(ev) }

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
	var out []string
	for _, c := range s.all() {
		rec := c.record()
		if slices.ContainsFunc(rec.Mounts, func(m davit.Mount) bool { return m.Type == "volume" && m.Name == name }) {
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
