// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"golang.org/x/sys/unix"
)

// TestReadOnlyThroughALink mounts at a link that leads elsewhere once the mount
// is there.
func TestReadOnlyThroughALink(t *testing.T) {
	testutil.RequireRoot(t)
	root, source := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(source+"/sub", 0o755), unix.Mount("tmpfs", source+"/sub", "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(source + "/sub") })
	err := errors.Join(os.Mkdir(root+"/data", 0o755), os.Symlink("/data", root+"/data/sub"), os.Symlink("/data/sub", root+"/link"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(root + "/data") })
	if err := (&Store{}).bind(davit.Rootfs{Target: root}, []davit.Mount{{Type: "bind", Source: source, Target: "/link"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + "/data/sub"); err != nil {
		t.Fatal("nothing is mounted: ", err)
	}
	if err := os.WriteFile(root+"/data/file", nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing to a mount that is read-only: %v", err)
	}
	if _, err := os.Stat(source + "/file"); err == nil {
		t.Error("its source was written to")
	}
}
