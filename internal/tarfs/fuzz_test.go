// SPDX-License-Identifier: Apache-2.0

package tarfs_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/tarfs"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/davit-engine/davit/internal/testutil"
)

// FuzzUnpack unpacks any bytes, compressed or not: nothing outside of the root
// changes.
func FuzzUnpack(f *testing.F) {
	testutil.RequireRoot(f)
	good := tartest.Make(f, tartest.Dir("d"), tartest.File("d/f", "text"), tartest.Symlink("l", "../../secret"), tartest.Link("h", "d/f"))
	f.Add(good)
	f.Add(tartest.Gzip(f, good))
	f.Add(tartest.Zstd(f, good))
	f.Add([]byte("BZh91AY&SY"))
	f.Add([]byte{0xfd, '7', 'z', 'X', 'Z', 0})
	f.Fuzz(func(t *testing.T, archive []byte) { unpackSafely(t, archive) })
}

// unpackSafely unpacks an archive beside a file, which must not change.
func unpackSafely(t *testing.T, archive []byte) {
	t.Helper()
	root, secret := place(t)
	_ = tarfs.Unpack(t.Context(), root, "/a", bytes.NewReader(archive), tarfs.Options{}) // it may fail
	if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
		t.Errorf("the file outside says %q, %v", got, err)
	}
	entries, err := os.ReadDir(filepath.Dir(root))
	if err != nil || len(entries) != 2 {
		t.Errorf("outside are %v, %v", entries, err)
	}
}

// FuzzUnpackEntries unpacks archives of any entries, each a line: its kind, name
// and target.
func FuzzUnpackEntries(f *testing.F) {
	testutil.RequireRoot(f)
	f.Add("5 d \n0 d/f text\n2 l ../../../secret\n0 l over\n1 h l")
	f.Add("2 a /\n2 a/b ..\n0 a/b/../../secret x\n1 s ../secret")
	f.Add("3 null \n4 disk \n6 pipe \n0 ../../secret x\n5 /etc \n2 etc ../..")
	f.Add("2 x x\n0 x/y z\n5 x \nL name long\nx pax records")
	f.Fuzz(func(t *testing.T, text string) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for line := range strings.SplitSeq(text, "\n") {
			kind, rest, _ := strings.Cut(line, " ")
			name, target, _ := strings.Cut(rest, " ")
			if kind == "" {
				continue
			}
			h := &tar.Header{Typeflag: kind[0], Name: name, Mode: 0o644, Devmajor: 1, Devminor: 3}
			switch h.Typeflag {
			case tar.TypeReg:
				h.Size = int64(len(target))
			case tar.TypeLink, tar.TypeSymlink:
				h.Linkname = target
			}
			if w.WriteHeader(h) == nil && h.Size > 0 {
				_, _ = w.Write([]byte(target))
			}
		}
		_ = w.Close() // what cannot be written is left out
		unpackSafely(t, archive.Bytes())
	})
}
