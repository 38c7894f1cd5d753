// SPDX-License-Identifier: Apache-2.0

// Package system holds the handlers of the jobs that are about the engine as
// a whole.
package system

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/logconfig"
	"github.com/davit-engine/davit/service/access"
	"github.com/davit-engine/davit/service/request"
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

// Disk tells what the engine keeps on the disk.
type Disk interface {
	// Layers is the bytes of all image layers, each counted once.
	Layers() (int64, error)
	Images(ctx context.Context) ([]davit.ImageSummary, error)
	// Containers are all of them, with their sizes.
	Containers(ctx context.Context) ([]davit.ContainerInfo, error)
	Volumes(ctx context.Context) ([]davit.VolumeUsage, error)
}

// Options configure a [System].
type Options struct {
	Engine   *engine.Engine
	Log      *slog.Logger
	Facts    davit.HostFacts
	Launcher string                    // how monitors are launched
	AppArmor func(profile string) bool // whether it is loaded now
	Host     Host
	Disk     Disk
	Pruners  map[string]Pruner // by class
	Emit     func(davit.Event)
	// Configuration is where a reload reads from, and what follows it.
	Configuration Configuration
}

// Configuration is the daemon's part in a reload.
type Configuration interface {
	// Reloading tells init that a reload begins; the function that it returns
	// is called once, with how it went, before anybody else is told.
	Reloading() (end func(error))
	// Load reads flags and file again and checks them. Its error says where
	// the file is wrong.
	Load() (davit.Config, error)
	// Apply has all parts follow a configuration, or, when it fails, none.
	Apply(c davit.Config) error
}

// live are the keys that a reload may change.
var live = []string{
	"authorization", "bind-allow", "debug", "default-ulimits", "dns", "dns-opts", "dns-search", "idle-exit",
	"insecure-registries", "labels", "log-driver", "log-level", "log-opts", "shutdown-timeout",
}

// reloadDeadline is more than iptables needs for the rules of a full host.
const reloadDeadline = 5 * time.Minute

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
		engine.Register(e, engine.Type[davit.Noop]{Deadline: time.Minute}, s.noop),
		engine.Register(e, engine.Type[davit.Reload]{
			Subject: func(davit.Reload) (string, string) { return "configuration", "configuration" }, Deadline: reloadDeadline,
		}, s.reload),
		engine.Register(e, engine.Type[davit.DiskUsage]{Action: davit.ActionInspect, Class: engine.Query}, s.diskUsage),
		engine.Register(e, engine.Type[davit.Prune]{
			Action: davit.ActionPrune, Subject: func(q davit.Prune) (string, string) { return "prune:" + q.Class, q.Class },
		}, s.prune),
		engine.Register(e, engine.Type[davit.JobCancel]{Action: davit.ActionManageJobs, Class: engine.Query, Access: access.Cancel(e)}, s.cancel),
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

// warnings tells, in Docker's words, what the host does not do.
func warnings(i *davit.EngineInfo, apparmor bool) (out []string) {
	g := &i.Cgroups
	for _, w := range []struct {
		missing bool
		text    string
	}{
		{!g.Memory, "No memory limit support"},
		{!g.Swap, "No swap limit support"},
		{!g.OomKillDisable && i.CgroupVersion == "1", "No oom kill disable support"},
		{!g.CPUQuota, "No cpu cfs quota support"},
		{!g.CPUQuota, "No cpu cfs period support"},
		{!g.CPUShares, "No cpu shares support"},
		{!g.Cpuset, "No cpuset support"},
		{!g.Pids, "No pids limit support"},
		{!i.IPForwarding, "IPv4 forwarding is disabled"},
		{apparmor && !i.AppArmor, davit.AppArmorMissing},
	} {
		if w.missing {
			out = append(out, "WARNING: "+w.text)
		}
	}
	return out
}

func (s *System) info(context.Context, *engine.Job, davit.Info) (davit.EngineInfo, error) {
	cfg := s.Host.Config()
	i := davit.EngineInfo{
		ID: s.Host.EngineID(), Name: s.Facts.Hostname, StorageDriver: "overlay", CgroupVersion: s.Facts.CgroupVersion,
		CgroupDriver: "cgroupfs", Launcher: s.Launcher, FirewallBackend: s.Host.Firewall(), KernelVersion: s.Facts.KernelVersion,
		OperatingSystem: s.Facts.OperatingSystem, OSVersion: s.Facts.OSVersion, OSType: "linux", Architecture: s.Facts.Architecture,
		NCPU: s.Facts.NCPU, MemTotal: s.Facts.MemTotal, DataRoot: cfg.DataRoot, Labels: cfg.Labels,
		InsecureRegistries: cfg.InsecureRegistries, CDISpecDirs: cfg.CDISpecDirs, Goroutines: runtime.NumGoroutine(), Time: time.Now(), Debug: cfg.Debug,
		Seccomp: s.Facts.Seccomp, AppArmor: s.Facts.AppArmor && s.AppArmor(davit.AppArmorDefault), EventsListeners: s.Host.Listeners(),
		Cgroups: s.Facts.Cgroups, LogDriver: request.CompleteLog(davit.LogConfig{}, davit.LogConfig{Type: cfg.LogDriver, Config: cfg.LogOpts}, s.Launcher).Type, LogDrivers: logconfig.Drivers(),
	}
	forwarding, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil && !errors.Is(err, os.ErrNotExist) { // there is none without IPv4
		return i, err
	}
	i.IPForwarding = strings.TrimSpace(string(forwarding)) == "1"
	i.Warnings = warnings(&i, s.Facts.AppArmor)
	if s.Launcher == "systemd" {
		i.CgroupDriver = "systemd"
	}
	if i.AppArmor {
		i.SecurityOptions = append(i.SecurityOptions, "name=apparmor")
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

// reload reads the configuration again, tells init of it, and puts the rules
// of the firewall back, which its own reload may have flushed.
func (s *System) reload(ctx context.Context, _ *engine.Job, _ davit.Reload) (_ davit.Nothing, err error) {
	end := s.Configuration.Reloading()
	defer func() { end(err) }()
	if err := s.reconfigure(); err != nil {
		return davit.Nothing{}, err
	}
	if _, err := engine.Do(ctx, s.Engine, davit.ReapplyNetworks{}); err != nil && davit.KindOf(err) != davit.NotModified {
		return davit.Nothing{}, fmt.Errorf("the configuration was reloaded, but the rules of the network were not set up again: %w", err)
	}
	return davit.Nothing{}, nil
}

// reconfigure takes over what changed. What cannot change while the daemon
// runs is refused by name, and then nothing changes.
func (s *System) reconfigure() error {
	next, err := s.Configuration.Load()
	if err != nil {
		return err
	}
	changed := davit.ConfigDiff(*s.Host.Config(), next)
	fixed := slices.DeleteFunc(slices.Clone(changed), func(key string) bool { return slices.Contains(live, key) })
	if len(fixed) > 0 {
		return davit.Errorf(davit.InvalidConfiguration,
			"cannot reload the configuration: %s cannot change while the daemon runs: restart it, or take the change back", strings.Join(fixed, ", "))
	}
	if err := s.Configuration.Apply(next); err != nil {
		return fmt.Errorf("cannot reload the configuration: %w", err)
	}
	s.Host.SetConfig(next)
	s.Emit(davit.Event{Type: "daemon", Action: "reload", ActorID: s.Host.EngineID(), Attributes: map[string]string{"name": s.Facts.Hostname}})
	s.Log.Info("configuration reloaded", "changed", strings.Join(changed, ", "))
	return nil
}
