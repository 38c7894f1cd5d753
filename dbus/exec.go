// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/lent"
	"github.com/davit-engine/davit/dbus/parameters"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/descriptor"
)

// createExec translates CreateExec(argv, properties, flags) with the
// properties Environment as, User s, WorkingDirectory s, TTY b, Privileged b,
// DetachKeys s. Which streams are used is said at the start.
func createExec(c *call, i davit.ContainerInfo) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	x := davit.Exec{ContainerID: i.ID, Cmd: arg[[]string](c, 0), AttachStdin: true, AttachStdout: true, AttachStderr: true}
	o := parameters.Of(arg[map[string]godbus.Variant](c, 1))
	parameters.Take(o, "Environment", &x.Env)
	parameters.Take(o, "User", &x.User)
	parameters.Take(o, "WorkingDirectory", &x.WorkingDir)
	parameters.Take(o, "TTY", &x.Tty)
	parameters.Take(o, "Privileged", &x.Privileged)
	parameters.Take(o, "DetachKeys", &x.DetachKeys)
	if err := o.Finish(); err != nil {
		return nil, err
	}
	id, err := ask(c, davit.ExecCreate{Exec: x})
	return []any{values.Text(id), values.ExecPath(id)}, err
}

// startExec translates Start(streams, flags); without streams the process runs
// detached. One whose streams the caller has all closed is hung up: what it
// goes on to write would be read and thrown away, for ever.
func startExec(c *call, x davit.Exec) ([]any, error) {
	names := arg[[]string](c, 0)
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	q := davit.ExecStart{ID: x.ID, Tty: x.Tty}
	if len(names) == 0 {
		q.Detach = true
		j, err := c.submitWith(c.session.ctx, q) // it outlives the call
		if err != nil {
			return nil, err
		}
		if _, err := j.Wait(c.ctx); err != nil {
			return nil, err
		}
		return append([]any{[]namedFD{}}, jobReply(j)...), nil
	}
	st, open, err := c.stdio(names, x.Tty)
	if err != nil {
		return nil, err
	}
	q.Open = open
	st.left = func() { st.c.hangUp(x.ID) }
	j, err := st.start(q, false)
	if err != nil {
		return nil, err
	}
	return append([]any{st.fds(names)}, jobReply(j)...), nil
}

func resizeExec(c *call, x davit.Exec) ([]any, error) {
	_, err := ask(c, davit.ExecResize{ID: x.ID, Rows: uint(arg[uint32](c, 0)), Columns: uint(arg[uint32](c, 1))})
	return nil, err
}

func killExec(c *call, x davit.Exec) ([]any, error) {
	signal, err := signalArgs(c, 0)
	if err != nil {
		return nil, err
	}
	return c.submit(davit.ExecKill{ID: x.ID, Signal: signal})
}

func describeExec(c *call, x davit.Exec) ([]any, error) {
	return document(ask(c, davit.ExecInspect{ID: x.ID}))
}

// attach translates Attach(streams, flags).
func attach(c *call, i davit.ContainerInfo) ([]any, error) {
	names := arg[[]string](c, 0)
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, refusal.InvalidArgs("no stream is named")
	}
	st, open, err := c.stdio(names, i.Config.Tty)
	if err != nil {
		return nil, err
	}
	tty := names[0] == "tty"
	_, err = st.start(davit.Attach{
		Container: i.ID, Stream: true, Open: open,
		Stdin: tty || slices.Contains(names, "stdin"), Stdout: tty || slices.Contains(names, "stdout"), Stderr: slices.Contains(names, "stderr"),
	}, false)
	if err != nil {
		return nil, err
	}
	return []any{st.fds(names)}, nil
}

// openShell translates OpenShell(user, path, args, environment): a terminal of
// this host whose other side is copied to and from the session's, in the
// container. args[0], which machined makes the process's name, is left out:
// sessions have the name of their program. A process whose terminal the caller
// has closed is hung up, as any is.
func openShell(c *call, i davit.ContainerInfo) ([]any, error) {
	x := davit.Exec{
		ContainerID: i.ID, User: arg[string](c, 0), Cmd: []string{arg[string](c, 1)}, Env: arg[[]string](c, 3),
		Tty: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
	}
	if x.Cmd[0] == "" {
		x.Cmd[0] = "/bin/sh"
	}
	if args := arg[[]string](c, 2); len(args) > 1 {
		x.Cmd = append(x.Cmd, args[1:]...)
	}
	st, err := newStream(c)
	if err != nil {
		return nil, err
	}
	ours, err := st.add("out", descriptor.Terminal)
	if err != nil {
		st.abandon()
		return nil, err
	}
	id, err := ask(c, davit.ExecCreate{Exec: x})
	if err != nil {
		st.abandon()
		return nil, err
	}
	st.left = func() { st.c.hangUp(id) }
	t := &terminal{File: lent.Of(ours), resized: func(rows, columns uint) { st.c.resize(id, rows, columns) }}
	_, err = st.start(davit.ExecStart{ID: id, Tty: true, Open: func(bool) (davit.Streams, error) {
		st.begin()
		return davit.Streams{Stdin: t, Stdout: t}, nil
	}}, false)
	if err != nil {
		return nil, err
	}
	return []any{st.Only(), "", values.ExecPath(id)}, nil
}

// hangUp signals a session's process. It is the daemon that does: the terminal,
// or the pipes, that it made are gone.
func (s *session) hangUp(id string) {
	if _, err := engine.Do(s.ctx, s.eng, davit.ExecKill{ID: id, Signal: "HUP"}); err != nil {
		s.log.Debug("a session that was left is not hung up", "exec", id, "error", err)
	}
}

func (s *session) resize(id string, rows, columns uint) {
	if _, err := engine.Do(s.ctx, s.eng, davit.ExecResize{ID: id, Rows: rows, Columns: columns}); err != nil {
		s.log.Debug("a shell is not resized", "exec", id, "error", err)
	}
}

// terminal is the daemon's side of a terminal. Nothing tells it that the
// caller changed the size of the other side (SIGWINCH goes to that side's
// processes, and there are none), so it looks whenever something passes
// through: a program that was not told draws wrong until the next key.
// ResizeTTY of the session's object tells at once.
type terminal struct {
	*lent.File
	resized       func(rows, columns uint)
	rows, columns uint // touched by Read alone
}

// Read looks at the size before it hands on what was typed.
func (t *terminal) Read(p []byte) (int, error) {
	n, err := t.File.Read(p)
	if rows, columns, sizeErr := descriptor.WindowSize(t.Raw()); sizeErr == nil && (rows != t.rows || columns != t.columns) && rows > 0 && columns > 0 {
		t.rows, t.columns = rows, columns
		t.resized(rows, columns)
	}
	if errors.Is(err, syscall.EIO) { // how a terminal says that the other side was closed
		err = io.EOF
	}
	return n, err
}

// containerRoot answers with the root directory of a running container.
func containerRoot(c *call, i davit.ContainerInfo) ([]any, error) {
	return c.directory(ask(c, davit.RootDirectory{Container: i.ID}))
}

func (c *call) directory(f *os.File, err error) ([]any, error) {
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, fmt.Errorf("cannot open the directory: %w", os.ErrNotExist)
	}
	return []any{c.give(f)}, nil
}
