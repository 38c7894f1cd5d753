// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/engine"
)

// gate decides, before a method's handler runs, whether the caller may call
// it. Jobs are decided about by the engine when they are submitted; gates are
// for what is none.
type gate func(*call) error

var inspect = engine.Access{Action: davit.ActionInspect}

// byJob leaves the decision to the engine: the handler does nothing but submit
// a job for the caller.
func byJob(*call) error { return nil }

// everybody is for what is the same on every machine, or counts.
func everybody(*call) error { return nil }

// inspectors is for who may look at the engine.
func inspectors(c *call) error { return c.mayInspect() }

func (c *call) mayInspect() error { return c.eng.Authorize(c.ctx, inspect) }

// watchers is for methods of jobs, which who submitted one may watch.
func watchers(c *call) error { return c.mayWatch(c.object.thing.(*engine.Job)) }

func (c *call) mayWatch(j *engine.Job) error { return c.eng.AuthorizeWatch(c.ctx, j, inspect) }

// rootOnly is for root, here as well as in the bus's policy.
func rootOnly(c *call) error {
	if c.caller.UID != 0 {
		return refusal.New(refusal.NameAccessDenied, "%s is for root only", c.member)
	}
	return nil
}

// readers is for the standard interfaces, which every object has.
func readers(c *call) error {
	if j, ok := c.object.thing.(*engine.Job); ok {
		return c.mayWatch(j)
	}
	if static(c.path) {
		return nil // what follows the engine's state is listed for inspectors only
	}
	return c.mayInspect()
}
