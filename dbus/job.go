// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"io"
	"math"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/host"
	"github.com/davit-engine/davit/dbus/lines"
	"github.com/davit-engine/davit/dbus/reach"
	"github.com/davit-engine/davit/engine"
)

// fraction returns how far the item that was last reported is, 0 to 1; 0 when
// its total is unknown.
func fraction(s engine.Snapshot) float64 {
	switch {
	case s.Result == engine.Done || s.Result == engine.Skipped:
		return 1
	case s.Progress.Total == 0:
		return 0
	}
	return min(1, float64(s.Progress.Current)/float64(s.Progress.Total))
}

// total returns a progress total in the bus's form, where UINT64_MAX is
// unknown.
func total(p engine.Progress) uint64 {
	if p.Total == 0 {
		return math.MaxUint64
	}
	return p.Total
}

// phaseOf returns what the job is at: its last reported progress says more
// than its step.
func phaseOf(s engine.Snapshot) string {
	if s.Progress.Phase != "" && s.State != engine.Finished {
		return text(s.Progress.Phase)
	}
	return text(s.Phase)
}

func jobProperties(k host.Clock, s engine.Snapshot) properties {
	p := properties{
		"Id": s.ID, "Type": s.Type, "Parent": s.Parent, "Subject": text(s.Subject),
		"State": string(s.State), "Result": string(s.Result), "ErrorName": "", "ErrorMessage": "",
		"Phase": phaseOf(s), "Progress": fraction(s), "ProgressCurrent": s.Progress.Current, "ProgressTotal": total(s.Progress),
		"Cancellable": s.Cancellable, "Transport": s.Caller.Transport, "OwnerUID": s.Caller.UID,
		"EnqueueTimestamp": usec(s.Enqueued), "StartTimestamp": usec(s.Started), "FinishTimestamp": usec(s.Ended),
		"EnqueueTimestampMonotonic": k.USec(s.Enqueued), "StartTimestampMonotonic": k.USec(s.Started), "FinishTimestampMonotonic": k.USec(s.Ended),
	}
	if s.Caller.Transport == "" {
		p["Transport"] = engine.Internal
	}
	if failed(s) {
		p["ErrorName"], p["ErrorMessage"] = errorName(s.Err)
	}
	return p
}

// failed tells whether the job's error is one: what was so already is not.
func failed(s engine.Snapshot) bool { return s.Err != nil && s.Result != engine.Skipped }

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
		lines = append(lines, afterLine{s.ID, s.Type, text(s.Subject), string(s.State), jobPath(s.ID)})
	}
	return []any{lines}, nil
}

// subjectPath returns the object that a job is about, "/" for none. What it
// made counts more than what it was about, which may have been renamed since.
func (s *session) subjectPath(ctx context.Context, j engine.Snapshot) godbus.ObjectPath {
	switch r := j.Output.(type) {
	case davit.Created:
		return containerPath(r.ID)
	case davit.Image:
		return imagePath(r.ID)
	case davit.Volume:
		return pathOf("volume", r.Name)
	}
	if j.Subject == "" {
		return "/"
	}
	switch davit.BusName + "." + reach.SubjectKind(j.Type) {
	case containerInterface:
		if c, err := engine.Do(ctx, s.eng, davit.ContainerInspect{Container: j.Subject}); err == nil {
			return containerPath(c.ID)
		}
	case imageInterface:
		if i, err := engine.Do(ctx, s.eng, davit.ImageInspect{Image: j.Subject}); err == nil {
			return imagePath(i.ID)
		}
	case volumeInterface:
		if v, err := engine.Do(ctx, s.eng, davit.VolumeInspect{Volume: j.Subject}); err == nil {
			return pathOf("volume", v.Name)
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
	return []any{string(s.Result), outputOf(s)}, nil
}

// outputOf returns the result of a job in the words of the bus.
func outputOf(s engine.Snapshot) map[string]godbus.Variant {
	out := properties{}
	if failed(s) {
		out["ErrorName"], out["ErrorMessage"] = errorName(s.Err)
	}
	switch r := s.Output.(type) {
	case davit.Created:
		out["Id"], out["Container"], out["Warnings"] = r.ID, containerPath(r.ID), texts(r.Warnings)
	case davit.Image:
		out["Id"], out["Image"] = string(r.ID), imagePath(r.ID)
		if r.Manifest != "" {
			out["Digest"] = string(r.Manifest)
		}
	case davit.Volume:
		out["Volume"] = pathOf("volume", r.Name)
	case davit.Exit:
		out["ExitStatus"] = int32(r.Code)
	case string:
		out["Id"] = text(r)
	case davit.Descriptor:
		out["Digest"] = string(r.Digest)
	case davit.Pruned:
		out["Containers"], out["Volumes"], out["Networks"] = texts(r.Containers), texts(r.Volumes), texts(r.Networks)
		out["Untagged"], out["Deleted"] = deletions(r.Images)
		out["Reclaimed"] = uint64(max(0, r.Reclaimed))
	case []davit.Image:
		paths := []godbus.ObjectPath{}
		for _, i := range r {
			paths = append(paths, imagePath(i.ID))
		}
		out["Images"] = paths
	case []davit.ImageDeletion:
		out["Untagged"], out["Deleted"] = deletions(r)
	}
	return out.variants()
}

func deletions(list []davit.ImageDeletion) (untagged, deleted []string) {
	untagged, deleted = []string{}, []string{}
	for _, d := range list {
		if d.Untagged != "" {
			untagged = append(untagged, text(d.Untagged))
		}
		if d.Deleted != "" {
			deleted = append(deleted, text(d.Deleted))
		}
	}
	return untagged, deleted
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
	return []any{st.only()}, err
}

// writeOutput follows the job until it has finished or w cannot be written to:
// the error is then the reader's choice, not a fault.
func writeOutput(ctx context.Context, w io.Writer, j *engine.Job) {
	err := j.Watch(ctx, func(p engine.Progress) error { return lines.Write(w, lines.Progress(p)) })
	if s := j.Snapshot(); err == nil && failed(s) {
		_ = lines.Write(w, lines.Failure(s.Err)) // to a reader who may have gone
	}
}
