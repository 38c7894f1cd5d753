// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// appArmorTree is a /sys of a kernel that enforces AppArmor, with the profiles.
func appArmorTree(t *testing.T, profiles string) string {
	t.Helper()
	sys := t.TempDir()
	for path, text := range map[string]string{"module/apparmor/parameters/enabled": "Y\n", "kernel/security/apparmor/profiles": profiles} {
		path = filepath.Join(sys, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func TestAppArmorProfile(t *testing.T) {
	if protocol.DefaultAppArmor != davit.AppArmorDefault {
		t.Errorf("the monitor applies %s, the daemon tells of %s", protocol.DefaultAppArmor, davit.AppArmorDefault)
	}
	with := appArmorTree(t, "davit-default (enforce)\nmine (enforce)\n")
	without, off := appArmorTree(t, "mine (enforce)\n"), t.TempDir()
	for _, c := range []struct {
		name, sys, profile string
		privileged         bool
		want, told         string
		refused            bool
	}{
		{name: "by default", sys: with, want: "davit-default", told: "davit-default"},
		{name: "privileged", sys: with, privileged: true, told: "unconfined"},
		{name: "privileged with a name", sys: with, privileged: true, profile: "mine", want: "mine", told: "mine"},
		{name: "unconfined", sys: with, profile: "unconfined", told: "unconfined"},
		{name: "named", sys: with, profile: "mine", want: "mine", told: "mine"},
		{name: "named and unknown", sys: with, profile: "other", refused: true},
		{name: "not loaded", sys: without, told: "unconfined"},
		{name: "the default by name, not loaded", sys: without, profile: "davit-default", refused: true},
		{name: "no AppArmor", sys: off},
		{name: "no AppArmor, named", sys: off, profile: "mine", refused: true},
	} {
		got, err := appArmorProfile(c.sys, &protocol.Security{AppArmor: c.profile, Privileged: c.privileged})
		if got != c.want || (err != nil) != c.refused {
			t.Errorf("%s: profile %q, error %v", c.name, got, err)
		}
		if told := appArmorInForce(c.sys, got); err == nil && told != c.told {
			t.Errorf("%s: %q is told of, want %q", c.name, told, c.told)
		}
	}
}

func TestPrivilegedProfile(t *testing.T) {
	for _, c := range []struct{ named, applied, want string }{
		{"", "davit-default", "unconfined"},
		{"", "", ""}, // "unconfined" cannot be asked of a kernel without AppArmor
		{"mine", "mine", "mine"},
		{"unconfined", "", ""},
	} {
		if got := privilegedProfile(&protocol.Security{AppArmor: c.named}, c.applied); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
