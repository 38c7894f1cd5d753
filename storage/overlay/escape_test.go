// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
	"golang.org/x/sys/unix"
)

// TestWhiteoutThroughALaterLink whites out names in a directory that the layer
// then replaces by a link to the host: what is done about the whiteouts at the
// end must stay in the layer.
func TestWhiteoutThroughALaterLink(t *testing.T) {
	testutil.RequireRoot(t)
	host := t.TempDir()
	device, dir := filepath.Join(host, "null"), filepath.Join(host, "etc")
	if err := errors.Join(unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, h := range []tar.Header{
		{Name: "d/.wh.null", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "d/.wh.etc", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "d", Typeflag: tar.TypeSymlink, Linkname: host},
		{Name: "d/null/x", Typeflag: tar.TypeReg, Mode: 0o644}, // makes anew what was whited out
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "diff")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	u := &unpacker{root: root}
	_, _, err := u.unpack(t.Context(), &layer)
	t.Log("unpacked with", err) // refused or not, the host is whole
	if fi, err := os.Lstat(device); err != nil || fi.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("the host's device: %v", err)
	}
	if n, err := unix.Getxattr(dir, opaqueXattr, make([]byte, 8)); !errors.Is(err, unix.ENODATA) {
		t.Errorf("the host's directory has the mark: %d bytes, %v", n, err)
	}
	left, err := os.ReadDir(host)
	if err != nil || len(left) != 2 {
		t.Errorf("the host's directory holds %v, %v", left, err)
	}
}

// TestDisksInALayer leaves out the nodes of devices with power: a user of the
// host would reach them by /proc/PID/root of a process of his in a container.
func TestDisksInALayer(t *testing.T) {
	testutil.RequireRoot(t)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, h := range []tar.Header{
		{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "dev/sda", Typeflag: tar.TypeBlock, Mode: 0o666, Devmajor: 8},
		{Name: "dev/mem", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 1},
		{Name: "dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Name: "file", Typeflag: tar.TypeReg, Mode: 0o644},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	u := &unpacker{root: t.TempDir()}
	if _, _, err := u.unpack(t.Context(), &layer); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"dev/sda": false, "dev/mem": false, "dev/null": true, "file": true} {
		if _, err := os.Lstat(filepath.Join(u.root, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it to be there: %v", name, err, want)
		}
	}
}
