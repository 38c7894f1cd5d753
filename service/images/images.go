// SPDX-License-Identifier: Apache-2.0

// Package images decides about images: it holds the handlers of the jobs that
// fetch, make, name and remove them.
package images

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/request"
	"github.com/distribution/reference"
)

// Options say what a [Service] works with.
type Options struct {
	Engine   *engine.Engine
	Store    Store
	Registry Registry
	// Containers returns copies of the records of all containers: who uses an
	// image.
	Containers func() []davit.Container
	// Find looks a container up, by what users call it.
	Find func(ref string) (davit.Container, error)
	// Emit publishes an event.
	Emit func(davit.Event)
	// Happened publishes an event of a container.
	Happened func(action string, c *davit.Container, more map[string]string)
}

// Service answers for the images. Its state is in its drivers.
type Service struct {
	Options
}

// New returns a service with its handlers registered.
func New(o Options) (*Service, error) {
	s := &Service{o}
	return s, s.register()
}

// register fills the engine's table.
func (s *Service) register() error {
	e := s.Engine
	return errors.Join(
		engine.Register(e, engine.Type[davit.Images]{Action: davit.ActionInspect, Class: engine.Query}, s.list),
		engine.Register(e, engine.Type[davit.ImageInspect]{Action: davit.ActionInspect, Class: engine.Query}, s.inspect),
		engine.Register(e, engine.Type[davit.History]{Action: davit.ActionInspect, Class: engine.Query}, s.history),
		engine.Register(e, engine.Type[davit.Pull]{
			Action:  davit.ActionManageImages,
			Subject: func(q davit.Pull) (string, string) { return "pull:" + q.Reference, q.Reference },
			Join:    func(q davit.Pull) string { return pullKey(q) },
		}, s.pull),
		engine.Register(e, labelled(func(q davit.Import) string { return q.Reference }), s.importImage),
		engine.Register(e, engine.Type[davit.Load]{Action: davit.ActionManageImages}, s.load),
		engine.Register(e, engine.Type[davit.Push]{
			Action:  davit.ActionPushImages,
			Subject: func(q davit.Push) (string, string) { return "push:" + q.Reference, q.Reference },
		}, s.push),
		engine.Register(e, engine.Type[davit.Auth]{Action: davit.ActionManageImages}, s.auth),
		engine.Register(e, labelled(func(q davit.Search) string { return q.Term }), s.search),
		engine.Register(e, labelled(func(q davit.Save) string { return strings.Join(q.Images, " ") }), s.save),
		engine.Register(e, labelled(func(q davit.Tag) string { return q.Image }), s.tag),
		engine.Register(e, labelled(func(q davit.ImageDelete) string { return q.Image }), s.remove),
	)
}

// labelled says what the jobs of a type are about without making them wait
// for one another.
func labelled[Q engine.Request](label func(Q) string) engine.Type[Q] {
	return engine.Type[Q]{Action: davit.ActionManageImages, Subject: func(q Q) (string, string) { return "", label(q) }}
}

// familiar is a reference as users write it, with its tag.
func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(reference.TagNameOnly(named))
}

// emit publishes an event of an image. Pulls and pushes are of a name, all
// others of an id.
func (s *Service) emit(action string, img *davit.Image, id, name string) {
	attrs := request.MergeMap(img.Config.Labels, map[string]string{"name": name})
	s.Emit(davit.Event{Type: "image", Action: action, ActorID: id, Attributes: attrs})
}

// withReports sends the drivers' progress to the job.
func withReports(ctx context.Context, j *engine.Job) context.Context {
	return davit.WithReporter(ctx, func(p davit.Progress) { j.Report(engine.Progress(p)) })
}

func invalid(format string, args ...any) error {
	return davit.Errorf(davit.InvalidConfiguration, "%w", fmt.Errorf(format, args...))
}
