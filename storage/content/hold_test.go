// SPDX-License-Identifier: Apache-2.0

package content_test

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/content"
	"github.com/opencontainers/go-digest"
)

// put stores one blob and returns its digest.
func put(t *testing.T, h *content.Holder, data string) digest.Digest {
	t.Helper()
	d := digest.FromString(data)
	if err := h.Put(t.Context(), davit.Descriptor{Digest: d}, strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

// wantDeleted deletes blobs that no image has but those in use, and checks
// whether the first of them is gone then.
func wantDeleted(t *testing.T, s *content.Store, want bool, dgsts []digest.Digest, inUse ...digest.Digest) {
	t.Helper()
	used := map[digest.Digest]bool{}
	for _, d := range inUse {
		used[d] = true
	}
	if err := s.Delete(dgsts, func() (map[digest.Digest]bool, error) { return used, nil }); err != nil {
		t.Error(err)
	}
	wantGone(t, s, want, dgsts[0])
}

func wantGone(t *testing.T, s *content.Store, want bool, dgst digest.Digest) {
	t.Helper()
	r, err := s.Open(t.Context(), dgst)
	if err == nil {
		err = r.Close()
	}
	if errors.Is(err, fs.ErrNotExist) != want {
		t.Errorf("opening a blob that is to be gone (%t): %v", want, err)
	}
}

func TestDeleteSparesWhatSomebodyHolds(t *testing.T) {
	s := open(t, t.TempDir())
	one, other := s.Pull(), s.Hold()
	x := put(t, one, "x")
	if !other.Has(x) {
		t.Error("what one put, the other has not")
	}
	ds := []digest.Digest{x, x}
	wantDeleted(t, s, false, ds)
	one.Release()
	wantDeleted(t, s, false, ds)
	if got := other.Release(); !slices.Equal(got, ds[:1]) {
		t.Errorf("the other one held %v", got)
	}
	wantDeleted(t, s, false, ds, x)
	wantDeleted(t, s, true, ds)
	if err := other.Need(x); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("needing what is gone: %v", err)
	}
}

func TestWhatAHolderSparedGoesLater(t *testing.T) {
	s := open(t, t.TempDir())
	h := s.Hold()
	x, y := put(t, h, "x"), put(t, h, "y")
	wantDeleted(t, s, false, []digest.Digest{x})
	h.Release()
	wantDeleted(t, s, true, []digest.Digest{digest.FromString("another")})
	wantGone(t, s, true, x)
	wantGone(t, s, false, y) // nobody asked for it
}

func TestAdopt(t *testing.T) {
	s := open(t, t.TempDir())
	one, other := s.Pull(), s.Pull()
	base, top := put(t, one, "base"), put(t, one, "top")
	if !other.Has(base) {
		t.Error("no base")
	}
	h := s.Adopt(top)
	one.Release() // has nothing any more
	wantDeleted(t, s, false, []digest.Digest{top})
	if got := h.Release(); len(got) != 2 {
		t.Errorf("adopted %v", got)
	}
	wantDeleted(t, s, true, []digest.Digest{top})
	wantDeleted(t, s, false, []digest.Digest{base})
	if got := s.Adopt(base, top).Release(); len(got) != 0 {
		t.Errorf("adopted %v of a pull that has not all", got)
	}
	wantDeleted(t, s, false, []digest.Digest{base})
}

func TestAPullThatFailedEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		failed, load := s.Pull(), s.Hold()
		x, y := put(t, failed, "x"), put(t, load, "y")
		<-time.After(59 * time.Minute)
		wantDeleted(t, s, false, []digest.Digest{x})
		if !failed.Has(x) {
			t.Error("no x")
		}
		<-time.After(59 * time.Minute) // since its last use
		wantDeleted(t, s, false, []digest.Digest{x})
		<-time.After(time.Minute)
		wantDeleted(t, s, true, []digest.Digest{x})
		wantDeleted(t, s, false, []digest.Digest{y}) // a load says itself when it is done
		x = put(t, failed, "x")                      // it was only slow
		wantDeleted(t, s, false, []digest.Digest{x})
	})
}

func TestAPullThatIsSlowKeepsItsBlobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		h := s.Pull()
		x := put(t, h, "x")
		slow := slowReader{strings.NewReader("y"), 3 * time.Hour}
		done := make(chan error)
		go func() { done <- h.Put(t.Context(), davit.Descriptor{Digest: digest.FromString("y")}, slow) }()
		<-time.After(2 * time.Hour)
		wantDeleted(t, s, false, []digest.Digest{x})
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-time.After(time.Hour)
		wantDeleted(t, s, true, []digest.Digest{x})
	})
}

// slowReader is a slow line.
type slowReader struct {
	io.Reader
	every time.Duration
}

func (r slowReader) Read(p []byte) (int, error) {
	<-time.After(r.every)
	return r.Reader.Read(p)
}
