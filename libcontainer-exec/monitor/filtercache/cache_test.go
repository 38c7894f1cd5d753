// SPDX-License-Identifier: Apache-2.0

package filtercache

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
	seccomp "github.com/seccomp/libseccomp-golang"
)

// TestCache lets a filter take the way from one init to the next.
func TestCache(t *testing.T) {
	testutil.RequireRoot(t)
	t.Cleanup(func() { seccomp.Lookup, seccomp.Store = nil, nil })
	dir := t.TempDir()
	key := [32]byte{1, 2, 3}
	program := bytes.Repeat([]byte{6, 0, 0, 0, 0, 0, 0, 0}, 9)

	pending, name, err := Prepare(dir)
	if err != nil {
		t.Fatal(err)
	}
	Load(name)
	if seccomp.Lookup(key) != nil {
		t.Error("an empty cache has a filter")
	}
	seccomp.Store(key, program)
	if err := pending.Collect(); err != nil {
		t.Fatal(err)
	}

	pending, name, err = Prepare(dir)
	if err != nil {
		t.Fatal(err)
	}
	Load(name)
	if got := seccomp.Lookup(key); !bytes.Equal(got, program) {
		t.Errorf("got %x", got)
	}
	if err := pending.Collect(); err != nil { // nothing was stored
		t.Fatal(err)
	}
	seccomp.Store = nil
	Load(Reader(dir))
	if got := seccomp.Lookup(key); !bytes.Equal(got, program) || seccomp.Store != nil {
		t.Errorf("the reader got %x, and may store: %v", got, seccomp.Store != nil)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("in the cache: %q, %v", files, err)
	}

	// What others can write is not trusted.
	if err := os.Chmod(filepath.Dir(files[0]), 0o777); err != nil {
		t.Fatal(err)
	}
	Load(Reader(dir))
	if seccomp.Lookup(key) != nil {
		t.Error("a filter was taken from a directory that anybody can write")
	}
}

func TestCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxFilters + 3 {
		pending, name, err := Prepare(dir)
		if err != nil {
			t.Fatal(err)
		}
		key := make([]byte, 32)
		key[0] = byte(i)
		if err := os.WriteFile(name, append(key, 1, 2, 3, 4, 5, 6, 7, 8), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := pending.Collect(); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	if len(files) > maxFilters {
		t.Errorf("%d filters are kept, more than %d", len(files), maxFilters)
	}
}
