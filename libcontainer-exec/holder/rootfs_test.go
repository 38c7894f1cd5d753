// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// TestMountRootfs mounts many layers by both ways that the kernel has.
func TestMountRootfs(t *testing.T) {
	testutil.RequireRoot(t)
	for name, mount := range map[string]func(protocol.Rootfs, string) error{
		"new API": func(r protocol.Rootfs, _ string) error { return mountLayers(r) },
		"a page":  mountPage,
	} {
		t.Run(name, func(t *testing.T) {
			// The thread is not given back: it ends, with its namespace.
			runtime.LockOSThread()
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				t.Skipf("RequireMountNamespace: %v", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			dir := func(name string) string {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(path, 0o755); err != nil {
					t.Fatal(err)
				}
				return path
			}
			r := protocol.Rootfs{Upper: dir("up,per"), Work: dir("work"), Target: dir("merged")}
			const layers = 150
			for i := range layers {
				layer := dir("a layer, with: a long\\ name " + strings.Repeat("x", 60) + strconv.Itoa(i))
				if err := os.WriteFile(filepath.Join(layer, strconv.Itoa(i)), nil, 0o644); err != nil {
					t.Fatal(err)
				}
				r.Lower = append(r.Lower, layer)
			}
			if err := mount(r, filepath.Join(root, "scratch")); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Unmount(r.Target, unix.MNT_DETACH) }()
			entries, err := os.ReadDir(r.Target)
			if err != nil || len(entries) != layers {
				t.Errorf("%d files of %d layers, %v", len(entries), layers, err)
			}
			if _, err := os.Stat(filepath.Join(root, "scratch")); err == nil {
				t.Error("the scratch directory was left")
			}
		})
	}
}

func TestIsID(t *testing.T) {
	for id, want := range map[string]bool{
		strings.Repeat("a1", 32): true, strings.Repeat("a", 63): false, strings.Repeat("A", 64): false, "": false,
		"../" + strings.Repeat("a", 61): false,
	} {
		if isID(id) != want {
			t.Errorf("isID(%q) = %v", id, !want)
		}
	}
}
