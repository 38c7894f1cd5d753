// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/journal"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/internal/logconfig"
	"github.com/davit-engine/davit/service/request"
)

func TestTheDefaultLogDriver(t *testing.T) {
	unit := logconfig.Journald
	if linux.Missing("/proc/self", journal.SocketPath) {
		unit = logconfig.JSONFile
	}
	size := map[string]string{"max-size": "1m"}
	for name, c := range map[string]struct {
		container, daemon davit.LogConfig
		launcher, driver  string
		options           int
	}{
		"of a unit":            {davit.LogConfig{}, davit.LogConfig{Type: "auto"}, "systemd", unit, 0},
		"of no unit":           {davit.LogConfig{}, davit.LogConfig{Type: "auto"}, "direct", logconfig.JSONFile, 0},
		"with options of file": {davit.LogConfig{Config: size}, davit.LogConfig{Type: "auto"}, "systemd", logconfig.JSONFile, 1},
		"the daemon's options": {davit.LogConfig{}, davit.LogConfig{Type: "auto", Config: size}, "systemd", logconfig.JSONFile, 1},
		"the daemon's":         {davit.LogConfig{}, davit.LogConfig{Type: "local", Config: size}, "systemd", logconfig.Local, 1},
		"its own":              {davit.LogConfig{Type: "none"}, davit.LogConfig{Type: "auto", Config: size}, "systemd", logconfig.None, 0},
	} {
		got := request.CompleteLog(c.container, c.daemon, c.launcher)
		if got.Type != c.driver || len(got.Config) != c.options {
			t.Errorf("%s: it is %+v, not %s with %d options", name, got, c.driver, c.options)
		}
	}
}
