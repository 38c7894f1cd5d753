// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

func containerProperties(c davit.ContainerInfo) properties {
	policy := c.HostConfig.RestartPolicy
	restart := policy.Name
	if restart == "" {
		restart = "no"
	}
	if policy.MaximumRetryCount > 0 {
		restart += ":" + strconv.Itoa(policy.MaximumRetryCount)
	}
	return properties{
		"Id": c.ID, "Name": text(c.Name), "Image": text(c.ImageRef), "ImageId": text(string(c.ImageID)), "Unit": text(c.State.Unit),
		"State": string(c.State.Status), "Leader": uint32(max(0, c.State.Pid)), "ExitStatus": int32(c.State.ExitCode),
		"OOMKilled": c.State.OOMKilled, "RestartPolicy": text(restart), "NRestarts": uint32(max(0, c.Restarts)),
		"CreateTimestamp": usec(c.Created), "StartTimestamp": usec(c.State.StartedAt), "FinishTimestamp": usec(c.State.FinishedAt),
	}
}

// containerChanges are the properties whose changes are signalled.
var containerChanges = []string{
	"Name", "Unit", "State", "Leader", "ExitStatus", "OOMKilled", "RestartPolicy", "NRestarts", "StartTimestamp", "FinishTimestamp",
}

// containerLine is a line of ListContainers, a(sssssto).
type containerLine struct {
	ID, Name, Image, State, Unit string
	Created                      uint64 // microseconds since the epoch
	Path                         godbus.ObjectPath
}

func listContainers(c *call) ([]any, error) {
	filters, err := listArgs(c)
	if err != nil {
		return nil, err
	}
	list, err := ask(c, davit.Containers{All: true, Filters: filters})
	lines := []containerLine{}
	for _, i := range list {
		lines = append(lines, containerLine{
			i.ID, text(i.Name), text(i.ImageRef), string(i.State.Status), text(i.State.Unit), usec(i.Created), containerPath(i.ID),
		})
	}
	return []any{lines}, err
}

func getContainer(c *call) ([]any, error) {
	i, err := ask(c, davit.ContainerInspect{Container: arg[string](c, 0)})
	return []any{containerPath(i.ID)}, err
}

// named is the part that a method of the Manager, which takes a name first,
// and the method of the object have in common. The arguments after the name
// begin at first.
type named func(c *call, container string, first int) ([]any, error)

// onManager makes a handler of a method whose first argument is the name.
func onManager(c *call, f named) ([]any, error) { return f(c, arg[string](c, 0), 1) }

// onContainer makes a handler of a container object's method.
func onContainer(f named) handler {
	return on(func(c *call, i davit.ContainerInfo) ([]any, error) { return f(c, i.ID, 0) })
}

func startContainer(c *call) ([]any, error)   { return onManager(c, startContainerNamed) }
func stopContainer(c *call) ([]any, error)    { return onManager(c, stopContainerNamed) }
func restartContainer(c *call) ([]any, error) { return onManager(c, restartContainerNamed) }
func killContainer(c *call) ([]any, error)    { return onManager(c, killContainerNamed) }
func removeContainer(c *call) ([]any, error)  { return onManager(c, removeContainerNamed) }

func startContainerNamed(c *call, container string, first int) ([]any, error) {
	if err := checkFlags(arg[uint64](c, first), 0); err != nil {
		return nil, err
	}
	return c.submit(davit.Start{Container: container})
}

func stopContainerNamed(c *call, container string, first int) ([]any, error) {
	if err := checkFlags(arg[uint64](c, first+1), 0); err != nil {
		return nil, err
	}
	return c.submit(davit.Stop{Container: container, Timeout: timeout(arg[uint64](c, first))})
}

func restartContainerNamed(c *call, container string, first int) ([]any, error) {
	if err := checkFlags(arg[uint64](c, first+1), 0); err != nil {
		return nil, err
	}
	return c.submit(davit.Restart{Container: container, Timeout: timeout(arg[uint64](c, first))})
}

// timeout converts microseconds: UINT64_MAX is the default, and more than a
// Duration holds (292 years) is for ever.
func timeout(usec uint64) *time.Duration {
	if usec == math.MaxUint64 {
		return nil
	}
	d := time.Duration(-1)
	if usec <= math.MaxInt64/1000 {
		d = time.Duration(usec) * time.Microsecond
	}
	return &d
}

func killContainerNamed(c *call, container string, first int) ([]any, error) {
	whom, signal := arg[string](c, first), arg[int32](c, first+1)
	if whom != "" && whom != "main" && whom != "leader" {
		return nil, refuse(invalidArgs, "cannot signal %q: only the main process can be named (\"main\")", whom)
	}
	if signal < 1 || signal > 64 {
		return nil, refuse(invalidArgs, "%d is not a signal", signal)
	}
	return c.submit(davit.Kill{Container: container, Signal: strconv.Itoa(int(signal))})
}

func removeContainerNamed(c *call, container string, first int) ([]any, error) {
	flags := arg[uint64](c, first)
	if err := checkFlags(flags, flagForce); err != nil {
		return nil, err
	}
	return c.submit(davit.Delete{Container: container, Force: flags&flagForce != 0})
}

func renameContainer(c *call, i davit.ContainerInfo) ([]any, error) {
	return c.submit(davit.Rename{Container: i.ID, Name: arg[string](c, 0)})
}

func describeContainer(_ *call, i davit.ContainerInfo) ([]any, error) { return document(i, nil) }

// waitContainer follows the container until it meets a condition, at most as
// long as the caller is on the bus.
func waitContainer(c *call, i davit.ContainerInfo) ([]any, error) {
	ctx, cancel := c.waiting()
	defer cancel()
	exit, err := engine.Do(ctx, c.eng, davit.Wait{Container: i.ID, Condition: arg[string](c, 0)})
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return []any{int32(exit.Code), text(exit.Error)}, nil
}

// processLine is a line of GetProcesses, a(sus), as systemd's units have it.
type processLine struct {
	ControlGroup string
	PID          uint32
	Command      string
}

func containerProcesses(c *call, i davit.ContainerInfo) ([]any, error) {
	table, err := ask(c, davit.Top{Container: i.ID, Args: []string{"-eo", "pid,cgroup:512,args"}})
	if err != nil {
		return nil, err
	}
	pid, group, command := slices.Index(table.Titles, "PID"), slices.Index(table.Titles, "CGROUP"), slices.Index(table.Titles, "COMMAND")
	lines := []processLine{}
	for _, cells := range table.Processes {
		if min(pid, group, command) < 0 || len(cells) <= max(pid, group, command) {
			return nil, davit.Errorf(davit.Failed, "cannot read the list of processes: ps printed %q", table.Titles)
		}
		n, err := strconv.ParseUint(cells[pid], 10, 32)
		if err != nil {
			return nil, davit.Errorf(davit.Failed, "cannot read the list of processes: %w", err)
		}
		lines = append(lines, processLine{text(controlGroup(cells[group])), uint32(n), text(cells[command])})
	}
	return []any{lines}, nil
}

// controlGroup picks the path that systemd goes by of what ps prints, the
// entries of /proc/PID/cgroup joined with commas (cgroups(7)).
func controlGroup(cell string) string {
	var unified string
	for entry := range strings.SplitSeq(cell, ",") {
		if path, ok := strings.CutPrefix(entry, "0::"); ok {
			unified = path
		}
		if _, path, ok := strings.Cut(entry, ":name=systemd:"); ok {
			return path
		}
	}
	return unified
}
