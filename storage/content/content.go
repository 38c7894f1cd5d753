// SPDX-License-Identifier: Apache-2.0

// Package content keeps blobs in files named after their digests, laid out as
// in an OCI image layout (image-spec image-layout.md): blobs/sha256/<hex>.
// Blobs stay compressed as they came, so that what goes out again has the
// digest it came in with.
package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/davit-engine/davit"
	"github.com/opencontainers/go-digest"
)

// Store is a content store on disk. Blobs get into it by a [Holder]. Its
// methods may be called from any goroutine.
type Store struct {
	dir string

	mu      sync.Mutex
	holders []*Holder              // those that hold something, oldest first
	doomed  map[digest.Digest]bool // that a holder kept from being deleted
}

// Open opens the store in dir, makes it if need be, and removes what writers
// of a predecessor left unfinished.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, doomed: map[digest.Digest]bool{}}
	if err := os.RemoveAll(s.ingestDir()); err != nil {
		return nil, fmt.Errorf("cannot remove unfinished blobs: %w", err)
	}
	for _, d := range []string{s.blobDir(), s.ingestDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("cannot create the content store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) ingestDir() string { return filepath.Join(s.dir, "ingest") }
func (s *Store) blobDir() string   { return filepath.Join(s.dir, "blobs", "sha256") }

func (s *Store) path(dgst digest.Digest) (string, error) {
	err := dgst.Validate()
	if errors.Is(err, digest.ErrDigestUnsupported) || (err == nil && dgst.Algorithm() != digest.SHA256) {
		return "", davit.Errorf(davit.NotSupported, "digest %q: only sha256 is supported", dgst)
	}
	if err != nil {
		return "", davit.Errorf(davit.InvalidConfiguration, "digest %q: %w", dgst, err)
	}
	return filepath.Join(s.blobDir(), dgst.Encoded()), nil
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

// Open opens a blob, which it does not hold: without an image that refers to it
// or a holder it may go, and then the error wraps [fs.ErrNotExist]. What is open
// stays readable. The caller closes it.
func (s *Store) Open(_ context.Context, dgst digest.Digest) (io.ReadCloser, error) {
	path, err := s.path(dgst)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the blob %s: %w", dgst, err)
	}
	return f, nil
}

// Size returns the bytes of a blob; without one, the error is that of Open.
func (s *Store) Size(dgst digest.Digest) (int64, error) {
	path, err := s.path(dgst)
	if err != nil {
		return 0, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("cannot find the blob %s: %w", dgst, err)
	}
	return fi.Size(), nil
}

// ReadAll returns a whole blob of at most limit bytes.
func (s *Store) ReadAll(ctx context.Context, dgst digest.Digest, limit int64) ([]byte, error) {
	r, err := s.Open(ctx, dgst)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // opened for reading
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the blob %s: %w", dgst, err)
	}
	if int64(len(data)) > limit {
		return nil, davit.Errorf(davit.InvalidArchive, "blob %s: larger than %d bytes, which no manifest or config is", dgst, limit)
	}
	return data, nil
}

// Delete removes those of dgsts that used does not return. What somebody holds
// goes with the first Delete after that, whatever it is asked for, or with the
// next [Store.Sweep]. No hold ends between the call of used and the deletion, so
// that an image which is recorded before its blobs are released cannot lose them.
func (s *Store) Delete(dgsts []digest.Digest, used func() (map[digest.Digest]bool, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep, err := used()
	if err != nil {
		return err
	}
	s.expire()
	for _, d := range dgsts {
		s.doomed[d] = true
	}
	var errs []error
	for d := range s.doomed {
		if keep[d] {
			delete(s.doomed, d) // its image's removal will name it
			continue
		}
		if slices.ContainsFunc(s.holders, func(h *Holder) bool { return h.held[d] }) {
			continue
		}
		delete(s.doomed, d)
		path, err := s.path(d)
		if err == nil {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot delete the blob %s: %w", d, err))
		}
	}
	return errors.Join(errs...)
}

// Sweep removes every blob that is not in keep. It is for the start of the
// daemon, when nobody uses the store yet.
func (s *Store) Sweep(keep map[digest.Digest]bool) error {
	entries, err := os.ReadDir(s.blobDir())
	if err != nil {
		return fmt.Errorf("cannot list the blobs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if keep[digest.NewDigestFromEncoded(digest.SHA256, e.Name())] {
			continue
		}
		if err := os.Remove(filepath.Join(s.blobDir(), e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("cannot delete the unused blob %s: %w", e.Name(), err))
		}
	}
	return errors.Join(errs...)
}
