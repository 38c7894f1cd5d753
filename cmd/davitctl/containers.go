// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit"
)

// container is a line of ListContainers, a(sssssto).
type container struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Image   string          `json:"image"`
	State   string          `json:"state"`
	Unit    string          `json:"unit"`
	Created uint64          `json:"created"` // microseconds since the epoch
	Path    dbus.ObjectPath `json:"path"`
}

var containerStates = []string{
	string(davit.StatusCreated), string(davit.StatusRunning), string(davit.StatusPaused), string(davit.StatusRestarting),
	string(davit.StatusRemoving), string(davit.StatusExited), string(davit.StatusDead),
}

// checkStates refuses a state that nothing can be in.
func checkStates(given, known []string) error {
	for _, s := range given {
		if !slices.Contains(known, s) {
			return usageError{fmt.Errorf("there is no state %q: use %s", s, strings.Join(known, ", "))}
		}
	}
	return nil
}

func newList(o *options) *cobra.Command {
	all := true
	var states, filters []string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ps"}, Short: "List the containers", Args: arguments(0, 0),
		Long: "List the containers, those that do not run included.",
		RunE: o.onBus(func(c *client, _ []string) error {
			if err := checkStates(states, containerStates); err != nil {
				return err
			}
			if !all && len(states) == 0 {
				states = []string{string(davit.StatusRunning), string(davit.StatusRestarting), string(davit.StatusPaused)}
			}
			return c.list(states, filters)
		}),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", true, "also those that do not run; --all=false leaves them out")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in this `STATE`, such as running, paused or exited")
	cmd.Flags().StringArrayVarP(&filters, "filter", "f", nil, "only those that match `NAME=VALUE`, such as label=a=b, name=web or ancestor=busybox")
	_ = cmd.RegisterFlagCompletionFunc("state", words(containerStates...)) // the flag is there
	return cmd
}

func (c *client) list(states, filters []string) error {
	values := map[string]dbus.Variant{}
	byName := map[string][]string{}
	for _, f := range filters {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			return usageError{fmt.Errorf("filter %q is not of the form NAME=VALUE", f)}
		}
		byName[name] = append(byName[name], value)
	}
	for name, v := range byName {
		values[name] = dbus.MakeVariant(v)
	}
	containers := []container{}
	if err := c.manager("ListContainers", values, uint64(0)).Store(&containers); err != nil {
		return fmt.Errorf("cannot list containers: %w", err)
	}
	if len(states) > 0 {
		containers = slices.DeleteFunc(containers, func(i container) bool { return !slices.Contains(states, i.State) })
	}
	t := &table{titles: []string{"ID", "NAME", "IMAGE", "STATE", "CREATED", "UNIT"}, noun: "containers"}
	for _, i := range containers {
		t.row(davit.ShortID(i.ID), printable(i.Name), printable(i.Image), cell{printable(i.State), stateColor(i.State)},
			fromUSec(i.Created).Local().Format(time.DateTime), printable(i.Unit))
	}
	return c.print(t, containers)
}

func stateColor(state string) string {
	switch davit.Status(state) {
	case davit.StatusRunning:
		return green
	case davit.StatusPaused, davit.StatusRestarting:
		return yellow
	case davit.StatusDead:
		return red
	}
	return dim
}

// verb is a command that makes one job for each of its containers.
type verb struct {
	name, short, long string
	states            []string // of the containers that are completed
	submit            func(c *client, name string) (submitted, error)
	noBlock           bool
}

func (v *verb) command(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: v.name + " CONTAINER...", Short: v.short, Long: v.long, Args: arguments(1, -1),
		ValidArgsFunction: completeContainers(o, -1, v.states...),
		RunE:              o.onBus(v.run),
	}
	cmd.Flags().BoolVar(&v.noBlock, "no-block", false, "print the numbers of the jobs and do not wait for them")
	return cmd
}

// run submits all jobs before it waits for the first, so that they run side by
// side.
func (v *verb) run(c *client, names []string) error {
	var jobs []submitted
	var errs error
	for _, name := range names {
		j, err := v.submit(c, name)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("cannot %s %s: %w", v.name, name, explain(err)))
			continue
		}
		jobs = append(jobs, j)
		if v.noBlock {
			if err := c.say("%d", j.id); err != nil {
				return err
			}
		}
	}
	if v.noBlock {
		return errs
	}
	for _, j := range jobs {
		_, _, err := c.outcome(j)
		c.abandon(j)
		errs = errors.Join(errs, explain(err))
	}
	return errs
}

func newStart(o *options) *cobra.Command {
	v := &verb{
		name: "start", short: "Start containers", long: "Start containers. One that runs already is left as it is.",
		states: []string{"created", "exited", "dead"},
		submit: func(c *client, name string) (submitted, error) {
			return c.submit("StartContainer", name, uint64(0))
		},
	}
	return v.command(o)
}

func newStop(o *options) *cobra.Command {
	return stopper(o, "StopContainer", verb{
		name: "stop", short: "Stop containers",
		long:   "Stop containers: each gets its stop signal, and is killed when the timeout has passed. One that does not run is left as it is.",
		states: []string{"running", "paused", "restarting"},
	})
}

func newRestart(o *options) *cobra.Command {
	return stopper(o, "RestartContainer", verb{name: "restart", short: "Stop containers, if they run, and start them", long: "Stop containers, if they run, and start them."})
}

// stopper is a verb with a timeout.
func stopper(o *options, method string, v verb) *cobra.Command {
	var timeout string
	v.submit = func(c *client, name string) (submitted, error) {
		usec := noLimit
		if timeout != "" {
			d, err := parseSpan(timeout)
			if err != nil {
				return submitted{}, err
			}
			usec = uint64(d.Microseconds())
		}
		return c.submit(method, name, usec, uint64(0))
	}
	cmd := v.command(o)
	cmd.Flags().StringVarP(&timeout, "timeout", "t", "", "how long to wait before the container is killed, a `TIME` such as 90 or \"1min 30s\"; the container's own, or 10s, if not given")
	return cmd
}

func newKill(o *options) *cobra.Command {
	signal := "SIGTERM"
	v := &verb{
		name: "kill", short: "Send a signal to the main process of containers", long: "Send a signal to the main process of containers.",
		states: []string{"running", "paused"},
		submit: func(c *client, name string) (submitted, error) {
			number, err := signalNumber(signal)
			if err != nil {
				return submitted{}, err
			}
			return c.submit("KillContainer", name, "main", number)
		},
	}
	cmd := v.command(o)
	cmd.Flags().StringVarP(&signal, "signal", "s", signal, "the `SIGNAL`, by name or number")
	_ = cmd.RegisterFlagCompletionFunc("signal", words("SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT")) // the flag is there
	return cmd
}

// signalNumber reads "9", "KILL" or "SIGKILL".
func signalNumber(s string) (int32, error) {
	if n, err := strconv.ParseInt(s, 10, 32); err == nil && n > 0 && n <= 64 {
		return int32(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return int32(n), nil
	}
	return 0, usageError{fmt.Errorf("%q is not a signal", s)}
}

func newRemove(o *options) *cobra.Command {
	var force bool
	v := &verb{
		name: "remove", short: "Remove containers", long: "Remove containers with their files. Volumes stay.",
		submit: func(c *client, name string) (submitted, error) {
			var flags uint64
			if force {
				flags = flagForce
			}
			return c.submit("RemoveContainer", name, flags)
		},
	}
	cmd := v.command(o)
	cmd.Aliases = []string{"rm"}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also those that run: they are killed")
	return cmd
}
