// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// privileged asks for run-privileged and says why; without a reason it asks for
// the action.
func privileged(action, why string) engine.Access {
	if why == "" {
		return engine.Access{Action: action}
	}
	return engine.Access{Action: davit.ActionRunPrivileged, Details: map[string]string{"reason": why}}
}

// Create is what making a container needs.
func (r *Rules) Create(_ context.Context, q davit.Create) engine.Access {
	return privileged(davit.ActionManageContainers, r.reason("", &q.HostConfig, nil))
}

// Run needs what Create does: nothing can be run that may not be made.
func (r *Rules) Run(ctx context.Context, q davit.Run) engine.Access { return r.Create(ctx, q.Create) }

// Enter is for jobs that give their caller what the container has, be it a
// process in it, its files or its terminal: of one that equals root, those
// equal root.
func Enter[Q engine.Request](r *Rules, action string, name func(Q) string) func(context.Context, Q) engine.Access {
	return func(_ context.Context, q Q) engine.Access { return r.enter(action, name(q)) }
}

func (r *Rules) enter(action, ref string) engine.Access {
	rec, err := r.world.Find(ref)
	if err != nil {
		return engine.Access{Action: action} // the job fails by itself
	}
	why := r.reason(rec.ID, &rec.HostConfig, rec.Mounts)
	if why != "" {
		why = "of container " + rec.Name + ": " + why
	}
	return privileged(action, why)
}

// ExecCreate is what making an exec session needs.
func (r *Rules) ExecCreate(_ context.Context, q davit.ExecCreate) engine.Access {
	return r.session(&q.Exec)
}

// ExecStart is what running a session needs: the same as making it, since
// another may have made it.
func (r *Rules) ExecStart(_ context.Context, q davit.ExecStart) engine.Access {
	x, err := r.world.Session(q.ID)
	if err != nil {
		return engine.Access{Action: davit.ActionExec}
	}
	return r.session(&x)
}

func (r *Rules) session(x *davit.Exec) engine.Access {
	if x.Privileged {
		return privileged("", "the process is privileged")
	}
	return r.enter(davit.ActionExec, x.ContainerID)
}

// VolumeCreate is what making a volume needs: options of the local driver are
// those of mount(8), and with them a volume is any path or device of the host.
func VolumeCreate(_ context.Context, q davit.VolumeCreate) engine.Access {
	why := ""
	if len(q.Options) > 0 {
		why = "with options a volume can be a path of the host"
	}
	return privileged(davit.ActionManageVolumes, why)
}

// Descriptor is for jobs that hand out an open directory: whoever finds a
// program in it with the setuid bit, or a device node, and root of a container
// can put both there, becomes root by running or opening it.
func Descriptor[Q engine.Request](context.Context, Q) engine.Access {
	return privileged("", "an open directory of a container leads around the host's permissions")
}

// Cancel is what ending a job needs: nothing of who submitted it.
func Cancel(e *engine.Engine) func(context.Context, davit.JobCancel) engine.Access {
	return func(ctx context.Context, q davit.JobCancel) engine.Access {
		needs := engine.Access{Action: davit.ActionManageJobs}
		c := engine.CallerOf(ctx)
		if j, err := e.Job(q.ID); err == nil && c.Owns(j.Caller()) && c.Door != davit.DoorReadOnly {
			needs.Open = true
		}
		return needs
	}
}
