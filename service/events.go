// SPDX-License-Identifier: Apache-2.0

package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/filter"
	"github.com/davit-engine/davit/service/request"
)

// eventRing is how many events can be asked for after they happened, and how
// far a listener may lag behind.
const eventRing = 1024

// followEvents sends events to a listener.
func (s *Service) followEvents(ctx context.Context, _ *engine.Job, q davit.Events) (davit.Nothing, error) {
	next := s.events.Listen(1)
	defer s.events.Listen(-1)
	if !q.Since.IsZero() {
		next = 0
	}
	if !q.Until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, q.Until)
		defer cancel()
	}
	for replay := next == 0; ; replay = false {
		batch, n, lost, changed := s.events.After(next)
		if lost && !replay {
			return davit.Nothing{}, davit.Errorf(davit.Failed, "the listener is more than %d events behind: listen again", eventRing)
		}
		next = n
		for _, ev := range batch {
			if ev.Time.Before(q.Since) || (!q.Until.IsZero() && ev.Time.After(q.Until)) || !matchEvent(ev, q.Filters) {
				continue
			}
			if err := q.Emit(ev); err != nil {
				return davit.Nothing{}, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if !q.Until.IsZero() && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return davit.Nothing{}, nil
			}
			return davit.Nothing{}, ctx.Err()
		}
	}
}

// matchEvent applies the filters of GET /events: values of one key are
// alternatives, keys add up.
func matchEvent(ev davit.Event, filters map[string][]string) bool {
	for key, values := range filters {
		ok := slices.ContainsFunc(values, func(v string) bool {
			switch key {
			case "type":
				return ev.Type == v
			case "event":
				return ev.Action == v || strings.HasPrefix(ev.Action, v+":")
			case "container", "image", "volume", "network", "daemon":
				return ev.Type == key && (ev.ActorID == v || ev.Attributes["name"] == v || (v != "" && strings.HasPrefix(ev.ActorID, v)))
			case "label":
				return filter.Label(ev.Attributes, v)
			}
			return key == "scope" && v == "local"
		})
		if !ok {
			return false
		}
	}
	return true
}

func (s *Service) emit(ev davit.Event) {
	if ev.Time.IsZero() {
		ev.Time = time.Now().UTC()
	}
	s.events.Add(ev)
}

// emitContainer publishes an event of a container with Docker's attributes.
func (s *Service) emitContainer(action string, c *container, more map[string]string) {
	rec := c.record()
	s.emitRecord(action, &rec, more)
}

func (s *Service) emitRecord(action string, rec *davit.Container, more map[string]string) {
	attrs := request.MergeMap(rec.Config.Labels, map[string]string{"image": rec.ImageRef, "name": rec.Name})
	s.emit(davit.Event{Type: "container", Action: action, ActorID: rec.ID, Attributes: request.MergeMap(attrs, more)})
}

func (s *Service) emitDie(rec *davit.Container, x davit.Exit) {
	if x.OOMKilled {
		s.emitRecord("oom", rec, nil)
	}
	s.emitRecord("die", rec, map[string]string{
		"exitCode":     itoa(x.Code),
		"execDuration": itoa(int(cmp.Or(x.At, time.Now()).Sub(rec.State.StartedAt).Seconds())),
	})
}

func (s *Service) emitNetwork(action, containerID string, ep davit.Endpoint) {
	s.emit(davit.Event{Type: "network", Action: action, ActorID: ep.NetworkID, Attributes: map[string]string{
		"container": containerID, "name": ep.NetworkName, "type": "bridge",
	}})
}
