// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// packed writes a compressed file that says it was another.
func packed(t *testing.T, path string, inode uint64, modified int64) *segment {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := gzip.NewWriter(f)
	z.Comment = fmt.Sprintf("inode %d modified %d", inode, modified)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := openSegment(path[:len(path)-len(".gz")])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A file that is compressed and removed gives its inode to the next that is
// made: none is taken for the other.
func TestReusedInode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("now\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now, err := openSegment(path)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	again := now.origin.Inode
	var old []*segment
	for n := 5; n > 0; n-- {
		old = append(old, packed(t, fmt.Sprintf("%s.%d.gz", path, n), []uint64{again, again + 1}[n%2], int64(100-n)))
	}
	for i, s := range old {
		r := reading{path: path, file: s}
		next, err := r.successor()
		if err != nil || next == nil {
			t.Fatalf("behind %s comes %v, %v", s.Name(), next, err)
		}
		want := path
		if i+1 < len(old) {
			want = old[i+1].Name()
		}
		if next.Name() != want {
			t.Errorf("behind %s comes %s, want %s", s.Name(), next.Name(), want)
		}
		next.Close()
	}
	r := reading{path: path, file: now}
	if next, err := r.successor(); err != nil || next != nil {
		t.Errorf("behind the newest comes %v, %v", next, err)
	}
}
