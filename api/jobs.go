// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// Job is a job as /davit/jobs tells it. Times are zero until they have come.
type Job struct {
	ID          uint32
	Type        string
	Class       string
	Subject     string `json:",omitempty"`
	Parent      uint32 `json:",omitempty"`
	Transport   string
	UID         uint32
	State       string
	Result      string       `json:",omitempty"`
	Error       string       `json:",omitempty"`
	Code        string       `json:",omitempty"`
	Phase       string       `json:",omitempty"`
	Progress    *JobProgress `json:",omitempty"`
	Cancellable bool
	Enqueued    time.Time `json:",omitzero"`
	Started     time.Time `json:",omitzero"`
	Ended       time.Time `json:",omitzero"`
	Steps       []JobStep `json:",omitempty"`
}

// JobProgress is how far a job is; Total 0 is unknown.
type JobProgress struct {
	Phase, Item    string
	Current, Total uint64
}

// JobStep is when a step of a job ran.
type JobStep struct {
	Name       string
	Begin, End time.Time
}

// JobType is a row of the table of jobs; Parameters are names and Go types.
type JobType struct {
	Name       string
	Class      string
	Internal   bool
	Parameters map[string]string
}

func jobWire(s engine.Snapshot) Job {
	j := Job{
		ID: s.ID, Type: s.Type, Class: s.Class.String(), Subject: s.Subject, Parent: s.Parent,
		Transport: s.Caller.Transport, UID: s.Caller.UID, State: string(s.State), Result: string(s.Result),
		Phase: s.Phase, Cancellable: s.Cancellable, Enqueued: s.Enqueued, Started: s.Started, Ended: s.Ended,
	}
	if j.Transport == "" {
		j.Transport = engine.Internal
	}
	if s.Err != nil {
		j.Error, j.Code = s.Err.Error(), string(davit.CodeOf(s.Err))
	}
	if s.Progress != (engine.Progress{}) {
		p := JobProgress(s.Progress)
		j.Progress = &p
	}
	for _, step := range s.Steps {
		j.Steps = append(j.Steps, JobStep(step))
	}
	return j
}

func listJobs(c *call) error {
	if err := c.mayInspect(); err != nil {
		return err
	}
	out := []Job{}
	for _, j := range c.server.eng.Jobs() {
		out = append(out, jobWire(j.Snapshot()))
	}
	return c.reply(http.StatusOK, out)
}

// mayInspect asks whether the caller may look at what is no job itself.
func (c *call) mayInspect() error {
	return c.server.eng.Authorize(c.r.Context(), engine.Access{Action: davit.ActionInspect})
}

func (c *call) jobID() (uint32, error) {
	id, err := strconv.ParseUint(c.name, 10, 32)
	if err != nil {
		return 0, invalid("invalid job id %q: not a number", c.name)
	}
	return uint32(id), nil
}

func getJob(c *call) error {
	id, err := c.jobID()
	if err != nil {
		return err
	}
	j, err := c.server.eng.Job(id)
	if err != nil {
		// Who may not look is not told which numbers there are.
		return cmp.Or(c.mayInspect(), err)
	}
	if err := c.server.eng.AuthorizeWatch(c.r.Context(), j, engine.Access{Action: davit.ActionInspect}); err != nil {
		return err
	}
	return c.reply(http.StatusOK, jobWire(j.Snapshot()))
}

func cancelJob(c *call) error {
	id, err := c.jobID()
	if err != nil {
		return err
	}
	if _, err := query(c, davit.JobCancel{ID: id}); err != nil {
		return err
	}
	c.job = id
	return c.replyEmpty(http.StatusNoContent, nil)
}

func listJobTypes(c *call) error {
	if err := c.mayInspect(); err != nil {
		return err
	}
	out := []JobType{}
	for _, t := range c.server.eng.Types() {
		out = append(out, JobType{Name: t.Name, Class: t.Class.String(), Internal: t.Internal, Parameters: t.Parameters})
	}
	return c.reply(http.StatusOK, out)
}
