// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"fmt"
	"slices"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// nameAndAddress is an entry of ListenSockets, a(ss).
type nameAndAddress struct{ Name, Address string }

// managerProperties asks the info job: the counts are the service's to tell.
func (s *session) managerProperties(ctx context.Context) (properties, error) {
	info, err := engine.Do(engine.WithCaller(ctx, engine.Caller{}), s.eng, davit.Info{}) // everybody may read them
	if err != nil {
		return nil, err
	}
	waiting, finished := s.countJobs()
	sockets := []nameAndAddress{}
	for _, n := range s.opts.Properties.Sockets {
		sockets = append(sockets, nameAndAddress{text(n[0]), text(n[1])})
	}
	mode := "legacy" // sd_booted's word for cgroups v1
	if info.CgroupVersion == "2" {
		mode = "unified"
	}
	return properties{
		"Version": davit.Release, "ApiVersion": davit.APIVersion, "MinApiVersion": davit.MinAPIVersion,
		"StateDirectory": text(s.opts.Properties.DataRoot), "RuntimeDirectory": text(s.opts.Properties.ExecRoot),
		"StorageDriver": text(s.opts.Properties.StorageDriver), "FirewallBackend": text(info.FirewallBackend),
		"ListenSockets": sockets, "ControlGroupMode": mode,
		"NContainers": uint32(info.Containers), "NRunning": uint32(info.Running), "NPaused": uint32(info.Paused),
		"NImages": uint32(info.Images), "NJobs": waiting, "NFinishedJobs": finished,
		"FinishedJobRetentionUSec": uint64(engine.RetainFor.Microseconds()),
	}, nil
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
		Start   startAccount
	}{version, info, startOf(c.eng.Start())}, err)
}

// startAccount is what Describe tells of the daemon's start.
type startAccount struct {
	Began, Ready time.Time // Ready is zero until it is
	Jobs         []startJob
}

// startJob is a job of the start, with the times of its steps; those that have
// not come are zero.
type startJob struct {
	ID                       uint32
	Type, Subject            string
	Parent                   uint32
	Follow                   bool // lasts as long as the daemon
	State, Result            string
	Enqueued, Started, Ended time.Time
	Steps                    []engine.StepTime
}

func startOf(s engine.Start) startAccount {
	a := startAccount{Began: s.Began, Ready: s.Ready, Jobs: []startJob{}}
	for _, j := range s.Jobs {
		a.Jobs = append(a.Jobs, startJob{
			ID: j.ID, Type: j.Type, Subject: j.Subject, Parent: j.Parent, Follow: j.Class == engine.Follow,
			State: string(j.State), Result: string(j.Result), Enqueued: j.Enqueued, Started: j.Started, Ended: j.Ended, Steps: j.Steps,
		})
	}
	return a
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
			s.ID, s.Type, text(s.Subject), string(s.State), string(s.Result), fraction(s), jobPath(s.ID),
		})
	}
	return []any{lines}, nil
}

// typeLine is a line of ListJobTypes, a(sbsa{ss}).
type typeLine struct {
	Name       string
	External   bool   // a caller may enqueue it
	Action     string // what it needs beyond root: nothing yet
	Parameters map[string]string
}

func listJobTypes(c *call) ([]any, error) {
	lines := []typeLine{}
	for _, t := range c.eng.Types() {
		parameters := map[string]string{}
		for name, goType := range t.Parameters {
			parameters[name] = signatureFor(goType)
		}
		lines = append(lines, typeLine{t.Name, !t.Internal && t.Class == engine.Change, "", parameters})
	}
	return []any{lines}, nil
}

func getJob(c *call) ([]any, error) {
	j, err := c.eng.Job(arg[uint32](c, 0))
	if err != nil {
		return nil, err
	}
	return []any{jobPath(j.ID())}, nil
}

func cancelJobByID(c *call) ([]any, error) {
	return nil, c.eng.Cancel(arg[uint32](c, 0))
}

func waitJobByID(c *call) ([]any, error) {
	j, err := c.eng.Job(arg[uint32](c, 0))
	if err != nil {
		return nil, err
	}
	return waitJob(c, j)
}

// filtersOf translates a{sv} filters: values are strings or lists of them.
func filtersOf(options map[string]godbus.Variant) (map[string][]string, error) {
	filters := map[string][]string{}
	for name, v := range options {
		switch v := v.Value().(type) {
		case string:
			filters[name] = []string{v}
		case []string:
			filters[name] = v
		default:
			return nil, refuse(invalidArgs, "filter %s must be of type s or as", name)
		}
	}
	return filters, nil
}

// listArgs checks the arguments that all List methods take: filters and flags.
func listArgs(c *call) (map[string][]string, error) {
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	return filtersOf(arg[map[string]godbus.Variant](c, 0))
}

// options are the entries of an a{sv} argument that were not taken yet.
type options struct {
	values map[string]godbus.Variant
	err    error // of the first that had a wrong type
}

// take stores the option of the name in dst if it is there.
func take[T any](o *options, name string, dst *T) {
	v, ok := o.values[name]
	if !ok {
		return
	}
	delete(o.values, name)
	value, ok := v.Value().(T)
	if !ok && o.err == nil {
		o.err = refuse(invalidArgs, "%s must be of type %s, not %s", name, godbus.SignatureOf(*dst), v.Signature())
	}
	*dst = value
}

// finish refuses what was not taken.
func (o *options) finish() error {
	if o.err != nil {
		return o.err
	}
	var names []string
	for name := range o.values {
		names = append(names, name)
	}
	if len(names) > 0 {
		slices.Sort(names)
		return refuse(invalidArgs, "unknown property %s", fmt.Sprintf("%q", names[0]))
	}
	return nil
}
