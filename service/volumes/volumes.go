// SPDX-License-Identifier: Apache-2.0

// Package volumes holds the handlers of the jobs on volumes.
package volumes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/service/access"
	"github.com/davit-engine/davit/service/filter"
	"github.com/davit-engine/davit/service/request"
)

// Store keeps the local volumes.
type Store interface {
	// Create makes a volume, or returns the one of the name: NameConflict when
	// that was made with other options than are asked for. Options that the local
	// driver has not are refused with InvalidConfiguration.
	Create(v davit.Volume) (davit.Volume, error)
	Get(name string) (davit.Volume, error)
	List() ([]davit.Volume, error)
	Remove(name string) error
	// Empty tells whether the volume's directory has nothing in it.
	Empty(name string) (bool, error)
	// Usage returns the bytes of the volume's files, each counted once however
	// many names it has.
	Usage(name string) (int64, error)
}

// Host is what the jobs need of the rest of the engine.
type Host interface {
	// VolumeUsers returns the ids of the containers that mount the volume.
	VolumeUsers(name string) []string
	Emit(ev davit.Event)
}

// Volumes handles the jobs.
type Volumes struct {
	store Store
	host  Host
}

// New returns the handlers over a store.
func New(store Store, host Host) *Volumes { return &Volumes{store: store, host: host} }

// Register puts the handlers into the engine's table.
func (v *Volumes) Register(e *engine.Engine) error {
	return errors.Join(
		engine.Register(e, engine.Type[davit.VolumeCreate]{
			Action: davit.ActionManageVolumes, Access: access.VolumeCreate,
			Subject: func(q davit.VolumeCreate) (string, string) { return "", q.Name },
		}, v.create),
		engine.Register(e, engine.Type[davit.Volumes]{Action: davit.ActionInspect, Class: engine.Query}, v.list),
		engine.Register(e, engine.Type[davit.VolumeInspect]{Action: davit.ActionInspect, Class: engine.Query}, v.inspect),
		engine.Register(e, engine.Type[davit.VolumeDelete]{Action: davit.ActionManageVolumes}, v.remove),
		engine.Register(e, engine.Type[davit.VolumeDirectory]{Class: engine.Query, Access: access.Descriptor[davit.VolumeDirectory]}, v.directory),
	)
}

// NewName makes a name for an anonymous volume.
func NewName() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand.Read
	return hex.EncodeToString(b)
}

// Created is the event of a new volume.
func Created(name string) davit.Event { return event("create", name) }

// Destroyed is the event of a volume that was removed.
func Destroyed(name string) davit.Event { return event("destroy", name) }

func event(action, name string) davit.Event {
	return davit.Event{Type: "volume", Action: action, ActorID: name, Attributes: map[string]string{"driver": "local"}}
}

func (v *Volumes) create(_ context.Context, _ *engine.Job, q davit.VolumeCreate) (davit.Volume, error) {
	if q.Driver != "" && q.Driver != "local" {
		return davit.Volume{}, fmt.Errorf("create %s: %w", q.Name, request.NoDriver(q.Driver))
	}
	vol := davit.Volume{Name: q.Name, Driver: "local", Created: time.Now().UTC(), Labels: q.Labels, Options: q.Options}
	if vol.Name == "" {
		vol.Name, vol.Anonymous = NewName(), true
	}
	_, err := v.store.Get(vol.Name)
	fresh := err != nil
	made, err := v.store.Create(vol)
	if err == nil && fresh {
		v.host.Emit(Created(made.Name))
	}
	return made, err
}

// filters are those of GET /volumes that this engine knows.
func (v *Volumes) filters() filter.Table[davit.Volume] {
	return filter.Table[davit.Volume]{
		"name":     func(x davit.Volume, w string) bool { return strings.Contains(x.Name, w) },
		"driver":   func(x davit.Volume, w string) bool { return x.Driver == w },
		"label":    func(x davit.Volume, w string) bool { return filter.Label(x.Labels, w) },
		"dangling": func(x davit.Volume, w string) bool { return (len(v.host.VolumeUsers(x.Name)) == 0) == filter.True(w) },
	}
}

func (v *Volumes) list(_ context.Context, _ *engine.Job, q davit.Volumes) ([]davit.Volume, error) {
	table := v.filters()
	if err := table.Check(q.Filters); err != nil {
		return nil, err
	}
	all, err := v.store.List()
	if err != nil {
		return nil, err
	}
	out := []davit.Volume{}
	for _, x := range all {
		if table.Match(x, q.Filters) {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b davit.Volume) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (v *Volumes) inspect(_ context.Context, _ *engine.Job, q davit.VolumeInspect) (davit.Volume, error) {
	return v.store.Get(q.Volume)
}

func (v *Volumes) remove(_ context.Context, _ *engine.Job, q davit.VolumeDelete) (davit.Nothing, error) {
	if users := v.host.VolumeUsers(q.Volume); len(users) > 0 {
		return davit.Nothing{}, inUse(q.Volume, users)
	}
	err := v.store.Remove(q.Volume)
	if err == nil {
		v.host.Emit(Destroyed(q.Volume))
	}
	if q.Force && davit.CodeOf(err) == davit.NoSuchVolume {
		return davit.Nothing{}, nil
	}
	return davit.Nothing{}, err
}

// directory opens a volume's directory.
func (v *Volumes) directory(_ context.Context, _ *engine.Job, q davit.VolumeDirectory) (*os.File, error) {
	vol, err := v.store.Get(q.Volume)
	if err != nil {
		return nil, err
	}
	f, err := linux.OpenPath(vol.Mountpoint)
	if err != nil {
		return nil, fmt.Errorf("cannot open volume %s: %w", q.Volume, err)
	}
	return f, nil
}

// Usage lists the volumes with their sizes and how many containers mount them;
// a size of -1 is not known.
func (v *Volumes) Usage(ctx context.Context) ([]davit.VolumeUsage, error) {
	all, err := v.list(ctx, nil, davit.Volumes{})
	if err != nil {
		return nil, err
	}
	out := make([]davit.VolumeUsage, 0, len(all))
	for _, vol := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(vol.Options) > 0 {
			// It may be a server far away, and is mounted only where it is used.
			out = append(out, davit.VolumeUsage{Volume: vol, Size: -1, RefCount: len(v.host.VolumeUsers(vol.Name))})
			continue
		}
		size, err := v.store.Usage(vol.Name)
		if davit.CodeOf(err) == davit.NoSuchVolume && err != nil {
			continue // removed meanwhile
		}
		if err != nil {
			size = -1
		}
		out = append(out, davit.VolumeUsage{Volume: vol, Size: size, RefCount: len(v.host.VolumeUsers(vol.Name))})
	}
	return out, nil
}

// pruneFilters are those of POST /volumes/prune.
var pruneFilters = filter.Table[davit.Volume]{
	"all":    func(x davit.Volume, w string) bool { return filter.True(w) || x.Anonymous },
	"label":  func(x davit.Volume, w string) bool { return filter.Label(x.Labels, w) },
	"label!": func(x davit.Volume, w string) bool { return !filter.Label(x.Labels, w) },
}

// Prune removes the volumes that no container mounts: the anonymous ones or,
// with the filter all=true, every one; of them those that all filters mean. One
// with options is what somebody set up, and stays, as in Docker.
func (v *Volumes) Prune(ctx context.Context, filters map[string][]string) (davit.Pruned, error) {
	var done davit.Pruned
	if err := pruneFilters.Check(filters); err != nil {
		return done, err
	}
	all, err := v.Usage(ctx)
	if err != nil {
		return done, err
	}
	for _, vol := range all {
		if len(vol.Options) > 0 || (filters["all"] == nil && !vol.Anonymous) || !pruneFilters.Match(vol.Volume, filters) {
			continue
		}
		if err = ctx.Err(); err != nil {
			break
		}
		_, rerr := v.remove(ctx, nil, davit.VolumeDelete{Volume: vol.Name})
		switch code := davit.CodeOf(rerr); {
		case rerr == nil:
			done.Volumes = append(done.Volumes, vol.Name)
			done.Reclaimed += max(0, vol.Size)
		case code == davit.VolumeInUse || code == davit.NoSuchVolume: // somebody uses it, or has removed it
		default:
			err = errors.Join(err, rerr)
		}
	}
	v.host.Emit(davit.Event{Type: "volume", Action: "prune", Attributes: map[string]string{"reclaimed": strconv.FormatInt(done.Reclaimed, 10)}})
	return done, err
}
