// SPDX-License-Identifier: Apache-2.0

package engine

import "context"

// Caller is who asked for a job.
type Caller struct {
	Transport string
	UID       uint32
	// GIDs are the groups of the process, when the transport tells them.
	GIDs []uint32
	// PID is of the process that connected; 0 when the transport does not tell.
	PID int
	// Name is the caller's unique name on the bus; "" elsewhere.
	Name string
	// Door is the name of the socket that the caller came through: its class
	// of trust. "" on the bus.
	Door string
	// Interactive says that the caller can wait for a user to authenticate.
	Interactive bool
}

// Inside tells whether the caller is the daemon itself.
func (c Caller) Inside() bool { return c.Transport == "" || c.Transport == Internal }

// Access is what a caller from outside needs to be allowed. The zero value
// asks for root.
type Access struct {
	// Open needs nothing: whoever can reach a front door may.
	Open bool
	// Action names the permission; "" is one that only root has.
	Action string
	// Details are what a policy may look at beside it: "type" and "subject", which
	// the engine fills in for a job, and "reason".
	Details map[string]string
}

// Authorizer decides whether a caller may. It returns nil to allow, and an
// error with a code of the kind Denied (or Cancelled, when ctx ended) else.
type Authorizer interface {
	Authorize(ctx context.Context, c Caller, a Access) error
}

// SetAuthorizer sets who decides about callers from outside. Until then none
// but root may do anything. It is called before the first front door serves.
func (e *Engine) SetAuthorizer(a Authorizer) { e.authorizer = a }

// Authorize asks whether the caller of ctx may do something that is no job: a
// front door calls it before. The daemon itself may do everything.
func (e *Engine) Authorize(ctx context.Context, a Access) error {
	c, _ := ctx.Value(callerKey{}).(Caller)
	if c.Inside() || a.Open {
		return nil
	}
	if e.authorizer != nil {
		return e.authorizer.Authorize(ctx, c, a)
	}
	if c.UID == 0 {
		return nil
	}
	return ErrDenied
}

// AuthorizeWatch is [Engine.Authorize] for one who wants to see a job's
// progress or result: who submitted the job needs nothing.
func (e *Engine) AuthorizeWatch(ctx context.Context, j *Job, a Access) error {
	c, _ := ctx.Value(callerKey{}).(Caller)
	if c.Owns(j.Caller()) {
		return nil
	}
	return e.Authorize(ctx, a)
}

// Owns tells whether c and owner, who submitted a job, are the same user. The
// daemon's own jobs are nobody's, and neither are those of a caller whose user
// is not known.
func (c Caller) Owns(owner Caller) bool {
	return !owner.Inside() && !c.Inside() && c.UID == owner.UID && c.UID != NoUID
}

// NoUID is the uid of a caller whose transport does not tell: (uid_t)-1, which
// is never a user's (chown(2)).
const NoUID = ^uint32(0)

// CallerOf returns who a job submitted with ctx would be submitted for.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
