// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"io"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/lines"
	"github.com/davit-engine/davit/dbus/reach"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
)

func cancelJob(c *call, j *engine.Job) ([]any, error) {
	_, err := ask(c, davit.JobCancel{ID: j.ID()})
	return nil, err
}

// afterLine is a line of GetAfter, a(ussso).
type afterLine struct {
	ID                   uint32
	Type, Subject, State string
	Path                 godbus.ObjectPath
}

// jobsBefore answers with the jobs that this one waits for.
func jobsBefore(_ *call, j *engine.Job) ([]any, error) {
	lines := []afterLine{}
	for _, o := range j.After() {
		s := o.Snapshot()
		lines = append(lines, afterLine{s.ID, s.Type, values.Text(s.Subject), string(s.State), values.JobPath(s.ID)})
	}
	return []any{lines}, nil
}

// subjectPath returns the object that a job is about, "/" for none. What it
// made counts more than what it was about, which may have been renamed since.
func (s *session) subjectPath(ctx context.Context, j engine.Snapshot) godbus.ObjectPath {
	switch r := j.Output.(type) {
	case davit.Created:
		return values.ContainerPath(r.ID)
	case davit.Image:
		return values.ImagePath(r.ID)
	case davit.Volume:
		return values.Path("volume", r.Name)
	}
	if j.Subject == "" {
		return "/"
	}
	switch davit.BusName + "." + reach.SubjectKind(j.Type) {
	case containerInterface:
		if c, err := engine.Do(ctx, s.eng, davit.ContainerInspect{Container: j.Subject}); err == nil {
			return values.ContainerPath(c.ID)
		}
	case imageInterface:
		if i, err := engine.Do(ctx, s.eng, davit.ImageInspect{Image: j.Subject}); err == nil {
			return values.ImagePath(i.ID)
		}
	case volumeInterface:
		if v, err := engine.Do(ctx, s.eng, davit.VolumeInspect{Volume: j.Subject}); err == nil {
			return values.Path("volume", v.Name)
		}
	}
	return "/"
}

// waitJob answers when the job has finished, also when it has failed: the
// wait succeeded.
func waitJob(c *call, j *engine.Job) ([]any, error) {
	ctx, cancel := c.waiting()
	defer cancel()
	select {
	case <-j.Done():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s := j.Snapshot()
	return []any{string(s.Result), values.Output(s)}, nil
}

// openOutput answers with the reading end of a pipe from which the job's
// progress comes as the lines of JSON that a Docker client gets, from the
// beginning to the end of the job.
func openOutput(c *call, j *engine.Job) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 0), 0); err != nil {
		return nil, err
	}
	st, err := newStream(c)
	if err != nil {
		return nil, err
	}
	w, err := st.add("out", output)
	if err != nil {
		st.abandon()
		return nil, err
	}
	c.files = append(c.files, st.theirs["out"])
	ctx, cancel := context.WithCancel(c.session.ctx) // the stream outlives the call
	stop, err := st.watch(cancel)
	if err != nil {
		cancel()
	}
	c.streams.Go(func() {
		defer st.release()
		defer cancel()
		defer stop()
		defer w.Close()
		// A reader that does not read must not hold the service up.
		defer context.AfterFunc(ctx, func() { _ = w.Close() })()
		writeOutput(ctx, w, j)
	})
	return []any{st.Only()}, err
}

// writeOutput follows the job until it has finished or w cannot be written to:
// the error is then the reader's choice, not a fault.
func writeOutput(ctx context.Context, w io.Writer, j *engine.Job) {
	err := j.Watch(ctx, func(p engine.Progress) error { return lines.Write(w, lines.Progress(p)) })
	if s := j.Snapshot(); err == nil && values.Failed(s) {
		_ = lines.Write(w, lines.Failure(s.Err)) // to a reader who may have gone
	}
}
