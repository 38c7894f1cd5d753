// SPDX-License-Identifier: Apache-2.0

package filtercache

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

var program = bytes.Repeat([]byte{6, 0, 0, 0, 0, 0, 0, 0}, 9)

// host plays monitor and init in one process.
type host struct {
	testing.TB
	dir string
}

func (h host) offer(leaves bool) *Offer {
	h.Helper()
	o, err := New(h.dir, leaves)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(o.Close)
	return o
}

// load is what init does with the offer.
func (h host) load(o *Offer) {
	h.Helper()
	seccomp.Lookup, seccomp.Store = nil, nil
	fds := [2]int{-1, -1}
	for i, f := range o.Files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, 0) // inherited, as os/exec has it
		if err != nil {
			h.Fatal(err)
		}
		h.Cleanup(func() { _ = unix.Close(fd) })
		fds[i] = fd
	}
	load(fds[0], fds[1])
	for _, fd := range fds[:len(o.Files)] {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
			h.Errorf("descriptor %d has flags %#x, %v: the container's program would inherit it", fd, flags, err)
		}
	}
}

func (h host) files() []string {
	h.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "*", "*"))
	if err != nil {
		h.Fatal(err)
	}
	return files
}

func newHost(t *testing.T) host {
	testutil.RequireRoot(t)
	t.Cleanup(func() { seccomp.Lookup, seccomp.Store = nil, nil })
	return host{t, t.TempDir()}
}

// TestCache lets a filter take the way from one init to the next.
func TestCache(t *testing.T) {
	h := newHost(t)
	key := [32]byte{1, 2, 3}
	first := h.offer(true)
	h.load(first)
	if seccomp.Lookup(key) != nil {
		t.Error("an empty cache has a filter")
	}
	seccomp.Store(key, program)
	if err := first.Collect(); err != nil {
		t.Fatal(err)
	}

	second := h.offer(true)
	h.load(second)
	if got := seccomp.Lookup(key); !bytes.Equal(got, program) {
		t.Errorf("got %x", got)
	}
	if err := second.Collect(); err != nil { // nothing was stored
		t.Fatal(err)
	}
	reader := h.offer(false)
	h.load(reader)
	if got := seccomp.Lookup(key); !bytes.Equal(got, program) || seccomp.Store != nil {
		t.Errorf("the reader got %x, and may store: %v", got, seccomp.Store != nil)
	}
	if n, err := unix.Write(int(reader.Files[0].Fd()), []byte("x")); err == nil {
		t.Errorf("%d bytes were written over the filters that others made", n)
	}
	if got := h.files(); len(got) != 1 {
		t.Errorf("in the cache: %q", got)
	}
}

// TestCacheOfOthers does not trust what others can write.
func TestCacheOfOthers(t *testing.T) {
	h := newHost(t)
	key := [32]byte{9}
	h.keep(key[:])
	if err := os.Chmod(filepath.Dir(h.files()[0]), 0o777); err != nil {
		t.Fatal(err)
	}
	h.load(h.offer(false))
	if seccomp.Lookup(key) != nil {
		t.Error("a filter was taken from a directory that anybody can write")
	}
}

// keep has an init leave program under the key.
func (h host) keep(key []byte) {
	h.Helper()
	o := h.offer(true)
	if _, err := o.Files[1].Write(append(key, program...)); err != nil {
		h.Fatal(err)
	}
	if err := o.Collect(); err != nil {
		h.Fatal(err)
	}
}

// TestTorn refuses what an init has left that is no program.
func TestTorn(t *testing.T) {
	h := newHost(t)
	for _, content := range [][]byte{make([]byte, 5), make([]byte, 32), make([]byte, 35), make([]byte, 32+maxProgram+8)} {
		o := h.offer(true)
		if _, err := o.Files[1].Write(content); err != nil {
			t.Fatal(err)
		}
		if err := o.Collect(); (err != nil) != (len(content) > 32+maxProgram) {
			t.Errorf("%d bytes: %v", len(content), err)
		}
	}
	if got := h.files(); len(got) != 0 {
		t.Errorf("in the cache: %q", got)
	}
	for _, packed := range [][]byte{{1}, make([]byte, header), append(make([]byte, 32), 255, 255, 255, 255, 1)} {
		for _, p := range unpack(packed) {
			if len(p) > 0 {
				t.Errorf("%x is unpacked to %x", packed, p)
			}
		}
	}
}

// TestCacheIsBounded keeps the filters that were made last.
func TestCacheIsBounded(t *testing.T) {
	h := newHost(t)
	for i := range maxFilters + 3 {
		key := make([]byte, 32)
		key[0] = byte(i)
		h.keep(key)
		age := time.Now().Add(time.Duration(i-100) * time.Second)
		if err := os.Chtimes(filepath.Join(h.dir, version(), hex.EncodeToString(key)), age, age); err != nil {
			t.Fatal(err)
		}
	}
	h.load(h.offer(false))
	if n := len(h.files()); n != maxFilters {
		t.Errorf("%d filters are kept, not %d", n, maxFilters)
	}
	for i := range maxFilters + 3 {
		if kept := seccomp.Lookup([32]byte{byte(i)}) != nil; kept != (i >= 3) {
			t.Errorf("filter %d is kept: %v", i, kept)
		}
	}
}
