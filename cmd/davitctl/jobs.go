// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"
)

// job is a line of ListJobs, a(ussssdo).
type job struct {
	ID       uint32          `json:"id"`
	Type     string          `json:"type"`
	Subject  string          `json:"subject"`
	State    string          `json:"state"`
	Result   string          `json:"result"`
	Progress float64         `json:"progress"`
	Path     dbus.ObjectPath `json:"path"`
}

func (j job) progress() string {
	if j.State != "running" || j.Progress <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f%%", j.Progress*100)
}

// color is that of the job's state, and of its result once it has one.
func (j job) color() string {
	switch {
	case j.State == "running":
		return green
	case j.State == "waiting":
		return yellow
	case j.failed():
		return red
	}
	return dim
}

func (j job) failed() bool {
	return !slices.Contains([]string{"", "done", "skipped", "canceled"}, j.Result)
}

var jobStates = []string{"waiting", "running", "finished"}

func newListJobs(o *options) *cobra.Command {
	var states []string
	cmd := &cobra.Command{
		Use: "list-jobs", Short: "List the jobs that wait, run or have lately finished", Args: arguments(0, 0),
		Long: "List the jobs of the engine: those that wait or run, and those that have finished, for five minutes.",
		RunE: o.onBus(func(c *client, _ []string) error {
			if err := checkStates(states, jobStates); err != nil {
				return err
			}
			return c.listJobs(states)
		}),
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in this `STATE`: waiting, running or finished")
	_ = cmd.RegisterFlagCompletionFunc("state", words(jobStates...)) // the flag is there
	return cmd
}

func (c *client) listJobs(states []string) error {
	jobs := []job{}
	if err := c.manager("ListJobs").Store(&jobs); err != nil {
		return fmt.Errorf("cannot list jobs: %w", err)
	}
	if len(states) > 0 {
		jobs = slices.DeleteFunc(jobs, func(j job) bool { return !slices.Contains(states, j.State) })
	}
	t := &table{titles: []string{"ID", "TYPE", "SUBJECT", "STATE", "RESULT", "PROGRESS"}, right: map[int]bool{0: true}, noun: "jobs"}
	for _, j := range jobs {
		state, result := cell{j.State, j.color()}, cell{text: j.Result}
		if j.failed() {
			state.color, result.color = "", red
		}
		t.row(j.ID, printable(j.Type), printable(j.Subject), state, result, j.progress())
	}
	return c.print(t, jobs)
}

func newCancel(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID...", Short: "Cancel jobs", Args: arguments(1, -1),
		Long: "Cancel jobs: each undoes what it has done so far. A job that has finished stays as it is; one that is past " +
			"its point of no return cannot be cancelled.",
		ValidArgsFunction: completeJobs(o, "waiting", "running"),
		RunE:              o.onBus((*client).cancel),
	}
}

func (c *client) cancel(args []string) error {
	var ids []uint32
	for _, a := range args {
		id, err := jobID(a)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	var errs error
	for _, id := range ids {
		if err := c.manager("CancelJob", id).Err; err != nil {
			errs = errors.Join(errs, fmt.Errorf("cannot cancel job %d: %w", id, explain(err)))
		}
	}
	return errs
}

func jobID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, usageError{fmt.Errorf("%q is not the number of a job (davitctl list-jobs lists them)", s)}
	}
	return uint32(id), nil
}

func itoa(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// submitted is a job that a method has answered with.
type submitted struct {
	id   uint32
	path dbus.ObjectPath
}

// submit calls a method that makes a job.
func (c *client) submit(method string, args ...any) (submitted, error) {
	var j submitted
	err := c.manager(method, args...).Store(&j.id, &j.path)
	return j, err
}

// jobError says that a job did not end well.
type jobError struct {
	id              uint32
	result, message string
}

func (e *jobError) Error() string {
	text := fmt.Sprintf("job %d: %s", e.id, e.result)
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// outcome waits for a job to finish and returns what it made, or a *jobError.
func (c *client) outcome(j submitted) (result string, output properties, err error) {
	var values map[string]dbus.Variant
	if err := c.call(j.path, jobInterface+".Wait").Store(&result, &values); err != nil {
		return "", nil, fmt.Errorf("cannot wait for job %d: %w", j.id, err)
	}
	output = values
	if result != "done" && result != "skipped" {
		return result, output, &jobError{j.id, result, property[string](output, "ErrorMessage")}
	}
	return result, output, nil
}

// cancelPatience bounds how long an interrupted command waits for the engine
// to take the cancellation of its job.
const cancelPatience = 5 * time.Second

// abandon cancels a job when the command that made it was interrupted.
func (c *client) abandon(j submitted) {
	if c.ctx.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), cancelPatience)
	defer cancel()
	if err := c.callIn(ctx, j.path, jobInterface+".Cancel").Err; err != nil {
		_, _ = fmt.Fprintf(c.std.err, "davitctl: cannot cancel job %d: %s\n", j.id, printable(err.Error())) // the command has failed anyway
	}
}
