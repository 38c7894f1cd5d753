// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"os"
	"path/filepath"
	"strings"
)

// AppArmorEnabled tells whether the kernel enforces AppArmor; sys is /sys.
func AppArmorEnabled(sys string) bool {
	p, err := os.ReadFile(filepath.Join(sys, "module/apparmor/parameters/enabled"))
	return err == nil && strings.HasPrefix(string(p), "Y")
}

// AppArmorLoaded tells whether the profile is loaded, and each one of a stack
// ("a//&b"), in a kernel that enforces AppArmor; sys is /sys. It needs root: the
// list is shown to nobody else.
func AppArmorLoaded(sys, profile string) bool {
	if !AppArmorEnabled(sys) {
		return false
	}
	list, err := os.ReadFile(filepath.Join(sys, "kernel/security/apparmor/profiles"))
	if err != nil {
		return false
	}
	loaded := map[string]bool{}
	for line := range strings.Lines(string(list)) { // "name (enforce)"; a name may have blanks
		if i := strings.LastIndex(line, " ("); i > 0 {
			loaded[line[:i]] = true
		}
	}
	for _, name := range strings.Split(profile, "//&") {
		if !loaded[name] {
			return false
		}
	}
	return true
}
