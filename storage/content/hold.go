// SPDX-License-Identifier: Apache-2.0

package content

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/opencontainers/go-digest"
)

// holdTime is how long a pull keeps its blobs after it last used the store. A
// pull first asks which blobs are there, fetches the others, and only then
// makes the image; when it fails before that, nobody says that it is over.
const holdTime = time.Hour

// Holder is one user of the store: a pull, a load, an import. What it asked for
// or wrote stays, though no image refers to it, until this holder is done,
// whatever becomes of other holders of the same blobs. It implements
// [davit.Blobs]; its methods may be called from any goroutine.
type Holder struct {
	store *Store
	pull  bool // ends by itself, see holdTime

	// Guarded by store.mu. While held is not empty, the store knows the holder.
	held    map[digest.Digest]bool
	writing int // calls of Put under way
	used    time.Time
}

// Hold begins a holder. The caller ends it with [Holder.Release].
func (s *Store) Hold() *Holder {
	return &Holder{store: s, held: map[digest.Digest]bool{}}
}

// Pull begins a holder that nobody need end: it does so by itself an hour after
// its last use, unless [Store.Adopt] has taken over what it holds.
func (s *Store) Pull() *Holder {
	h := s.Hold()
	h.pull = true
	return h
}

// Adopt begins a holder that takes over what the pull of dgsts holds, if there
// is one. The caller ends it with [Holder.Release]. A pull stores the manifest
// that it was asked for last, so that one which holds it has all its blobs; of
// several pulls that hold dgsts, one is as good as another.
func (s *Store) Adopt(dgsts ...digest.Digest) *Holder {
	h := s.Hold()
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.holders, func(p *Holder) bool { return p.pull && p.holds(dgsts) })
	if i >= 0 {
		p := s.holders[i]
		h.held, p.held = p.held, h.held
		s.holders[i] = h
	}
	return h
}

func (h *Holder) holds(dgsts []digest.Digest) bool {
	return !slices.ContainsFunc(dgsts, func(d digest.Digest) bool { return !h.held[d] })
}

// Release ends the holder's protection of its blobs: an image refers to them
// now, or never will. It returns what they are.
func (h *Holder) Release() []digest.Digest {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.store.holders = slices.DeleteFunc(h.store.holders, func(o *Holder) bool { return o == h })
	dgsts := slices.Collect(maps.Keys(h.held))
	clear(h.held)
	return dgsts
}

// hold is called with the store's lock held, and the blob there.
func (h *Holder) hold(dgst digest.Digest) {
	h.used = time.Now()
	if len(h.held) == 0 {
		h.store.expire()
		h.store.holders = append(h.store.holders, h)
	}
	h.held[dgst] = true
}

// Has tells whether the blob is there. If it is, it stays until the holder is
// done.
func (h *Holder) Has(dgst digest.Digest) bool {
	path, err := h.store.path(dgst)
	if err != nil {
		return false
	}
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	if _, err := os.Lstat(path); err != nil {
		return false
	}
	h.hold(dgst)
	return true
}

// Need is Has for blobs without which there is no image: if one is not there,
// the error wraps [fs.ErrNotExist].
func (h *Holder) Need(dgsts ...digest.Digest) error {
	for _, d := range dgsts {
		if _, err := h.store.path(d); err != nil {
			return err
		}
		if !h.Has(d) {
			return fmt.Errorf("cannot find the blob %s: %w", d, fs.ErrNotExist)
		}
	}
	return nil
}

// Put implements [davit.Blobs].
func (h *Holder) Put(ctx context.Context, desc davit.Descriptor, r io.Reader) error {
	if _, err := h.store.path(desc.Digest); err != nil {
		return err
	}
	if h.Has(desc.Digest) {
		return nil
	}
	h.write(1) // a large blob over a slow line may take more than an hour
	defer h.write(-1)
	in, err := h.Ingest()
	if err != nil {
		return err
	}
	defer in.Discard()
	if desc.Size > 0 { // one byte more shows that there is more, and no more is stored
		r = io.LimitReader(r, desc.Size+1)
	}
	if _, err := io.Copy(in, &contextReader{ctx, r}); err != nil {
		return fmt.Errorf("cannot store the blob %s: %w", desc.Digest, fault.NoSpace(err, h.store.dir))
	}
	if desc.Size > 0 && in.Size() != desc.Size {
		return davit.Errorf(davit.DigestMismatch, "blob %s: its size is not the announced %d bytes", desc.Digest, desc.Size)
	}
	if in.Digest() != desc.Digest {
		return davit.Errorf(davit.DigestMismatch, "blob %s: what came has the digest %s", desc.Digest, in.Digest())
	}
	return in.Commit()
}

func (h *Holder) write(n int) {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.writing += n
	h.used = time.Now()
}

// Open implements [davit.Blobs]. The caller closes what it returns.
func (h *Holder) Open(ctx context.Context, dgst digest.Digest) (io.ReadCloser, error) {
	return h.store.Open(ctx, dgst)
}

// expire ends the pulls that were not used for long; what they held goes with
// the next Delete. It is called with the lock held.
func (s *Store) expire() {
	s.holders = slices.DeleteFunc(s.holders, func(h *Holder) bool {
		if !h.pull || h.writing > 0 || time.Since(h.used) < holdTime {
			return false
		}
		for d := range h.held {
			s.doomed[d] = true
		}
		clear(h.held)
		return true
	})
}

// contextReader fails once its context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
