// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/parameters"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
)

// nameAndAddress is an entry of ListenSockets, a(ss).
type nameAndAddress struct{ Name, Address string }

// managerProperties asks the info job: the counts are the service's to tell.
func (s *session) managerProperties(ctx context.Context) (values.Properties, error) {
	info, err := engine.Do(ctx, s.eng, davit.Info{})
	if err != nil {
		return nil, err
	}
	waiting, finished := s.countJobs()
	fixed := s.opts.Properties
	sockets := []nameAndAddress{}
	for _, n := range fixed.Sockets {
		sockets = append(sockets, nameAndAddress{values.Text(n[0]), values.Text(n[1])})
	}
	mode := "legacy" // sd_booted's word for cgroups v1
	if info.CgroupVersion == "2" {
		mode = "unified"
	}
	var healthy, idleExit time.Duration
	if fixed.IdleExit != nil {
		idleExit = fixed.IdleExit()
	}
	if fixed.LastHealthCheck != nil {
		healthy = fixed.LastHealthCheck()
	}
	return values.Properties{
		"Version": davit.Release, "ApiVersion": davit.APIVersion, "MinApiVersion": davit.MinAPIVersion, "Features": features(info),
		"StateDirectory": values.Text(fixed.DataRoot), "RuntimeDirectory": values.Text(fixed.ExecRoot), "Slice": values.Text(fixed.Slice),
		"StorageDriver": values.Text(fixed.StorageDriver), "FirewallBackend": values.Text(info.FirewallBackend),
		"ListenSockets": sockets, "ControlGroupMode": mode,
		"NContainers": uint32(info.Containers), "NRunning": uint32(info.Running), "NPaused": uint32(info.Paused),
		"NImages": uint32(info.Images), "NJobs": waiting, "NFinishedJobs": finished,
		"FinishedJobRetentionUSec": uint64(engine.RetainFor.Microseconds()),
		"IdleExitUSec":             uint64(idleExit.Microseconds()), "WatchdogUSec": uint64(fixed.Watchdog.Microseconds()),
		"LastHealthCheckTimestampMonotonic": uint64(healthy.Microseconds()), "StateSerial": s.serial,
	}, nil
}

// features says what this build and this kernel can do, as systemd's property
// of the name does: + is there, - is not.
func features(info davit.EngineInfo) string {
	seccomp := "-SECCOMP"
	if info.Seccomp {
		seccomp = "+SECCOMP"
	}
	apparmor := " -APPARMOR"
	if info.AppArmor {
		apparmor = " +APPARMOR"
	}
	return seccomp + apparmor + " -SELINUX"
}

// countJobs returns how many jobs wait or run, and how many have finished.
func (s *session) countJobs() (active, finished uint32) {
	for _, j := range s.eng.Jobs() {
		if j.Snapshot().State == engine.Finished {
			finished++
		} else {
			active++
		}
	}
	return active, finished
}

func describeEngine(c *call) ([]any, error) {
	version, err := ask(c, davit.Version{})
	if err != nil {
		return nil, err
	}
	info, err := ask(c, davit.Info{})
	return document(struct {
		Version davit.VersionInfo
		Info    davit.EngineInfo
		Start   values.Account
	}{version, info, values.Start(c.eng.Start())}, err)
}

// jobLine is a line of ListJobs, a(ussssdo).
type jobLine struct {
	ID                           uint32
	Type, Subject, State, Result string
	Progress                     float64
	Path                         godbus.ObjectPath
}

func listJobs(c *call) ([]any, error) {
	lines := []jobLine{}
	for _, j := range c.eng.Jobs() {
		s := j.Snapshot()
		lines = append(lines, jobLine{
			s.ID, s.Type, values.Text(s.Subject), string(s.State), string(s.Result), values.Fraction(s), values.JobPath(s.ID),
		})
	}
	return []any{lines}, nil
}

// typeLine is a line of ListJobTypes, a(sbsa{ss}).
type typeLine struct {
	Name       string
	External   bool   // a caller may enqueue it
	Action     string // of polkit(8), that it needs at least; "" is root's
	Parameters map[string]string
}

func listJobTypes(c *call) ([]any, error) {
	lines := []typeLine{}
	for _, t := range c.eng.Types() {
		known := map[string]string{}
		for name, goType := range t.Parameters {
			known[name] = parameters.Signature(goType)
		}
		for _, name := range fileParameters(t.Name) {
			known[name] = "s"
		}
		action := t.Action
		if action != "" {
			action = davit.BusName + "." + action
		}
		lines = append(lines, typeLine{t.Name, !t.Internal && t.Class == engine.Change, action, known})
	}
	return []any{lines}, nil
}

// jobOf returns the job of an id that the caller may watch. Who may look at
// the engine is told that there is none.
func jobOf(c *call) (*engine.Job, error) {
	j, err := c.eng.Job(arg[uint32](c, 0))
	if err == nil {
		return j, c.mayWatch(j)
	}
	if denied := c.mayInspect(); denied != nil {
		return nil, denied
	}
	return nil, err
}

func getJob(c *call) ([]any, error) {
	j, err := jobOf(c)
	if err != nil {
		return nil, err
	}
	return []any{values.JobPath(j.ID())}, nil
}

func cancelJobByID(c *call) ([]any, error) {
	_, err := ask(c, davit.JobCancel{ID: arg[uint32](c, 0)})
	return nil, err
}

func waitJobByID(c *call) ([]any, error) {
	j, err := jobOf(c)
	if err != nil {
		return nil, err
	}
	return waitJob(c, j)
}

// reload answers when the configuration was read.
func reload(c *call) ([]any, error) {
	_, err := ask(c, davit.Reload{})
	return nil, err
}

// prune translates Prune(class, filters, flags).
func prune(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	filters, err := parameters.Filters(arg[map[string]godbus.Variant](c, 1))
	if err != nil {
		return nil, err
	}
	return c.submit(davit.Prune{Class: arg[string](c, 0), Filters: filters})
}

func diskUsage(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 0), 0); err != nil {
		return nil, err
	}
	return document(ask(c, davit.DiskUsage{}))
}

// createContainer translates CreateContainer(name, config, flags), whose config
// is the body of the Docker API's request.
func createContainer(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	if c.opts.DecodeCreate == nil {
		return later(c)
	}
	q, err := c.opts.DecodeCreate(arg[string](c, 0), []byte(arg[string](c, 1)))
	if err != nil {
		return nil, err
	}
	return c.submit(q)
}

// listArgs checks the arguments that all List methods take: filters and flags.
func listArgs(c *call) (map[string][]string, error) {
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	return parameters.Filters(arg[map[string]godbus.Variant](c, 0))
}
