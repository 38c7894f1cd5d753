// SPDX-License-Identifier: Apache-2.0

// Package listing answers which containers there are, and what is known of them.
package listing

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/filter"
	"github.com/davit-engine/davit/service/request"
	"github.com/opencontainers/go-digest"
)

// Host is what is needed of the rest of the engine.
type Host interface {
	Find(ref string) (davit.Container, error)
	// Records returns the records of all containers, in no order.
	Records() []davit.Container
	// Dir is a container's own directory, LogPath where its log is.
	Dir(id string) string
	LogPath(rec *davit.Container) string
	// Sessions lists the exec sessions of a container that run.
	Sessions(id string) []string
}

// Images is what is needed of the image store.
type Images interface {
	Get(ref string) (davit.Image, error)
	List() ([]davit.Image, error)
}

// Rootfs is what is needed of the writable layers.
type Rootfs interface {
	Rootfs(containerID string) (davit.Rootfs, error)
	Usage(containerID string) (int64, error)
}

// Options configure the handlers.
type Options struct {
	Host   Host
	Images Images
	Rootfs Rootfs
	// Owner finds the container that a process of the host is in; nil when
	// nothing can.
	Owner func(pid int) (string, error)
}

// Lister has the handlers. Who registers them says what their callers need.
type Lister struct{ Options }

// New returns the handlers.
func New(o Options) *Lister { return &Lister{o} }

// containerFilters are the filters of GET /containers/json that this engine
// knows; another one is an error.
var containerFilters = map[string]func(*Lister, *davit.Container, string) bool{
	"id":     func(_ *Lister, r *davit.Container, v string) bool { return strings.HasPrefix(r.ID, v) },
	"name":   func(_ *Lister, r *davit.Container, v string) bool { return matchName(v, r.Name) },
	"label":  func(_ *Lister, r *davit.Container, v string) bool { return filter.Label(r.Config.Labels, v) },
	"status": func(_ *Lister, r *davit.Container, v string) bool { return string(r.State.Status) == v },
	"exited": func(_ *Lister, r *davit.Container, v string) bool {
		return r.State.Status == davit.StatusExited && strconv.Itoa(r.State.ExitCode) == v
	},
	"ancestor": func(s *Lister, r *davit.Container, v string) bool {
		img, err := s.Images.Get(v)
		return err == nil && img.ID == r.ImageID
	},
	"network": func(_ *Lister, r *davit.Container, v string) bool { return r.HostConfig.NetworkMode == v },
	"before": func(s *Lister, r *davit.Container, v string) bool {
		c, err := s.Host.Find(v)
		return err == nil && r.Created.Before(c.Created)
	},
	"since": func(s *Lister, r *davit.Container, v string) bool {
		c, err := s.Host.Find(v)
		return err == nil && r.Created.After(c.Created)
	},
	"publish": func(_ *Lister, r *davit.Container, v string) bool { return hasPort(r.HostConfig.PortBindings, v) },
	"expose":  func(_ *Lister, r *davit.Container, v string) bool { return hasPort(r.Config.ExposedPorts, v) },
	"health":  func(_ *Lister, r *davit.Container, v string) bool { return r.State.Health.String() == v },
	"volume": func(_ *Lister, r *davit.Container, v string) bool {
		return slices.ContainsFunc(r.Mounts, func(m davit.Mount) bool { return m.Name == v || m.Target == v || m.Source == v })
	},
}

// matchName matches a pattern, a regular expression, with a name as users
// know it and as the API spells it. What is no expression is a plain text.
func matchName(pattern, name string) bool {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return strings.Contains("/"+name, pattern)
	}
	return re.MatchString(name) || re.MatchString("/"+name)
}

// hasPort tells whether one of the ports is meant by "80", "80/tcp" or a range
// "80-90/tcp".
func hasPort[V any](ports map[string]V, want string) bool {
	span, proto, found := strings.Cut(want, "/")
	if !found {
		proto = "tcp"
	}
	first, last, isRange := strings.Cut(span, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.Atoi(first)
	hi, err2 := strconv.Atoi(last)
	for key := range ports {
		port, p, err := request.Port(key)
		if err1 == nil && err2 == nil && err == nil && p == proto && int(port) >= lo && int(port) <= hi {
			return true
		}
	}
	return false
}

var allStatuses = []davit.Status{
	davit.StatusCreated, davit.StatusRunning, davit.StatusPaused, davit.StatusRestarting,
	davit.StatusRemoving, davit.StatusExited, davit.StatusDead,
}

var allHealths = []string{"none", "starting", "healthy", "unhealthy"}

// checkFilters refuses filters that no container could ever match by mistake.
func (s *Lister) checkFilters(filters map[string][]string) error {
	for key, values := range filters {
		if containerFilters[key] == nil {
			return davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s'", key)
		}
		for _, v := range values {
			switch key {
			case "status":
				if !slices.Contains(allStatuses, davit.Status(v)) {
					return davit.Errorf(davit.InvalidConfiguration, "invalid filter 'status=%s'", v)
				}
			case "exited":
				if _, err := strconv.Atoi(v); err != nil {
					return davit.Errorf(davit.InvalidConfiguration, "invalid filter 'exited=%s': it is a number", v)
				}
			case "health":
				if !slices.Contains(allHealths, v) {
					return davit.Errorf(davit.InvalidConfiguration, "invalid filter 'health=%s': use %s", v, strings.Join(allHealths, ", "))
				}
			case "before", "since":
				if _, err := s.Host.Find(v); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// List gives the containers that match, newest first.
func (s *Lister) List(_ context.Context, _ *engine.Job, q davit.Containers) ([]davit.ContainerInfo, error) {
	if err := s.checkFilters(q.Filters); err != nil {
		return nil, err
	}
	all := q.All || q.Limit > 0 || len(q.Filters["status"])+len(q.Filters["exited"]) > 0
	var recs []davit.Container
	for _, rec := range s.Host.Records() {
		if (all || rec.State.Running()) && s.matchContainer(&rec, q.Filters) {
			recs = append(recs, rec)
		}
	}
	slices.SortFunc(recs, func(a, b davit.Container) int { return b.Created.Compare(a.Created) })
	if q.Limit > 0 && len(recs) > q.Limit {
		recs = recs[:q.Limit]
	}
	images, err := s.imagesByID(recs)
	if err != nil {
		return nil, err
	}
	out := make([]davit.ContainerInfo, 0, len(recs))
	for _, rec := range recs {
		info := davit.ContainerInfo{Container: rec, Image: images[rec.ImageID], SizeRw: -1, SizeRootFs: -1}
		if q.Size {
			if err := s.measure(&info); err != nil {
				return nil, err
			}
		}
		out = append(out, info)
	}
	return out, nil
}

// imagesByID returns the images that the containers were made from, as far as
// they are still there.
func (s *Lister) imagesByID(recs []davit.Container) (map[digest.Digest]*davit.Image, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	images, err := s.Images.List()
	if err != nil {
		return nil, err
	}
	out := make(map[digest.Digest]*davit.Image, len(images))
	for i := range images {
		out[images[i].ID] = &images[i]
	}
	return out, nil
}

func (s *Lister) matchContainer(rec *davit.Container, filters map[string][]string) bool {
	for key, values := range filters {
		match := containerFilters[key]
		ok := slices.ContainsFunc(values, func(v string) bool { return match(s, rec, v) })
		if key == "label" { // labels add up
			ok = !slices.ContainsFunc(values, func(v string) bool { return !match(s, rec, v) })
		}
		if !ok {
			return false
		}
	}
	return true
}

// Inspect gives all that is known of a container.
func (s *Lister) Inspect(_ context.Context, _ *engine.Job, q davit.ContainerInspect) (davit.ContainerInfo, error) {
	rec, err := s.Host.Find(q.Container)
	if err != nil {
		return davit.ContainerInfo{}, err
	}
	info := davit.ContainerInfo{
		Container: rec, LogPath: s.Host.LogPath(&rec), Dir: s.Host.Dir(rec.ID), ExecIDs: s.Host.Sessions(rec.ID), SizeRw: -1, SizeRootFs: -1,
	}
	if img, err := s.Images.Get(rec.ImageID.String()); err == nil {
		info.Image = &img
	}
	if root, err := s.Rootfs.Rootfs(rec.ID); err == nil {
		info.UpperDir, info.LowerDirs = root.Upper, root.Lower
	}
	if q.Size {
		return info, s.measure(&info)
	}
	return info, nil
}

// measure fills in the sizes of a container's writable layer and root.
func (s *Lister) measure(info *davit.ContainerInfo) error {
	n, err := s.Rootfs.Usage(info.ID)
	if err != nil {
		return err
	}
	info.SizeRw, info.SizeRootFs = n, n
	if img, err := s.Images.Get(info.ImageID.String()); err == nil {
		info.SizeRootFs += img.Size
	}
	return nil
}

// ByPID finds the container that a process of the host is in.
func (s *Lister) ByPID(ctx context.Context, j *engine.Job, q davit.ContainerByPID) (davit.ContainerInfo, error) {
	if s.Owner == nil {
		return davit.ContainerInfo{}, davit.Errorf(davit.NotSupported, "this runtime cannot tell whose a process is")
	}
	if q.PID < 1 {
		return davit.ContainerInfo{}, davit.Errorf(davit.InvalidConfiguration, "invalid process id %d: it must be positive", q.PID)
	}
	id, err := s.Owner(q.PID)
	if errors.Is(err, os.ErrNotExist) {
		return davit.ContainerInfo{}, davit.Errorf(davit.NoSuchContainer, "no container has process %d", q.PID)
	}
	if err != nil {
		return davit.ContainerInfo{}, err
	}
	return s.Inspect(ctx, j, davit.ContainerInspect{Container: id})
}
