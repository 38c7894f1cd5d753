// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/body"
	"github.com/davit-engine/davit/api/wire"
	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/container"
)

func createExec(c *call) error {
	var req container.ExecCreateRequest
	// Detach is said again, and counts, at the start.
	if err := c.body(&req, "Detach"); err != nil {
		return err
	}
	x, err := body.Exec(c.name, req)
	if err != nil {
		return err
	}
	id, err := run(c, davit.ExecCreate{Exec: x})
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, common.IDResponse{ID: id})
}

func startExec(c *call) error {
	var body container.ExecStartRequest
	if err := c.body(&body); err != nil {
		return err
	}
	x, err := query(c, davit.ExecInspect{ID: c.name})
	if err != nil {
		return err
	}
	d, release := newDuplex(c, streams{x.AttachStdin, x.AttachStdout, x.AttachStderr})
	defer release()
	q := davit.ExecStart{ID: c.name, Detach: body.Detach, Tty: body.Tty}
	if body.ConsoleSize != nil {
		q.ConsoleSize = *body.ConsoleSize
	}
	if body.Detach {
		_, err := run(c, q)
		return c.replyEmpty(http.StatusOK, err)
	}
	q.Open = d.opener(q)
	return serve(d, q)
}

func resizeExec(c *call) error {
	rows, columns, err := c.terminalSize()
	if err != nil {
		return err
	}
	_, err = run(c, davit.ExecResize{ID: c.name, Rows: rows, Columns: columns})
	return c.replyEmpty(http.StatusOK, err)
}

func inspectExec(c *call) error {
	x, err := query(c, davit.ExecInspect{ID: c.name})
	if err != nil {
		return err
	}
	out := container.ExecInspectResponse{
		ID: x.ID, ContainerID: x.ContainerID, Running: x.Running, Pid: x.Pid, CanRemove: x.Exit != nil,
		OpenStdin: x.AttachStdin, OpenStdout: x.AttachStdout, OpenStderr: x.AttachStderr, DetachKeys: []byte(x.DetachKeys),
		ProcessConfig: &container.ExecProcessConfig{Tty: x.Tty, Privileged: &x.Privileged, User: x.User, Arguments: []string{}},
	}
	if len(x.Cmd) > 0 {
		out.ProcessConfig.Entrypoint, out.ProcessConfig.Arguments = x.Cmd[0], wire.OrEmpty(x.Cmd[1:])
	}
	if x.Exit != nil {
		out.ExitCode = &x.Exit.Code
	}
	return c.reply(http.StatusOK, out)
}
