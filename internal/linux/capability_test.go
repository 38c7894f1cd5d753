// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"strings"
	"testing"

	"github.com/moby/sys/capability"
)

// TestCapabilitiesAreTheMonitors holds the list against the one by which the
// monitor grants them.
func TestCapabilitiesAreTheMonitors(t *testing.T) {
	known := capability.ListKnown()
	if len(known) != len(capabilities) {
		t.Errorf("there are %d capabilities, the monitor knows %d", len(capabilities), len(known))
	}
	for _, c := range known {
		want := "CAP_" + strings.ToUpper(c.String())
		for _, given := range []string{c.String(), strings.ToUpper(c.String()), "cap_" + c.String(), want} {
			if got, ok := Capability(given); !ok || got != want {
				t.Errorf("%s is %s, %v, want %s", given, got, ok, want)
			}
		}
	}
	for given, want := range map[string]string{"": "CAP_", "foo": "CAP_FOO", "CAP_CAP_CHOWN": "CAP_CAP_CHOWN", " CHOWN": "CAP_ CHOWN", "ALL": "CAP_ALL"} {
		if got, ok := Capability(given); ok || got != want {
			t.Errorf("%q is %q, %v, want no capability, and %q", given, got, ok, want)
		}
	}
}
