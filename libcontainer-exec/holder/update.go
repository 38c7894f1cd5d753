// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// update applies the limits that the daemon has written, to the run that there
// is and to those that follow.
func (h *holder) update() error {
	h.limiting.Lock() // no run is made meanwhile: it has the old limits, or the new
	defer h.limiting.Unlock()
	file := filepath.Join(h.dir, protocol.UpdateFile)
	h.mu.Lock()
	r := h.run
	h.mu.Unlock()
	if r != nil {
		_, err := h.runMonitor([]string{"update", h.dir}, nil, r.ended)
		select {
		case <-r.ended: // there is nothing to be limited: the next run is
		default:
			if err != nil {
				_ = os.Remove(file)
				return err
			}
		}
	}
	if err := os.Rename(file, filepath.Join(h.dir, protocol.LimitsFile)); err != nil {
		return fmt.Errorf("cannot keep the new limits: %w", err)
	}
	return nil
}

// setPolicy replaces the restart policy, for the exit that comes next.
func (h *holder) setPolicy(policy *protocol.Policy) *protocol.Error {
	if policy == nil {
		return &protocol.Error{Kind: protocol.KindInvalid, Message: "the request has no restart policy"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spec.Restart, h.spec.MaxRetries = policy.Restart, policy.MaxRetries
	return nil
}
