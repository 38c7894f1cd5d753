// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// FuzzConfigFile reads any daemon.json: what is wrong is told with the file's
// name, in one line.
func FuzzConfigFile(f *testing.F) {
	for _, s := range []string{
		`{"dns": ["192.0.2.1"], "idle-exit": "1h 30min", "mtu": 1400, "bip": "10.0.0.1/24"}`,
		`{"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": -1}}, "log-opts": {"max-size": "1m"}}`,
		`{"hosts": ["unix:///x", "tcp://:1"], "debug": "yes"}`, `[]`, `{"a":`, `{"mtu": 1, "mtu": 2}`, "{\n\"mtu\": -1e400}", `{"idle-exit": "-1s"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := loaded(t, text)
		if err == nil {
			return
		}
		if got := err.Error(); !strings.Contains(got, "daemon.json") {
			t.Errorf("of %q it says %q", text, got)
		}
	})
}
