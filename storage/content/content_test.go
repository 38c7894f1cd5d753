// SPDX-License-Identifier: Apache-2.0

package content_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/content"
	"github.com/opencontainers/go-digest"
)

var _ davit.Blobs = (*content.Holder)(nil)

func open(t *testing.T, dir string) *content.Store {
	t.Helper()
	s, err := content.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestPut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir).Hold()
	good := digest.FromString("hello")
	bad := []struct {
		name string
		desc davit.Descriptor
		r    io.Reader
		want davit.Code
	}{
		{"another digest", davit.Descriptor{Digest: digest.FromString("other"), Size: 5}, strings.NewReader("hello"), davit.DigestMismatch},
		{"too much", davit.Descriptor{Digest: good, Size: 4}, strings.NewReader("hello"), davit.DigestMismatch},
		{"too little", davit.Descriptor{Digest: good, Size: 6}, strings.NewReader("hello"), davit.DigestMismatch},
		{"far too much", davit.Descriptor{Digest: good, Size: 5}, io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(errors.New("read on"))), davit.Failed},
		{"a failing reader", davit.Descriptor{Digest: good}, iotest.ErrReader(io.ErrUnexpectedEOF), davit.Failed},
		{"sha512", davit.Descriptor{Digest: digest.Digest("sha512:" + strings.Repeat("0", 128))}, strings.NewReader("hello"), davit.NotSupported},
		{"no digest", davit.Descriptor{Digest: "sha256:../x"}, strings.NewReader("hello"), davit.InvalidConfiguration},
	}
	for _, tt := range bad {
		if err := s.Put(t.Context(), tt.desc, tt.r); err == nil || davit.CodeOf(err) != tt.want {
			t.Errorf("Put of %s: %v, want %s", tt.name, err, tt.want)
		}
		if left := files(t, dir); left != nil {
			t.Fatalf("Put of %s left %v", tt.name, left)
		}
	}
	for range 2 {
		if err := s.Put(t.Context(), davit.Descriptor{Digest: good, Size: 5}, strings.NewReader("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), davit.Descriptor{Digest: good}, iotest.ErrReader(errors.New("read"))); err != nil {
		t.Errorf("Put of what is there read it: %v", err)
	}
	store := open(t, dir)
	if data, err := store.ReadAll(t.Context(), good, 5); err != nil || string(data) != "hello" {
		t.Errorf("ReadAll = %q, %v", data, err)
	}
	if _, err := store.ReadAll(t.Context(), good, 4); err == nil {
		t.Error("ReadAll over its limit succeeded")
	}
	if _, err := s.Open(t.Context(), digest.FromString("other")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
}

func TestOpenAndSweepCleanUp(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir).Hold()
	in, err := h.Ingest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("killed here")); err != nil {
		t.Fatal(err)
	}
	keep, drop := digest.FromString("keep"), digest.FromString("drop")
	for d, body := range map[digest.Digest]string{keep: "keep", drop: "drop"} {
		if err := h.Put(t.Context(), davit.Descriptor{Digest: d}, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	if err := s.Sweep(map[digest.Digest]bool{keep: true}); err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) != 1 || filepath.Base(left[0]) != keep.Encoded() {
		t.Errorf("left: %v", left)
	}
	in.Discard() // the old store's, whose file is gone
}

func TestIngest(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir).Hold()
	in, err := s.Ingest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(in, bytes.NewReader(make([]byte, 100_000))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Pause(), in.Commit()); err != nil {
		t.Fatal(err)
	}
	in.Discard()
	if !s.Has(in.Digest()) || in.Size() != 100_000 {
		t.Errorf("the blob %s of %d bytes is not there", in.Digest(), in.Size())
	}
	r, err := in.Reader() // also after it was moved
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "ingest")); err != nil || len(entries) > 0 {
		t.Errorf("left in ingest: %v, %v", entries, err)
	}
}
