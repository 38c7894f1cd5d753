// SPDX-License-Identifier: Apache-2.0

package osthread_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/davit-engine/davit/internal/osthread"
	"github.com/davit-engine/davit/internal/testutil"
)

func TestTheRestOfTheProcessStaysWhereItIs(t *testing.T) {
	testutil.RequireRoot(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "here"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Readlink("/proc/self/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 { // more than there are threads: one of them would get the first
		wg.Go(func() {
			err := errors.Join(
				osthread.InRoot(dir, func() error { _, err := os.Lstat("/here"); return err }),
				osthread.InDir(dir, func() error { _, err := os.Lstat("here"); return err }))
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat("/here"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("outside, the root is changed, too: %v", err)
			}
		})
	}
	wg.Wait()
	for link, want := range map[string]string{"/proc/self/cwd": before, "/proc/self/root": "/"} {
		if got, err := os.Readlink(link); err != nil || got != want {
			t.Errorf("%s -> %s, %v; was %s", link, got, err, want)
		}
	}
}

func TestErrorsComeBack(t *testing.T) {
	testutil.RequireRoot(t)
	want := errors.New("mine")
	if err := osthread.Run(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Run = %v", err)
	}
	never := func() error { t.Error("ran in a directory that is not there"); return nil }
	if err := osthread.InRoot("/nowhere/at/all", never); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("InRoot of nothing = %v", err)
	}
	if err := osthread.InDir("/nowhere/at/all", never); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("InDir of nothing = %v", err)
	}
}
