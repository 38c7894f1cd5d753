// SPDX-License-Identifier: Apache-2.0

package atomicfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit/internal/atomicfile"
)

func TestWriteReplacesAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	for _, body := range []string{"old", "new"} {
		if err := atomicfile.Write(name, []byte(body), 0o604); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != body {
			t.Errorf("the file holds %q, %v", got, err)
		}
	}
	fi, err := os.Stat(name)
	if err != nil || fi.Mode() != fs.FileMode(0o604) {
		t.Errorf("the file has the mode %v, %v", fi.Mode(), err)
	}
	if err := atomicfile.Write(dir, nil, 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
}

func TestRenameAndSync(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Error(err)
	}
	if err := atomicfile.SyncTree(filepath.Join(dir, "b")); err != nil {
		t.Error(err)
	}
	gone := filepath.Join(dir, "a")
	for name, err := range map[string]error{
		"Rename": atomicfile.Rename(gone, dir+"/c"), "SyncDir": atomicfile.SyncDir(gone), "SyncTree": atomicfile.SyncTree(gone),
	} {
		if err == nil {
			t.Errorf("%s of nothing succeeded", name)
		}
	}
}
