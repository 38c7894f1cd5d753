// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/opencontainers/go-digest"
)

// TestBlobs checks a [davit.Blobs]. open returns an empty one.
func TestBlobs(t *testing.T, open func(t *testing.T) davit.Blobs) {
	t.Run("round trip", func(t *testing.T) { testBlobRoundTrip(t, open(t)) })
	t.Run("refuses", func(t *testing.T) { testBlobRefusals(t, open(t)) })
	t.Run("concurrent", func(t *testing.T) { testBlobRace(t, open(t)) })
}

func testBlobRoundTrip(t *testing.T, b davit.Blobs) {
	const data = "some bytes"
	d := fake.Describe(data)
	if b.Has(d.Digest) {
		t.Error("an empty store has a blob")
	}
	if _, err := b.Open(t.Context(), d.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a blob that is not there: %v, want fs.ErrNotExist", err)
	}
	must(t, b.Put(t.Context(), d, strings.NewReader(data)))
	if !b.Has(d.Digest) {
		t.Error("a blob that was put is not there")
	}
	if back := result(fake.ReadBlob(t.Context(), b, d.Digest))(t); string(back) != data {
		t.Errorf("read %q back, want %q", back, data)
	}
	must(t, b.Put(t.Context(), d, iotest.ErrReader(errors.New("a blob that is there was read"))))

	unsized := fake.Describe("of unknown size")
	unsized.Size = 0
	must(t, b.Put(t.Context(), unsized, strings.NewReader("of unknown size")))
	empty := fake.Describe("")
	must(t, b.Put(t.Context(), empty, strings.NewReader("")))
	if back := result(fake.ReadBlob(t.Context(), b, empty.Digest))(t); len(back) != 0 {
		t.Errorf("read %q of the empty blob", back)
	}
}

func testBlobRefusals(t *testing.T, b davit.Blobs) {
	good := fake.Describe("the right bytes")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		r    io.Reader
		code davit.Code
	}{
		{"other bytes of the same size", t.Context(), strings.NewReader("the wrong bytes"), davit.DigestMismatch},
		{"too few bytes", t.Context(), strings.NewReader("the right"), davit.DigestMismatch},
		{"too many bytes", t.Context(), strings.NewReader("the right bytes and more"), davit.DigestMismatch},
		{"a reader that fails", t.Context(), io.MultiReader(strings.NewReader("the"), iotest.ErrReader(fake.ErrInjected)), davit.Failed},
		{"an ended context", canceled, strings.NewReader("the right bytes"), davit.Failed},
	} {
		err := b.Put(c.ctx, good, c.r)
		wantCode(t, err, c.code, c.name)
		if c.name == "a reader that fails" && !errors.Is(err, fake.ErrInjected) {
			t.Errorf("the reader's error is lost: %v", err)
		}
		if b.Has(good.Digest) {
			t.Fatalf("%s: the blob is there", c.name)
		}
	}
	for _, bad := range []digest.Digest{"", "sha256:", "sha256:../../x", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:ABCD"} {
		if err := b.Put(t.Context(), davit.Descriptor{Digest: bad}, strings.NewReader("x")); err == nil {
			t.Errorf("a blob with the digest %q was taken", bad)
		}
		if b.Has(bad) {
			t.Errorf("there is a blob with the digest %q", bad)
		}
		if _, err := b.Open(t.Context(), bad); err == nil {
			t.Errorf("a blob with the digest %q was opened", bad)
		}
	}
	must(t, b.Put(t.Context(), good, strings.NewReader("the right bytes"))) // nothing is in the way
}

func testBlobRace(t *testing.T, b davit.Blobs) {
	data := strings.Repeat("0123456789", 100_000)
	d := fake.Describe(data)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := b.Put(t.Context(), d, iotest.HalfReader(strings.NewReader(data))); err != nil {
				t.Errorf("one of several that put the same blob: %v", err)
			}
		})
	}
	wg.Wait()
	if back := result(fake.ReadBlob(t.Context(), b, d.Digest))(t); string(back) != data {
		t.Error("what several put at once is damaged")
	}
}
