// SPDX-License-Identifier: Apache-2.0

package body

import (
	"github.com/davit-engine/davit"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/volume"
)

// Update translates the body of an update of a container.
func Update(body container.UpdateConfig) (davit.ContainerUpdate, error) {
	var q davit.ContainerUpdate
	if err := refuseUpdate(&body); err != nil {
		return q, err
	}
	q.Resources = resources(&body.Resources)
	// What the docker CLI sends for "not given".
	q.Resources.MemorySwappiness, q.Resources.OomKillDisable = nil, nil
	if body.RestartPolicy == (container.RestartPolicy{}) {
		return q, nil
	}
	if err := container.ValidateRestartPolicy(body.RestartPolicy); err != nil {
		return q, invalid("%w", err)
	}
	q.RestartPolicy = restartPolicy(body.RestartPolicy)
	return q, nil
}

func restartPolicy(p container.RestartPolicy) *davit.RestartPolicy {
	return &davit.RestartPolicy{Name: string(p.Name), MaximumRetryCount: p.MaximumRetryCount}
}

// Volume translates the body of a request for a volume.
func Volume(body volume.CreateRequest) (davit.VolumeCreate, error) {
	q := davit.VolumeCreate{Name: body.Name, Driver: body.Driver, Labels: body.Labels, Options: body.DriverOpts}
	return q, refuseVolume(&body)
}

// Exec translates the body of a request for an exec session in a container.
func Exec(name string, body container.ExecCreateRequest) (davit.Exec, error) {
	x := davit.Exec{
		ContainerID: name, Cmd: body.Cmd, Env: body.Env, User: body.User, WorkingDir: body.WorkingDir,
		Tty: body.Tty, Privileged: body.Privileged, DetachKeys: body.DetachKeys,
		AttachStdin: body.AttachStdin, AttachStdout: body.AttachStdout, AttachStderr: body.AttachStderr,
	}
	if body.ConsoleSize != nil {
		x.ConsoleSize = *body.ConsoleSize
	}
	if len(x.Cmd) == 0 {
		return x, invalid("no exec command specified")
	}
	return x, nil
}
