// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"sync"

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

// add puts the blobs of an image, whatever faults there are.
func (b *Blobs) add(image Built) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(b.data, image.Blobs)
}

func (b *Blobs) size(dgst digest.Digest) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.data[dgst]))
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

// ReadBlob returns the content of a blob.
func ReadBlob(ctx context.Context, b davit.Blobs, dgst digest.Digest) ([]byte, error) {
	r, err := b.Open(ctx, dgst)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// Describe returns the descriptor of a blob with the content data.
func Describe(data string) davit.Descriptor {
	return davit.Descriptor{Digest: digest.FromString(data), Size: int64(len(data))}
}
