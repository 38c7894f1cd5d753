// SPDX-License-Identifier: Apache-2.0

package linux_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit/internal/linux"
)

func TestAppArmor(t *testing.T) {
	sys := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(sys, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if linux.AppArmorEnabled(sys) || linux.AppArmorLoaded(sys, "mine") {
		t.Error("a kernel without AppArmor enforces it")
	}
	write("module/apparmor/parameters/enabled", "Y\n")
	if !linux.AppArmorEnabled(sys) || linux.AppArmorLoaded(sys, "mine") {
		t.Error("a kernel that was given no profile")
	}
	write("kernel/security/apparmor/profiles", "/usr/bin/man (enforce)\nmine (complain)\nwith a blank (enforce)\nmine//child (enforce)\n")
	for name, want := range map[string]bool{
		"mine": true, "/usr/bin/man": true, "with a blank": true, "mine//child": true, "mine//&/usr/bin/man": true,
		"min": false, "mine ": false, "": false, "mine (complain)": false, "mine//&other": false, "with": false,
	} {
		if got := linux.AppArmorLoaded(sys, name); got != want {
			t.Errorf("profile %q: %v, want %v", name, got, want)
		}
	}
	write("module/apparmor/parameters/enabled", "N\n")
	if linux.AppArmorEnabled(sys) || linux.AppArmorLoaded(sys, "mine") {
		t.Error("a kernel that does not enforce its profiles")
	}
}
