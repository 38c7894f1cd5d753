// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
)

func TestMissing(t *testing.T) {
	testutil.RequireRoot(t)
	dir := t.TempDir()
	for name, to := range map[string]string{"ok": dir, "dangling": dir + "/none"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{"": false, "/none": true, "/ok": false, "/ok/none": true, "/dangling": true} {
		if got := Missing("/proc/self", dir+path); got != want {
			t.Errorf("%s is missing: %v", path, got)
		}
	}
	if Missing("/proc/nobody", dir) {
		t.Error("what cannot be looked at is missing")
	}
}
