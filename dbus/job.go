// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// streamLimit bounds the descriptors that OpenOutput has given out and that
// are still written to.
const streamLimit = 256

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

func jobProperties(s engine.Snapshot) properties {
	p := properties{
		"Id": s.ID, "Type": s.Type, "Parent": s.Parent, "Subject": text(s.Subject),
		"State": string(s.State), "Result": string(s.Result), "ErrorName": "", "ErrorMessage": "",
		"Phase": phaseOf(s), "Progress": fraction(s), "ProgressCurrent": s.Progress.Current, "ProgressTotal": total(s.Progress),
		"Cancellable": s.Cancellable, "Transport": s.Caller.Transport, "OwnerUID": s.Caller.UID,
		"EnqueueTimestamp": usec(s.Enqueued), "StartTimestamp": usec(s.Started), "FinishTimestamp": usec(s.Ended),
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

func cancelJob(_ *call, j *engine.Job) ([]any, error) { return nil, j.Cancel() }

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
	case []davit.Image:
		paths := []godbus.ObjectPath{}
		for _, i := range r {
			paths = append(paths, imagePath(i.ID))
		}
		out["Images"] = paths
	case []davit.ImageDeletion:
		untagged, deleted := []string{}, []string{}
		for _, d := range r {
			if d.Untagged != "" {
				untagged = append(untagged, text(d.Untagged))
			}
			if d.Deleted != "" {
				deleted = append(deleted, text(d.Deleted))
			}
		}
		out["Untagged"], out["Deleted"] = untagged, deleted
	}
	return out.variants()
}

// openOutput answers with the reading end of a pipe from which the job's
// progress comes as the lines of JSON that a Docker client gets, from the
// beginning to the end of the job.
func openOutput(c *call, j *engine.Job) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 0), 0); err != nil {
		return nil, err
	}
	if c.nstreams.Add(1) > streamLimit {
		c.nstreams.Add(-1)
		return nil, refuse(limitsExceeded, "%d outputs are open already", streamLimit)
	}
	r, w, err := os.Pipe()
	if err != nil {
		c.nstreams.Add(-1)
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	c.files = append(c.files, r)
	s := c.session
	s.streams.Go(func() {
		defer s.nstreams.Add(-1)
		defer w.Close()
		// A reader that does not read must not hold the service up.
		stop := context.AfterFunc(s.ctx, func() { _ = w.SetWriteDeadline(time.Unix(1, 0)) })
		defer stop()
		writeOutput(s.ctx, w, j)
	})
	return []any{godbus.UnixFD(r.Fd())}, nil
}

// progressLine is a line of the Docker API's progress streams.
type progressLine struct {
	Status   string          `json:"status,omitempty"`
	ID       string          `json:"id,omitempty"`
	Progress *progressDetail `json:"progressDetail,omitempty"`
	Error    *errorDetail    `json:"errorDetail,omitempty"`
	Message  string          `json:"error,omitempty"`
}

type progressDetail struct {
	Current uint64 `json:"current,omitempty"`
	Total   uint64 `json:"total,omitempty"`
}

type errorDetail struct {
	Message string `json:"message"`
}

// writeOutput follows the job until it has finished or w cannot be written to:
// the error is then the reader's choice, not a fault.
func writeOutput(ctx context.Context, w *os.File, j *engine.Job) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	write := func(l progressLine) error {
		line.Reset()
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("cannot write JSON: %w", err)
		}
		_, err := w.Write(line.Bytes())
		return err
	}
	err := j.Watch(ctx, func(p engine.Progress) error {
		l := progressLine{Status: p.Phase, ID: p.Item}
		if p.Current != 0 || p.Total != 0 {
			l.Progress = &progressDetail{p.Current, p.Total}
		}
		return write(l)
	})
	if err != nil {
		return
	}
	if s := j.Snapshot(); failed(s) {
		_ = write(progressLine{Error: &errorDetail{s.Err.Error()}, Message: s.Err.Error()})
	}
}
