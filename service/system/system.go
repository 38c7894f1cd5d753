// SPDX-License-Identifier: Apache-2.0

// Package system holds the handlers of the jobs that are about the engine as
// a whole.
package system

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// Host is what the jobs need of the rest of the engine.
type Host interface {
	EngineID() string
	Config() *davit.Config
	SetConfig(c davit.Config)
	// Records returns the records of all containers, in no order.
	Records() []davit.Container
	// Images counts the images.
	Images() (int, error)
	// Firewall names the one in use; "" is none.
	Firewall() string
	// Listeners counts those who follow the events.
	Listeners() int
	// Probe returns once the locks that every request needs can be had.
	Probe()
}

// Options configure a [System].
type Options struct {
	Engine   *engine.Engine
	Log      *slog.Logger
	Facts    davit.HostFacts
	Launcher string // how monitors are launched
	Host     Host
	Emit     func(davit.Event)
	// LoadConfig reads flags and file again for a reload.
	LoadConfig func() (davit.Config, error)
	// SetLogLevel changes the level of Log.
	SetLogLevel func(level string) error
}

// System handles the jobs.
type System struct{ Options }

// New returns the handlers.
func New(o Options) *System { return &System{o} }

// Register puts the handlers into the engine's table.
func (s *System) Register() error {
	e := s.Engine
	return errors.Join(
		engine.Register(e, engine.Type[davit.Version]{Action: davit.ActionInspect, Class: engine.Query}, s.version),
		engine.Register(e, engine.Type[davit.Info]{Action: davit.ActionInspect, Class: engine.Query}, s.info),
		engine.Register(e, engine.Type[davit.Commands]{Action: davit.ActionInspect, Class: engine.Query}, s.commands),
		engine.Register(e, engine.Type[davit.Noop]{}, s.noop),
		engine.Register(e, engine.Type[davit.Reload]{}, s.reload),
	)
}

func (s *System) version(context.Context, *engine.Job, davit.Version) (davit.VersionInfo, error) {
	return davit.VersionInfo{
		Version: davit.Release, Commit: davit.Commit, GoVersion: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		KernelVersion: s.Facts.KernelVersion, APIVersion: davit.APIVersion, MinAPIVersion: davit.MinAPIVersion,
	}, nil
}

func (s *System) commands(context.Context, *engine.Job, davit.Commands) ([]string, error) {
	var out []string
	for _, t := range s.Engine.Types() {
		out = append(out, t.Name)
	}
	return out, nil
}

func (s *System) noop(context.Context, *engine.Job, davit.Noop) (davit.Nothing, error) {
	s.Host.Probe() // a watchdog that waits here for ever has found a hang
	return davit.Nothing{}, nil
}

func (s *System) info(context.Context, *engine.Job, davit.Info) (davit.EngineInfo, error) {
	cfg := s.Host.Config()
	i := davit.EngineInfo{
		ID: s.Host.EngineID(), Name: s.Facts.Hostname, StorageDriver: "overlay", CgroupVersion: s.Facts.CgroupVersion,
		CgroupDriver: "cgroupfs", Launcher: s.Launcher, FirewallBackend: s.Host.Firewall(), KernelVersion: s.Facts.KernelVersion,
		OperatingSystem: s.Facts.OperatingSystem, OSVersion: s.Facts.OSVersion, OSType: "linux", Architecture: s.Facts.Architecture,
		NCPU: s.Facts.NCPU, MemTotal: s.Facts.MemTotal, DataRoot: cfg.DataRoot, Labels: cfg.Labels,
		InsecureRegistries: cfg.InsecureRegistries, Goroutines: runtime.NumGoroutine(), Time: time.Now(), Debug: cfg.Debug,
		Seccomp: s.Facts.Seccomp, EventsListeners: s.Host.Listeners(),
	}
	if s.Launcher == "systemd" {
		i.CgroupDriver = "systemd"
	}
	if s.Facts.Seccomp {
		i.SecurityOptions = append(i.SecurityOptions, "name=seccomp,profile=builtin")
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return i, err
	}
	i.FDs = len(fds)
	if i.Images, err = s.Host.Images(); err != nil {
		return i, err
	}
	for _, rec := range s.Host.Records() {
		i.Containers++
		switch rec.State.Status {
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

// reload reads the configuration again. What cannot change while the daemon
// runs is refused by name, and then nothing changes.
func (s *System) reload(context.Context, *engine.Job, davit.Reload) (davit.Nothing, error) {
	next, err := s.LoadConfig()
	if err != nil {
		return davit.Nothing{}, err
	}
	merged := *s.Host.Config()
	merged.LogLevel, merged.Debug, merged.Labels = next.LogLevel, next.Debug, next.Labels
	merged.DNS, merged.DNSSearch, merged.DNSOptions = next.DNS, next.DNSSearch, next.DNSOptions
	merged.ShutdownTimeout = next.ShutdownTimeout
	if fixed := davit.ConfigDiff(merged, next); len(fixed) > 0 {
		return davit.Nothing{}, davit.Errorf(davit.InvalidConfiguration,
			"cannot reload the configuration: %s cannot change while the daemon runs: restart it, or take the change back", strings.Join(fixed, ", "))
	}
	if err := s.SetLogLevel(merged.EffectiveLogLevel()); err != nil {
		return davit.Nothing{}, errors.Join(davit.Errorf(davit.InvalidConfiguration, "cannot reload the configuration"), err)
	}
	s.Host.SetConfig(merged)
	s.Emit(davit.Event{Type: "daemon", Action: "reload", ActorID: s.Host.EngineID(), Attributes: map[string]string{"name": s.Facts.Hostname}})
	s.Log.Info("configuration reloaded")
	return davit.Nothing{}, nil
}
