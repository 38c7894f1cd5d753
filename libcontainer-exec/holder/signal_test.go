// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"testing"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// TestSignalBetweenRuns stops a container whose process has ended, and which
// has not been told of that: no next run may follow, and nobody is told that
// there was nothing to stop.
func TestSignalBetweenRuns(t *testing.T) {
	for _, tc := range []struct {
		status  protocol.Status
		restart string
		stop    bool
		refused bool
	}{
		{protocol.Running, "always", true, false},
		{protocol.Running, "on-failure", true, false},
		{protocol.Restarting, "always", true, false},
		{protocol.Running, "always", false, true},
		{protocol.Restarting, "always", false, true},
		{protocol.Running, "no", true, true},
		{protocol.Running, "", true, true},
		{protocol.Exited, "always", true, true},
	} {
		for _, ended := range []bool{false, true} {
			h := &holder{reaper: newReaper(), stopped: make(chan struct{})}
			h.state.Status, h.spec.Restart = tc.status, tc.restart
			if ended {
				h.run = &run{h: h, pid: 1} // not a child, so it is taken for reaped
			}
			if err := h.signal(9, tc.stop); (err != nil) != tc.refused {
				t.Errorf("%+v, with a run %v: %v", tc, ended, err)
			}
			if h.stopping != tc.stop {
				t.Errorf("%+v: stopping is %v", tc, h.stopping)
			}
		}
	}
}
