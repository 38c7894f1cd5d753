// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/davit-engine/davit"
	"github.com/opencontainers/go-digest"
)

// Blobs is a fake [davit.Blobs] in memory.
type Blobs struct {
	Faults
	mu   sync.Mutex
	data map[digest.Digest][]byte
}

// NewBlobs returns an empty store.
func NewBlobs() *Blobs { return &Blobs{data: map[digest.Digest][]byte{}} }

// Has implements [davit.Blobs].
func (b *Blobs) Has(dgst digest.Digest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.data[dgst]
	return ok
}

// Put implements [davit.Blobs].
func (b *Blobs) Put(ctx context.Context, desc davit.Descriptor, r io.Reader) error {
	if err := b.enterContext(ctx, "Put", desc.Digest.String()); err != nil {
		return err
	}
	if b.Has(desc.Digest) {
		return nil
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if desc.Size != 0 && desc.Size != int64(len(data)) {
		return davit.Errorf(davit.DigestMismatch, "blob %s: %d bytes came, not %d", desc.Digest, len(data), desc.Size)
	}
	if digest.FromBytes(data) != desc.Digest {
		return davit.Errorf(davit.DigestMismatch, "blob %s: what came has another digest", desc.Digest)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data[desc.Digest] = data
	return nil
}

// Open implements [davit.Blobs].
func (b *Blobs) Open(ctx context.Context, dgst digest.Digest) (io.ReadCloser, error) {
	if err := b.enterContext(ctx, "Open", dgst.String()); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.data[dgst]
	if !ok {
		return nil, fmt.Errorf("cannot open blob %s: %w", dgst, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func readBlob(ctx context.Context, b davit.Blobs, dgst digest.Digest) ([]byte, error) {
	r, err := b.Open(ctx, dgst)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// TestBlobs checks a [davit.Blobs]. open returns an empty one.
func TestBlobs(t *testing.T, open func(t *testing.T) davit.Blobs) {
	t.Run("round trip", func(t *testing.T) { testBlobRoundTrip(t, open(t)) })
	t.Run("refuses", func(t *testing.T) { testBlobRefusals(t, open(t)) })
	t.Run("concurrent", func(t *testing.T) { testBlobRace(t, open(t)) })
}

func describe(data string) davit.Descriptor {
	return davit.Descriptor{Digest: digest.FromString(data), Size: int64(len(data))}
}

func testBlobRoundTrip(t *testing.T, b davit.Blobs) {
	const data = "some bytes"
	d := describe(data)
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
	if back := result(readBlob(t.Context(), b, d.Digest))(t); string(back) != data {
		t.Errorf("read %q back, want %q", back, data)
	}
	must(t, b.Put(t.Context(), d, iotest.ErrReader(errors.New("a blob that is there was read"))))

	unsized := describe("of unknown size")
	unsized.Size = 0
	must(t, b.Put(t.Context(), unsized, strings.NewReader("of unknown size")))
	empty := describe("")
	must(t, b.Put(t.Context(), empty, strings.NewReader("")))
	if back := result(readBlob(t.Context(), b, empty.Digest))(t); len(back) != 0 {
		t.Errorf("read %q of the empty blob", back)
	}
}

func testBlobRefusals(t *testing.T, b davit.Blobs) {
	good := describe("the right bytes")
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
		{"a reader that fails", t.Context(), io.MultiReader(strings.NewReader("the"), iotest.ErrReader(ErrInjected)), davit.Failed},
		{"an ended context", canceled, strings.NewReader("the right bytes"), davit.Failed},
	} {
		err := b.Put(c.ctx, good, c.r)
		wantCode(t, err, c.code, c.name)
		if c.name == "a reader that fails" && !errors.Is(err, ErrInjected) {
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
	d := describe(data)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := b.Put(t.Context(), d, iotest.HalfReader(strings.NewReader(data))); err != nil {
				t.Errorf("one of several that put the same blob: %v", err)
			}
		})
	}
	wg.Wait()
	if back := result(readBlob(t.Context(), b, d.Digest))(t); string(back) != data {
		t.Error("what several put at once is damaged")
	}
}
