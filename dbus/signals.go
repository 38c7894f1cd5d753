// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
)

// emit sends a signal. One that the bus does not take is lost; when the
// connection is, Serve returns.
func (s *session) emit(path godbus.ObjectPath, iface, member string, body ...any) {
	err := s.conn.Emit(path, iface+"."+member, body...)
	if err != nil && !errors.Is(err, godbus.ErrClosed) {
		s.log.Warn("bus signal not sent", slog.String("member", member), slog.String("error", err.Error()))
	}
}

// changed tells of properties whose values changed.
func (s *session) changed(path godbus.ObjectPath, iface string, p values.Properties, invalid ...string) {
	s.emit(path, propertiesInterface, "PropertiesChanged", iface, p.Variants(), append([]string{}, invalid...))
}

// notice turns the engine's notices into signals, in their order.
func (s *session) notice(n engine.Notice) {
	snap := n.Job.Snapshot()
	path := values.JobPath(snap.ID)
	p := values.Job(s.clock, snap)
	switch n.Kind {
	case engine.JobNew:
		s.emit(values.Root, managerInterface, "JobNew", snap.ID, path, p["Subject"])
		s.changedJobs(1)
		s.reloads(snap, 1)
	case engine.JobChanged:
		s.changed(path, jobInterface, p.Only("State", "Phase", "StartTimestamp", "StartTimestampMonotonic"))
	case engine.JobProgress:
		s.emit(path, jobInterface, "ProgressUpdate", values.Text(n.Progress.Phase), values.Text(n.Progress.Item), n.Progress.Current, values.Total(n.Progress))
	case engine.JobRemoved:
		s.changed(path, jobInterface, p.Only("State", "Result", "Phase", "ErrorName", "ErrorMessage",
			"StartTimestamp", "StartTimestampMonotonic", "FinishTimestamp", "FinishTimestampMonotonic"))
		s.reloads(snap, -1)
		s.emit(values.Root, managerInterface, "JobRemoved", snap.ID, path, p["Subject"], p["Result"])
		s.changedJobs(-1)
	}
}

// reloads tells that the configuration is being read, and that it was. The
// job's state may be past that of the notice.
func (s *session) reloads(j engine.Snapshot, by int) {
	if j.Type != (davit.Reload{}).JobType() {
		return
	}
	before := s.reloading
	s.reloading += by
	if (before > 0) != (s.reloading > 0) {
		s.emit(values.Root, managerInterface, "Reloading", s.reloading > 0)
	}
}

// changedJobs counts the jobs by their notices; jobs that ran before come as
// new ones.
func (s *session) changedJobs(by int) {
	s.active += by
	s.changed(values.Root, managerInterface, values.Properties{"NJobs": uint32(max(0, s.active))})
}

// eventsRetry is the pause before events are followed again after the job that
// follows them has failed.
const eventsRetry = time.Second

// followEvents turns events into signals until ctx ends.
func (s *session) followEvents(ctx context.Context) {
	f := &follower{session: s, ctx: ctx}
	for ctx.Err() == nil {
		f.begin()
		_, err := engine.Do(ctx, s.eng, davit.Events{Emit: f.event})
		if ctx.Err() != nil || errors.Is(err, engine.ErrShuttingDown) {
			return
		}
		var none *engine.UnknownTypeError
		if errors.As(err, &none) {
			s.log.Warn("no signals of containers and images: the engine has no events job")
			return
		}
		s.log.Warn("events are followed again", slog.Any("error", err))
		select {
		case <-time.After(eventsRetry):
		case <-ctx.Done():
		}
	}
}

// follower remembers what was signalled. It is used by one goroutine.
type follower struct {
	*session
	ctx     context.Context
	images  map[digest.Digest][]string // id -> tags
	running map[string]bool            // by id
}

// begin takes stock. What happens before the events are followed is noticed
// with the first of them.
func (f *follower) begin() {
	f.images, f.running = map[digest.Digest][]string{}, map[string]bool{}
	f.refresh(false)
	list, err := engine.Do(f.ctx, f.eng, davit.Containers{})
	if err != nil {
		f.log.Debug("bus signals begin without the containers", slog.Any("error", err))
	}
	for _, c := range list {
		f.setRunning(c.ID, c.State.Status)
	}
}

// setRunning keeps account of the containers that run, and tells whether their
// number changed.
func (f *follower) setRunning(id string, status davit.Status) bool {
	before := len(f.running)
	if status == davit.StatusRunning || status == davit.StatusRestarting { // as the info job counts
		f.running[id] = true
	} else {
		delete(f.running, id)
	}
	return len(f.running) != before
}

// event is called by the events job for each event.
func (f *follower) event(e davit.Event) error {
	switch e.Type {
	case "container":
		f.container(e)
	case "image":
		f.refresh(true)
	case "network":
		f.announce(e, "Network", values.Path("network", e.ActorID))
	case "volume":
		f.announce(e, "Volume", values.Path("volume", e.ActorID))
	}
	return nil
}

// announce tells of a thing that was made or removed.
func (f *follower) announce(e davit.Event, kind string, path godbus.ObjectPath) {
	switch e.Action {
	case "create":
		f.emit(values.Root, managerInterface, kind+"New", values.Text(e.ActorID), path)
	case "destroy":
		f.emit(values.Root, managerInterface, kind+"Removed", values.Text(e.ActorID), path)
	}
}

// exec tells of a session that began or ended. The action of a beginning is
// followed by the command.
func (f *follower) exec(e davit.Event) {
	id := e.Attributes["execID"]
	x, err := engine.Do(f.ctx, f.eng, davit.ExecInspect{ID: id})
	if err != nil {
		return
	}
	f.changed(values.ExecPath(id), execInterface, values.Exec(x).Only("State", "Leader", "ExitStatus"))
}

func (f *follower) container(e davit.Event) {
	path := values.ContainerPath(e.ActorID)
	status := davit.StatusDead
	switch action, _, _ := strings.Cut(e.Action, ":"); action {
	case "create":
		f.announce(e, "Container", path)
		return
	case "exec_start", "exec_die":
		f.exec(e)
		return
	case "destroy":
		f.announce(e, "Container", path)
	case "start", "die", "stop", "kill", "restart", "pause", "unpause", "oom", "rename", "update":
		c, err := engine.Do(f.ctx, f.eng, davit.ContainerInspect{Container: e.ActorID})
		if err != nil {
			return // it has been removed, which is told by another event
		}
		status = c.State.Status
		f.changed(path, containerInterface, values.Container(c).Only(values.ContainerChanges()...), values.ContainerInvalid()...)
	default:
		return // attach, resize, …: no property changes
	}
	if f.setRunning(e.ActorID, status) {
		f.changed(values.Root, managerInterface, values.Properties{"NRunning": uint32(len(f.running))})
	}
}

// refresh compares the images with those that were known: one event (a pull,
// a load) can bring or change several.
func (f *follower) refresh(tell bool) {
	list, err := engine.Do(f.ctx, f.eng, davit.Images{All: true})
	if err != nil {
		return
	}
	now := map[digest.Digest][]string{}
	for _, i := range list {
		now[i.ID] = i.Tags
		tags, known := f.images[i.ID]
		switch {
		case !tell:
		case !known:
			f.emit(values.Root, managerInterface, "ImageNew", string(i.ID), values.ImagePath(i.ID))
		case !slices.Equal(tags, i.Tags):
			f.changed(values.ImagePath(i.ID), imageInterface, values.Properties{"References": values.Texts(i.Tags), "Digests": values.Texts(i.Digests)})
		}
	}
	for id := range f.images {
		if _, ok := now[id]; !ok && tell {
			f.emit(values.Root, managerInterface, "ImageRemoved", string(id), values.ImagePath(id))
		}
	}
	f.images = now
}
