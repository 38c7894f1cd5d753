// SPDX-License-Identifier: Apache-2.0

package service

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

// containerFilters are the filters of GET /containers/json that this engine
// knows; another one is an error.
var containerFilters = map[string]func(*Service, *davit.Container, string) bool{
	"id":     func(_ *Service, r *davit.Container, v string) bool { return strings.HasPrefix(r.ID, v) },
	"name":   func(_ *Service, r *davit.Container, v string) bool { return matchName(v, r.Name) },
	"label":  func(_ *Service, r *davit.Container, v string) bool { return filter.Label(r.Config.Labels, v) },
	"status": func(_ *Service, r *davit.Container, v string) bool { return string(r.State.Status) == v },
	"exited": func(_ *Service, r *davit.Container, v string) bool {
		return r.State.Status == davit.StatusExited && itoa(r.State.ExitCode) == v
	},
	"ancestor": func(s *Service, r *davit.Container, v string) bool {
		img, err := s.Images.Get(v)
		return err == nil && img.ID == r.ImageID
	},
	"network": func(_ *Service, r *davit.Container, v string) bool { return r.HostConfig.NetworkMode == v },
	"before": func(s *Service, r *davit.Container, v string) bool {
		c, err := s.find(v)
		return err == nil && r.Created.Before(c.record().Created)
	},
	"since": func(s *Service, r *davit.Container, v string) bool {
		c, err := s.find(v)
		return err == nil && r.Created.After(c.record().Created)
	},
	"publish": func(_ *Service, r *davit.Container, v string) bool { return hasPort(r.HostConfig.PortBindings, v) },
	"expose":  func(_ *Service, r *davit.Container, v string) bool { return hasPort(r.Config.ExposedPorts, v) },
	"health":  func(_ *Service, _ *davit.Container, v string) bool { return v == "none" },
	"volume": func(_ *Service, r *davit.Container, v string) bool {
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
func (s *Service) checkFilters(filters map[string][]string) error {
	for key, values := range filters {
		if containerFilters[key] == nil {
			return invalid("invalid filter '%s'", key)
		}
		for _, v := range values {
			switch key {
			case "status":
				if !slices.Contains(allStatuses, davit.Status(v)) {
					return invalid("invalid filter 'status=%s'", v)
				}
			case "exited":
				if _, err := strconv.Atoi(v); err != nil {
					return invalid("invalid filter 'exited=%s': it is a number", v)
				}
			case "health":
				if !slices.Contains(allHealths, v) {
					return invalid("invalid filter 'health=%s': use %s", v, strings.Join(allHealths, ", "))
				}
			case "before", "since":
				if _, err := s.find(v); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// list gives the containers that match, newest first.
func (s *Service) list(_ context.Context, _ *engine.Job, q davit.Containers) ([]davit.ContainerInfo, error) {
	if err := s.checkFilters(q.Filters); err != nil {
		return nil, err
	}
	all := q.All || q.Limit > 0 || len(q.Filters["status"])+len(q.Filters["exited"]) > 0
	var recs []davit.Container
	for _, c := range s.all() {
		rec := c.record()
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
func (s *Service) imagesByID(recs []davit.Container) (map[digest.Digest]*davit.Image, error) {
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

func (s *Service) matchContainer(rec *davit.Container, filters map[string][]string) bool {
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

// inspect gives all that is known of a container.
func (s *Service) inspect(_ context.Context, _ *engine.Job, q davit.ContainerInspect) (davit.ContainerInfo, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.ContainerInfo{}, err
	}
	rec := c.record()
	info := davit.ContainerInfo{
		Container: rec, LogPath: s.logPath(&rec), Dir: s.dir(rec.ID), ExecIDs: s.execs.IDs(rec.ID), SizeRw: -1, SizeRootFs: -1,
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
func (s *Service) measure(info *davit.ContainerInfo) error {
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

// byPID finds the container that a process of the host is in.
func (s *Service) byPID(ctx context.Context, j *engine.Job, q davit.ContainerByPID) (davit.ContainerInfo, error) {
	meter, ok := s.Runtime.(Meter)
	if !ok {
		return davit.ContainerInfo{}, davit.Errorf(davit.NotSupported, "this runtime cannot tell whose a process is")
	}
	if q.PID < 1 {
		return davit.ContainerInfo{}, invalid("invalid process id %d: it must be positive", q.PID)
	}
	id, err := meter.Owner(q.PID)
	if errors.Is(err, os.ErrNotExist) {
		return davit.ContainerInfo{}, davit.Errorf(davit.NoSuchContainer, "no container has process %d", q.PID)
	}
	if err != nil {
		return davit.ContainerInfo{}, err
	}
	return s.inspect(ctx, j, davit.ContainerInspect{Container: id})
}

// top lists the container's processes.
func (s *Service) top(ctx context.Context, _ *engine.Job, q davit.Top) (davit.ProcessTable, error) {
	c, err := s.find(q.Container)
	if err != nil {
		return davit.ProcessTable{}, err
	}
	if _, err := c.process(); err != nil {
		return davit.ProcessTable{}, err
	}
	args := q.Args
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	return s.Runtime.Top(ctx, c.id, args)
}
