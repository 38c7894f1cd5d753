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

// TestReadOnlyBelow holds that what is mounted below a read-only bind is
// read-only too, unless it was asked for otherwise.
func TestReadOnlyBelow(t *testing.T) {
	testutil.RequireRoot(t)
	source := t.TempDir()
	if err := errors.Join(os.Mkdir(source+"/sub", 0o755), unix.Mount("tmpfs", source+"/sub", "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(source + "/sub") })
	for _, tc := range []struct {
		name  string
		mount davit.Mount
		want  error
	}{
		{"recursively", davit.Mount{}, unix.EROFS},
		{"alone", davit.Mount{ReadOnlyNonRecursive: true}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			tc.mount.Type, tc.mount.Source, tc.mount.Target = "bind", source, "/data"
			t.Cleanup(func() { unmount(root + "/data") })
			if err := (&Store{}).bind(davit.Rootfs{Target: root}, []davit.Mount{tc.mount}); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(root+"/data/sub/file", nil, 0o644); !errors.Is(err, tc.want) {
				t.Errorf("writing below: %v, want %v", err, tc.want)
			}
			if err := os.WriteFile(root+"/data/file", nil, 0o644); !errors.Is(err, unix.EROFS) {
				t.Errorf("writing: %v", err)
			}
		})
	}
	if err := os.WriteFile(source+"/sub/own", nil, 0o644); err != nil {
		t.Errorf("the host's own mount has become read-only: %v", err)
	}
}
