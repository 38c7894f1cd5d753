// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/filter"
)

// dated is a thing that prunes choose by its age and labels.
type dated struct {
	created time.Time
	labels  map[string]string
}

// pruneTable has the filters of prunes of containers and networks. It fails
// when an until says no time.
func pruneTable(filters map[string][]string) (filter.Table[dated], error) {
	now := time.Now()
	table := filter.Table[dated]{
		"until": func(x dated, v string) bool {
			t, err := filter.Moment(v, now)
			return err == nil && x.created.Before(t)
		},
		"label":  func(x dated, v string) bool { return filter.Label(x.labels, v) },
		"label!": func(x dated, v string) bool { return !filter.Label(x.labels, v) },
	}
	if err := table.Check(filters); err != nil {
		return nil, err
	}
	if len(filters["until"]) > 1 {
		return nil, invalid("invalid filter 'until': more than one is given")
	}
	for _, v := range filters["until"] {
		if _, err := filter.Moment(v, now); err != nil {
			return nil, err
		}
	}
	return table, nil
}

// pruneContainers removes the containers that do not run.
func (s *Service) pruneContainers(ctx context.Context, filters map[string][]string) (davit.Pruned, error) {
	var done davit.Pruned
	table, err := pruneTable(filters)
	if err != nil {
		return done, err
	}
	for _, rec := range s.records() {
		if rec.State.Running() || !table.Match(dated{rec.Created, rec.Config.Labels}, filters) {
			continue
		}
		if cerr := ctx.Err(); cerr != nil {
			return done, errors.Join(err, cerr)
		}
		size, uerr := s.Rootfs.Usage(rec.ID)
		_, derr := engine.Do(ctx, s.eng, davit.Destroy{Container: rec.ID})
		switch code := davit.CodeOf(derr); {
		case derr == nil:
			done.Containers = append(done.Containers, rec.ID)
			done.Reclaimed += size
			err = errors.Join(err, uerr)
		case code == davit.NoSuchContainer || code == davit.ContainerRunning || code == davit.ContainerPaused: // it was removed, or started
		default:
			err = errors.Join(err, derr)
		}
	}
	s.events.Pruned("container", done.Reclaimed)
	return done, err
}

// pruneNetworks removes the networks that no container is on. Those that are
// there now belong to the engine, and stay.
func (s *Service) pruneNetworks(_ context.Context, filters map[string][]string) (davit.Pruned, error) {
	if _, err := pruneTable(filters); err != nil {
		return davit.Pruned{}, err
	}
	s.events.Pruned("network", 0)
	return davit.Pruned{}, nil
}
