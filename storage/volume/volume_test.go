// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/volume"
	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

func open(t *testing.T, root string) *volume.Store {
	t.Helper()
	db, err := bolt.Open(filepath.Join(root, "davit.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := volume.Open(filepath.Join(root, "volumes"), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	return s
}

func TestVolumes(t *testing.T) {
	s := open(t, t.TempDir())
	v, err := s.Create(davit.Volume{Name: "data", Labels: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if v.Driver != "local" || v.Created.IsZero() || !strings.HasSuffix(v.Mountpoint, "/volumes/data/_data") {
		t.Errorf("Create = %+v", v)
	}
	file := filepath.Join(v.Mountpoint, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := s.Create(davit.Volume{Name: "data", Labels: map[string]string{"other": ""}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, again); diff != "" {
		t.Errorf("Create of what is there (-first +second):\n%s", diff)
	}
	if all, err := s.List(); err != nil || len(all) != 1 {
		t.Errorf("List = %v, %v", all, err)
	}
	if err := s.Remove("data"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(v.Mountpoint)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if err := s.Remove("data"); davit.CodeOf(err) != davit.NoSuchVolume || err.Error() != "get data: no such volume" {
		t.Errorf("Remove of nothing: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	tests := []struct {
		volume davit.Volume
		want   davit.Code
	}{
		{davit.Volume{Name: "a"}, davit.InvalidName},
		{davit.Volume{Name: ""}, davit.InvalidName},
		{davit.Volume{Name: "../x"}, davit.InvalidName},
		{davit.Volume{Name: ".removed"}, davit.InvalidName},
		{davit.Volume{Name: "a/b"}, davit.InvalidName},
		{davit.Volume{Name: "ab\n"}, davit.InvalidName},
		{davit.Volume{Name: strings.Repeat("a", 256)}, davit.InvalidName},
		{davit.Volume{Name: "ok", Driver: "nfs"}, davit.InvalidConfiguration},
		{davit.Volume{Name: "ok", Options: map[string]string{"device": "/dev/sda"}}, davit.InvalidConfiguration},
		{davit.Volume{Name: "ok", Options: map[string]string{"what": ""}}, davit.InvalidConfiguration},
		{davit.Volume{Name: "ok", Options: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "remount"}}, davit.InvalidConfiguration},
		{davit.Volume{Name: "ok", Options: map[string]string{"type": "tmpfs", "device": "tmpfs", "size": "1m"}}, davit.InvalidConfiguration},
	}
	for _, tt := range tests {
		if _, err := s.Create(tt.volume); err == nil || davit.CodeOf(err) != tt.want {
			t.Errorf("Create(%+v) = %v, want %s", tt.volume, err, tt.want)
		}
	}
	if all, err := s.List(); err != nil || len(all) > 0 {
		t.Errorf("List = %v, %v", all, err)
	}
}

// TestKilledWhileRemoving has the directory out of the way and the record
// still there: the data must not come back, nor the volume.
func TestKilledWhileRemoving(t *testing.T) {
	root := t.TempDir()
	db, err := bolt.Open(filepath.Join(root, "davit.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "volumes")
	s, err := volume.Open(dir, db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(davit.Volume{Name: "data"}); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.MkdirAll(filepath.Join(dir, ".removed/data-1"), 0o700),
		os.Rename(filepath.Join(dir, "data"), filepath.Join(dir, ".removed/data-1/volume")), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, root)
	if all, err := s.List(); err != nil || len(all) > 0 {
		t.Errorf("List = %v, %v", all, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".removed")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data is still there: %v", err)
	}
}
