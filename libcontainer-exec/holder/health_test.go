// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"testing"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// TestProbeOfPaused begins a probe when the container has just been paused: it
// says nothing, and is not run.
func TestProbeOfPaused(t *testing.T) {
	h := &holder{reaper: newReaper(), stopped: make(chan struct{})}
	h.spec.Health = &protocol.Healthcheck{Retries: 1}
	h.state.Health = &protocol.Health{Status: protocol.Starting}
	r := &run{h: h, frozen: true, freezes: 1, ended: make(chan struct{})}
	if r.probe() {
		t.Error("a paused container was probed")
	}
	if got := h.health(); got.Status != protocol.Starting || len(h.probes) != 0 {
		t.Errorf("its health is %+v, of %d probes", got, len(h.probes))
	}
}
