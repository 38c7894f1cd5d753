// SPDX-License-Identifier: Apache-2.0

package tarfs_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/tarfs"
	"github.com/davit-engine/davit/internal/testutil"
	"golang.org/x/sys/unix"
)

// packLayer returns the names of a layer's entries.
func packLayer(t *testing.T, root string, leave ...string) []string {
	t.Helper()
	var b bytes.Buffer
	if err := tarfs.PackLayer(t.Context(), root, leave, &b); err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(&b); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(hdr.Name, "./"))
	}
}

func TestPackLayer(t *testing.T) {
	testutil.RequireRoot(t)
	root := t.TempDir()
	for _, d := range []string{"etc", "opaque", "proc", "kept", "data/volume", "device"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"etc/hosts": "", "etc/resolv.conf": "own", "opaque/new": "1", "kept/f": "2"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		unix.Mknod(filepath.Join(root, "gone"), unix.S_IFCHR, 0),
		unix.Mknod(filepath.Join(root, "etc/passwd"), unix.S_IFCHR, 0),
		unix.Mknod(filepath.Join(root, "device/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Symlink("/etc/shadow", filepath.Join(root, "etc/link")),
	); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(root, "opaque"), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		t.Skipf("needs trusted attributes: %v", err)
	}
	want := []string{
		"", ".wh.gone", "data/", "device/", "device/null", "etc/", "etc/.wh.passwd", "etc/link", "etc/resolv.conf",
		"kept/", "kept/f", "opaque/", "opaque/.wh..wh..opq", "opaque/new",
	}
	got := packLayer(t, root, "/proc", "/etc/hosts", "/etc/resolv.conf", "/data/volume/", "kept")
	if !slices.Equal(got, want) {
		t.Errorf("the layer has\n%q\nwant\n%q", got, want)
	}
}

func TestPackLayerRefuses(t *testing.T) {
	testutil.RequireRoot(t)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "moved"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tarfs.PackLayer(ctx, root, nil, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if err := unix.Setxattr(filepath.Join(root, "moved"), "trusted.overlay.redirect", []byte("/old"), 0); err != nil {
		t.Skipf("needs trusted attributes: %v", err)
	}
	if err := tarfs.PackLayer(t.Context(), root, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "/moved") || !strings.Contains(err.Error(), "redirect_dir") {
		t.Errorf("a renamed directory: %v", err)
	}
}
