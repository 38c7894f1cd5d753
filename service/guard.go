// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/access"
)

// noBinds is the rule of a service that was given none.
type noBinds struct{}

func (noBinds) MayBind(string, bool) error { return errors.New("nothing of the host may be mounted") }

// guarded puts the rule to a type that says what its requests need.
func guarded[Q engine.Request](t engine.Type[Q], rule func(context.Context, Q) engine.Access) engine.Type[Q] {
	t.Access = rule
	return t
}

// entering makes a type one of those that hand their caller what the container
// has: of a container that equals root, they equal root. ref points to the
// container's name in a request.
func entering[Q engine.Request](s *Service, t engine.Type[Q], ref func(*Q) *string) engine.Type[Q] {
	name := func(q Q) string { return *ref(&q) }
	t.Access = access.Enter(s.rules, t.Action, name)
	t.Attrs = attrsOf(s, name)
	t.Pin = func(q Q) Q {
		if c, err := s.find(name(q)); err == nil {
			*ref(&q) = c.id
		}
		return q
	}
	if t.Subject == nil {
		t.Subject = func(q Q) (string, string) {
			if c, err := s.find(name(q)); err == nil {
				return "", c.name()
			}
			return "", name(q)
		}
	}
	return t
}

// pinCreate gives the containers that a new one shares something with the ids
// that they have now.
func (s *Service) pinCreate(q davit.Create) davit.Create {
	q.HostConfig = s.pinMounts(s.pinJoined(q.HostConfig))
	return q
}

// sessionLabel says which container a session is of.
func (s *Service) sessionLabel(q davit.ExecStart) (key, label string) {
	if _, c, err := s.execs.Session(q.ID); err == nil {
		return "", c.Name
	}
	return "", q.ID
}

// Find returns the record of a container, by any of its names.
func (p parts) Find(ref string) (davit.Container, error) {
	c, err := p.s.find(ref)
	if err != nil {
		return davit.Container{}, err
	}
	return c.record(), nil
}

// Session returns the record of an exec session.
func (p parts) Session(id string) (davit.Exec, error) {
	x, _, err := p.s.execs.Session(id)
	return x, err
}

// Volume returns a volume's record.
func (p parts) Volume(name string) (davit.Volume, error) { return p.s.Volumes.Get(name) }
