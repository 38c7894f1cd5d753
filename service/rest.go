// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

func (s *Service) version(context.Context, *engine.Job, davit.Version) (davit.VersionInfo, error) {
	return davit.VersionInfo{
		Version: davit.Release, Commit: davit.Commit, GoVersion: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		KernelVersion: s.facts.KernelVersion, APIVersion: davit.APIVersion, MinAPIVersion: davit.MinAPIVersion,
	}, nil
}

func (s *Service) commands(context.Context, *engine.Job, davit.Commands) ([]string, error) {
	var out []string
	for _, t := range s.eng.Types() {
		out = append(out, t.Name)
	}
	return out, nil
}

func (s *Service) noop(context.Context, *engine.Job, davit.Noop) (davit.Nothing, error) {
	// The mutex is the one that every request takes: a watchdog that cannot
	// get it has found a hang.
	s.mu.Lock()
	defer s.mu.Unlock()
	return davit.Nothing{}, nil
}

func (s *Service) info(context.Context, *engine.Job, davit.Info) (davit.EngineInfo, error) {
	cfg := s.cfg()
	i := davit.EngineInfo{
		ID: s.engineID, Name: s.facts.Hostname, StorageDriver: "overlay", CgroupVersion: s.facts.CgroupVersion,
		CgroupDriver: "cgroupfs", Launcher: s.Runtime.Name(), KernelVersion: s.facts.KernelVersion,
		OperatingSystem: s.facts.OperatingSystem, OSVersion: s.facts.OSVersion, OSType: "linux", Architecture: s.facts.Architecture,
		NCPU: s.facts.NCPU, MemTotal: s.facts.MemTotal, DataRoot: cfg.DataRoot, Labels: cfg.Labels,
		InsecureRegistries: cfg.InsecureRegistries, Goroutines: runtime.NumGoroutine(), Time: time.Now(), Debug: cfg.Debug,
		Seccomp: s.facts.Seccomp, EventsListeners: s.events.Listeners(),
	}
	if s.Runtime.Name() == "systemd" {
		i.CgroupDriver = "systemd"
	}
	if s.facts.Seccomp {
		i.SecurityOptions = append(i.SecurityOptions, "name=seccomp,profile=builtin")
	}
	if s.Network != nil {
		i.FirewallBackend = s.Network.Backend()
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return i, err
	}
	i.FDs = len(fds)
	images, err := s.Images.List()
	if err != nil {
		return i, err
	}
	i.Images = len(images)
	for _, c := range s.all() {
		i.Containers++
		switch c.record().State.Status {
		case davit.StatusRunning, davit.StatusRestarting:
			i.Running++
		case davit.StatusPaused:
			i.Paused++
		default:
			i.Stopped++
		}
	}
	return i, nil
}

// networkInfo completes a network by its endpoints.
func (s *Service) networkInfo(n davit.Network) davit.NetworkInfo {
	info := davit.NetworkInfo{Network: n, Names: map[string]string{}}
	for _, c := range s.all() {
		rec := c.record()
		for _, ep := range rec.Endpoints {
			if ep.NetworkID == n.ID {
				info.Endpoints = append(info.Endpoints, ep)
				info.Names[rec.ID] = rec.Name
			}
		}
		if rec.State.Running() && len(rec.Endpoints) == 0 && rec.HostConfig.NetworkMode == n.Name {
			info.Endpoints = append(info.Endpoints, davit.Endpoint{NetworkID: n.ID, NetworkName: n.Name, ContainerID: rec.ID})
			info.Names[rec.ID] = rec.Name
		}
	}
	return info
}

func (s *Service) listNetworks(_ context.Context, _ *engine.Job, q davit.Networks) ([]davit.NetworkInfo, error) {
	out := []davit.NetworkInfo{}
	for _, n := range s.allNetworks() {
		ok, err := matchNetwork(&n, q.Filters)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, s.networkInfo(n))
		}
	}
	return out, nil
}

func matchNetwork(n *davit.Network, filters map[string][]string) (bool, error) {
	for key, values := range filters {
		var match func(string) bool
		switch key {
		case "name":
			match = func(v string) bool { return strings.Contains(n.Name, v) }
		case "id":
			match = func(v string) bool { return strings.HasPrefix(n.ID, v) }
		case "driver":
			match = func(v string) bool { return n.Driver == v }
		case "scope":
			match = func(v string) bool { return v == "local" }
		case "type":
			match = func(v string) bool { return v == "builtin" }
		case "label":
			match = func(v string) bool { return matchLabel(n.Labels, v) }
		case "dangling":
			match = func(string) bool { return false } // built-in networks never are
		default:
			return false, invalid("invalid filter '%s'", key)
		}
		if !slices.ContainsFunc(values, match) {
			return false, nil
		}
	}
	return true, nil
}

func (s *Service) allNetworks() []davit.Network {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.networks)
}

func (s *Service) inspectNetwork(_ context.Context, _ *engine.Job, q davit.NetworkInspect) (davit.NetworkInfo, error) {
	for _, n := range s.allNetworks() {
		if n.Name == q.Network || n.ID == q.Network || (len(q.Network) >= 2 && strings.HasPrefix(n.ID, q.Network)) {
			return s.networkInfo(n), nil
		}
	}
	return davit.NetworkInfo{}, davit.Errorf(davit.NoSuchNetwork, "network %s not found", q.Network)
}

func (s *Service) createVolume(_ context.Context, _ *engine.Job, q davit.VolumeCreate) (davit.Volume, error) {
	if q.Driver != "" && q.Driver != "local" {
		return davit.Volume{}, davit.Errorf(davit.NotSupported, "volume driver %q is not supported: use local", q.Driver)
	}
	v := davit.Volume{Name: q.Name, Driver: "local", Created: time.Now().UTC(), Labels: q.Labels, Options: q.Options}
	if v.Name == "" {
		v.Name, v.Anonymous = newID(), true
	}
	_, err := s.Volumes.Get(v.Name)
	fresh := err != nil
	made, err := s.Volumes.Create(v)
	if err == nil && fresh {
		s.emit(davit.Event{Type: "volume", Action: "create", ActorID: made.Name, Attributes: map[string]string{"driver": "local"}})
	}
	return made, err
}

func (s *Service) listVolumes(_ context.Context, _ *engine.Job, q davit.Volumes) ([]davit.Volume, error) {
	volumes, err := s.Volumes.List()
	if err != nil {
		return nil, err
	}
	out := []davit.Volume{}
	for _, v := range volumes {
		ok, err := s.matchVolume(&v, q.Filters)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b davit.Volume) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *Service) matchVolume(v *davit.Volume, filters map[string][]string) (bool, error) {
	for key, values := range filters {
		var match func(string) bool
		switch key {
		case "name":
			match = func(w string) bool { return strings.Contains(v.Name, w) }
		case "driver":
			match = func(w string) bool { return v.Driver == w }
		case "label":
			match = func(w string) bool { return matchLabel(v.Labels, w) }
		case "dangling":
			match = func(w string) bool { return (s.volumeUser(v.Name, "") == "") == (w == "true" || w == "1") }
		default:
			return false, invalid("invalid filter '%s'", key)
		}
		if !slices.ContainsFunc(values, match) {
			return false, nil
		}
	}
	return true, nil
}

func (s *Service) inspectVolume(_ context.Context, _ *engine.Job, q davit.VolumeInspect) (davit.Volume, error) {
	return s.Volumes.Get(q.Volume)
}

func (s *Service) removeVolume(_ context.Context, _ *engine.Job, q davit.VolumeDelete) (davit.Nothing, error) {
	if user := s.volumeUser(q.Volume, ""); user != "" {
		return davit.Nothing{}, davit.Errorf(davit.VolumeInUse, "remove %s: volume is in use - [%s]", q.Volume, user)
	}
	err := s.Volumes.Remove(q.Volume)
	if err == nil {
		s.emit(davit.Event{Type: "volume", Action: "destroy", ActorID: q.Volume, Attributes: map[string]string{"driver": "local"}})
	}
	if q.Force && davit.CodeOf(err) == davit.NoSuchVolume {
		return davit.Nothing{}, nil
	}
	return davit.Nothing{}, err
}

// volumeUser returns the id of a container other than except that mounts the
// volume.
func (s *Service) volumeUser(name, except string) string {
	for _, c := range s.all() {
		rec := c.record()
		if rec.ID != except && slices.ContainsFunc(rec.Mounts, func(m davit.Mount) bool { return m.Type == "volume" && m.Name == name }) {
			return rec.ID
		}
	}
	return ""
}

// reload reads the configuration again. What cannot change while the daemon
// runs is refused by name, and then nothing changes.
func (s *Service) reload(context.Context, *engine.Job, davit.Reload) (davit.Nothing, error) {
	next, err := s.loadConfig()
	if err != nil {
		return davit.Nothing{}, err
	}
	now := *s.cfg()
	merged := now
	merged.LogLevel, merged.Debug, merged.Labels = next.LogLevel, next.Debug, next.Labels
	merged.DNS, merged.DNSSearch, merged.DNSOptions = next.DNS, next.DNSSearch, next.DNSOptions
	merged.ShutdownTimeout = next.ShutdownTimeout
	if fixed := davit.ConfigDiff(merged, next); len(fixed) > 0 {
		return davit.Nothing{}, invalid("cannot reload the configuration: %s cannot change while the daemon runs: restart it, or take the change back", strings.Join(fixed, ", "))
	}
	if err := s.setLogLevel(merged.EffectiveLogLevel()); err != nil {
		return davit.Nothing{}, errors.Join(invalid("cannot reload the configuration"), err)
	}
	s.config.Store(&merged)
	s.emit(davit.Event{Type: "daemon", Action: "reload", ActorID: s.engineID, Attributes: map[string]string{"name": s.facts.Hostname}})
	s.log.Info("configuration reloaded")
	return davit.Nothing{}, nil
}
