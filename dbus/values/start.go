// SPDX-License-Identifier: Apache-2.0

package values

import (
	"time"

	"github.com/davit-engine/davit/engine"
)

// Account is what Describe tells of the daemon's start.
type Account struct {
	Began, Ready time.Time // Ready is zero until it is
	Jobs         []startJob
}

// startJob is a job of the start, with the times of its steps; those that have
// not come are zero.
type startJob struct {
	ID                       uint32
	Type, Subject            string
	Parent                   uint32
	Follow                   bool // lasts as long as the daemon
	State, Result            string
	Enqueued, Started, Ended time.Time
	Steps                    []engine.StepTime
}

// Start tells of the daemon's start.
func Start(s engine.Start) Account {
	a := Account{Began: s.Began, Ready: s.Ready, Jobs: []startJob{}}
	for _, j := range s.Jobs {
		a.Jobs = append(a.Jobs, startJob{
			ID: j.ID, Type: j.Type, Subject: j.Subject, Parent: j.Parent, Follow: j.Class == engine.Follow,
			State: string(j.State), Result: string(j.Result), Enqueued: j.Enqueued, Started: j.Started, Ended: j.Ended, Steps: j.Steps,
		})
	}
	return a
}
