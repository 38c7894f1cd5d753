// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// update applies the limits that the daemon has written, to the run that there
// is and to those that follow, and a restart policy unless that is nil.
func (h *holder) update(policy *protocol.Policy) error {
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
	if policy != nil {
		h.mu.Lock()
		h.spec.Restart, h.spec.MaxRetries = policy.Restart, policy.MaxRetries
		h.mu.Unlock()
	}
	return nil
}
