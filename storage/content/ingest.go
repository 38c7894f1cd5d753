// SPDX-License-Identifier: Apache-2.0

package content

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/davit-engine/davit/internal/atomicfile"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/opencontainers/go-digest"
)

// Ingest is a blob that is being written. It belongs to one goroutine, which
// ends it with Discard, whether it was committed or not.
type Ingest struct {
	holder *Holder
	store  *Store
	path   string
	file   *os.File
	hash   hash.Hash
	size   int64
	kept   bool // path is the blob's own
}

// Ingest begins a blob whose digest is not known yet. Once committed, h holds
// it.
func (h *Holder) Ingest() (*Ingest, error) {
	s := h.store
	f, err := os.CreateTemp(s.ingestDir(), "blob-")
	if err != nil {
		return nil, fmt.Errorf("cannot create a blob: %w", fault.NoSpace(err, s.dir))
	}
	return &Ingest{holder: h, store: s, path: f.Name(), file: f, hash: sha256.New()}, nil
}

// Write appends to the blob.
func (in *Ingest) Write(p []byte) (int, error) {
	n, err := in.file.Write(p)
	_, _ = in.hash.Write(p[:n]) // a hash never fails
	in.size += int64(n)
	return n, err
}

// Size returns the bytes written so far.
func (in *Ingest) Size() int64 { return in.size }

// Digest returns the digest of what was written so far.
func (in *Ingest) Digest() digest.Digest { return digest.NewDigest(digest.SHA256, in.hash) }

// Pause closes the blob's file without ending the blob, so that many can wait
// for their Commit. Nothing can be written afterwards.
func (in *Ingest) Pause() error {
	if in.file == nil {
		return nil
	}
	err := in.file.Close()
	in.file = nil
	if err != nil {
		return fmt.Errorf("cannot write a blob: %w", fault.NoSpace(err, in.store.dir))
	}
	return nil
}

// Reader opens what has been written. The caller closes it.
func (in *Ingest) Reader() (io.ReadCloser, error) {
	f, err := os.Open(in.path)
	if err != nil {
		return nil, fmt.Errorf("cannot read a blob back: %w", err)
	}
	return f, nil
}

// Commit makes the blob durable and visible under its digest.
func (in *Ingest) Commit() error {
	if err := in.sync(); err != nil {
		return fmt.Errorf("cannot store the blob %s: %w", in.Digest(), fault.NoSpace(err, in.store.dir))
	}
	dgst := in.Digest()
	to, err := in.store.path(dgst)
	if err != nil {
		return err
	}
	in.store.mu.Lock()
	defer in.store.mu.Unlock()
	if err := atomicfile.Rename(in.path, to); err != nil {
		return fmt.Errorf("cannot store the blob %s: %w", dgst, fault.NoSpace(err, in.store.dir))
	}
	in.path, in.kept = to, true
	in.holder.hold(dgst)
	return nil
}

func (in *Ingest) sync() error {
	f := in.file
	in.file = nil
	if f == nil {
		var err error
		if f, err = os.Open(in.path); err != nil {
			return err
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

// Discard ends the blob; unless it was committed, nothing of it is left. It
// may be called more than once.
func (in *Ingest) Discard() {
	if in.file != nil {
		_ = in.file.Close() // its content is not wanted
		in.file = nil
	}
	if !in.kept {
		_ = os.Remove(in.path) // else the next Open removes it
	}
}
