// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/host"
	"github.com/davit-engine/davit/dbus/parameters"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/dbus/wire"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/linux"
)

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
			i.ID, values.Text(i.Name), values.Text(i.ImageRef), string(i.State.Status), values.Text(i.State.Unit), values.USec(i.Created), values.ContainerPath(i.ID),
		})
	}
	return []any{lines}, err
}

func getContainer(c *call) ([]any, error) {
	i, err := ask(c, davit.ContainerInspect{Container: arg[string](c, 0)})
	return []any{values.ContainerPath(i.ID)}, err
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

func updateContainerNamed(c *call, container string, first int) ([]any, error) {
	if err := checkFlags(arg[uint64](c, first+1), 0); err != nil {
		return nil, err
	}
	q := davit.ContainerUpdate{Container: container}
	if err := parameters.Update(&q, arg[map[string]godbus.Variant](c, first)); err != nil {
		return nil, err
	}
	return c.submit(q)
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
	signal, err := signalArgs(c, first)
	if err != nil {
		return nil, err
	}
	return c.submit(davit.Kill{Container: container, Signal: signal})
}

// signalArgs reads the arguments whom and signal.
func signalArgs(c *call, first int) (string, error) {
	whom, signal := arg[string](c, first), arg[int32](c, first+1)
	if whom != "" && whom != "main" && whom != "leader" {
		return "", refusal.InvalidArgs("cannot signal %q: only the main process can be named (\"main\")", whom)
	}
	if signal < 1 || signal > 64 {
		return "", refusal.InvalidArgs("%d is not a signal", signal)
	}
	return strconv.Itoa(int(signal)), nil
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

func describeContainer(c *call, i davit.ContainerInfo) ([]any, error) {
	return document(ask(c, davit.ContainerInspect{Container: i.ID}))
}

func pauseContainer(c *call, i davit.ContainerInfo) ([]any, error) {
	return c.submit(davit.Pause{Container: i.ID})
}

func unpauseContainer(c *call, i davit.ContainerInfo) ([]any, error) {
	return c.submit(davit.Unpause{Container: i.ID})
}

// commitContainer translates Commit(reference, options, flags) with the options
// Author s, Comment s, Pause b (true by default), Changes as.
func commitContainer(c *call, i davit.ContainerInfo) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	q := davit.ContainerCommit{Container: i.ID, Reference: arg[string](c, 0), Pause: true}
	o := parameters.Of(arg[map[string]godbus.Variant](c, 1))
	parameters.Take(o, "Author", &q.Author)
	parameters.Take(o, "Comment", &q.Message)
	parameters.Take(o, "Pause", &q.Pause)
	parameters.Take(o, "Changes", &q.Changes)
	if err := o.Finish(); err != nil {
		return nil, err
	}
	return c.submit(q)
}

// exportContainer translates Export(fd, format, flags).
func exportContainer(c *call, i davit.ContainerInfo) ([]any, error) {
	if err := errors.Join(checkFormat(arg[string](c, 1), "tar"), checkFlags(arg[uint64](c, 2), 0)); err != nil {
		return nil, err
	}
	f, err := c.borrowed(arg[godbus.UnixFDIndex](c, 0), true)
	if err != nil {
		return nil, err
	}
	return c.lend(davit.Export{Container: i.ID, Open: f.Open}, f)
}

// checkFormat refuses a format of an archive that is not among the known ones;
// "" is the first of them.
func checkFormat(format string, known ...string) error {
	if format != "" && !slices.Contains(known, format) {
		return refusal.New(refusal.NameNotSupported, "format %q is not supported: use %s", format, strings.Join(known, " or "))
	}
	return nil
}

// copyTo translates CopyTo(tar_fd, destination, flags); with force, a directory
// may take the place of what is none, and the other way round.
func copyTo(c *call, i davit.ContainerInfo) ([]any, error) {
	flags := arg[uint64](c, 2)
	if err := checkFlags(flags, flagForce); err != nil {
		return nil, err
	}
	f, err := c.borrowed(arg[godbus.UnixFDIndex](c, 0), false)
	if err != nil {
		return nil, err
	}
	return c.lend(davit.ContainerExtract{Container: i.ID, Path: arg[string](c, 1), NoOverwriteDirNonDir: flags&flagForce == 0, Source: f}, f)
}

// copyFrom translates CopyFrom(source, tar_fd, flags).
func copyFrom(c *call, i davit.ContainerInfo) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	f, err := c.borrowed(arg[godbus.UnixFDIndex](c, 1), true)
	if err != nil {
		return nil, err
	}
	return c.lend(davit.ContainerCopy{
		Container: i.ID, Path: arg[string](c, 0),
		Open: func(davit.FileStat) (io.Writer, error) { return f.Open() },
	}, f)
}

func statPath(c *call, i davit.ContainerInfo) ([]any, error) {
	return document(ask(c, davit.ContainerStatPath{Container: i.ID, Path: arg[string](c, 0)}))
}

func resizeContainer(c *call, i davit.ContainerInfo) ([]any, error) {
	_, err := ask(c, davit.Resize{Container: i.ID, Rows: uint(arg[uint32](c, 0)), Columns: uint(arg[uint32](c, 1))})
	return nil, err
}

func containerRelease(c *call, i davit.ContainerInfo) ([]any, error) {
	return releaseReply(ask(c, davit.OSRelease{Container: i.ID}))
}

// releaseReply answers with the fields of os-release(5), a{ss}.
func releaseReply(fields map[string]string, err error) ([]any, error) {
	out := map[string]string{}
	for k, v := range fields {
		out[values.Text(k)] = values.Text(v)
	}
	return []any{out}, err
}

// changeLine is a line of GetChanges, a(su).
type changeLine struct {
	Path string
	Kind uint32 // 0 modified, 1 added, 2 deleted
}

func containerChanged(c *call, i davit.ContainerInfo) ([]any, error) {
	changes, err := ask(c, davit.ContainerChanges{Container: i.ID})
	lines := []changeLine{}
	for _, f := range changes {
		lines = append(lines, changeLine{values.Text(f.Path), uint32(f.Kind)})
	}
	return []any{lines}, err
}

// addressLine is a line of GetAddresses, a(iay), as machined has it: family and
// address, in the order of the network.
type addressLine struct {
	Family  int32
	Address []byte
}

func containerAddresses(c *call, i davit.ContainerInfo) ([]any, error) {
	now, err := ask(c, davit.ContainerInspect{Container: i.ID})
	lines := []addressLine{}
	for _, e := range now.Endpoints {
		switch a := e.Address.Addr(); {
		case a.Is4():
			lines = append(lines, addressLine{syscall.AF_INET, a.AsSlice()})
		case a.Is6():
			lines = append(lines, addressLine{syscall.AF_INET6, a.AsSlice()})
		}
	}
	return []any{lines}, err
}

// containerByPID finds the container of a process.
func containerByPID(c *call) ([]any, error) {
	i, err := ask(c, davit.ContainerByPID{PID: int(arg[uint32](c, 0))})
	return []any{values.ContainerPath(i.ID)}, err
}

// containerByPIDFD is [containerByPID] for callers to whom the process's number
// may have become another's meanwhile.
func containerByPIDFD(c *call) ([]any, error) {
	pidfd := c.take(arg[godbus.UnixFDIndex](c, 0))
	defer wire.CloseAll([]int{pidfd})
	pid, err := linux.PidOf(pidfd)
	if err != nil {
		return nil, refusal.InvalidArgs("%v", err)
	}
	i, err := ask(c, davit.ContainerByPID{PID: pid})
	if err != nil {
		return nil, err
	}
	// Else what was found may be of a process with the same number.
	if gone, err := linux.Ended(pidfd); err != nil || gone {
		return nil, davit.Errorf(davit.NoSuchContainer, "no such container: process %d has ended", pid)
	}
	return []any{i.ID, values.Text(i.Name), values.ContainerPath(i.ID)}, nil
}

func containerByUnit(c *call) ([]any, error) {
	unit := arg[string](c, 0)
	list, err := ask(c, davit.Containers{All: true})
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if unit != "" && i.State.Unit == unit {
			return []any{values.ContainerPath(i.ID)}, nil
		}
	}
	return nil, davit.Errorf(davit.NoSuchContainer, "no such container: none is unit %s", unit)
}

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
	return []any{int32(exit.Code), values.Text(exit.Error)}, nil
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
		lines = append(lines, processLine{values.Text(host.GroupIn(cells[group])), uint32(n), values.Text(cells[command])})
	}
	return []any{lines}, nil
}
