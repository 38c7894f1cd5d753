// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest"
)

func TestRuntimeConforms(t *testing.T) {
	h := newHost(t)
	current := h.rt
	drivertest.TestRuntime(t, drivertest.RuntimeHost{
		Open: func(t *testing.T) service.Runtime {
			if err := current.Close(); err != nil { // closes its connections, as the end of a killed daemon does
				t.Error(err)
			}
			current = h.in(t).newRuntime()
			return current
		},
		Launch: func(t *testing.T, c *davit.Container) davit.Launch {
			return h.in(t).conformingLaunch(current, c)
		},
	})
}

// conformingLaunch is that of the shell with another record.
func (h *host) conformingLaunch(rt *Runtime, c *davit.Container) davit.Launch {
	h.rt = rt
	h.t.Cleanup(func() { h.checkGone(c.ID) })
	return h.launch("", func(l *davit.Launch) { l.Container = c })
}
