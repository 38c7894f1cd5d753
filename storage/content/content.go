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
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/opencontainers/go-digest"
)

// holdTime is how long a blob that somebody asked for, or wrote, is kept even
// though no image refers to it: a pull first asks which blobs are there,
// fetches the others, and only then makes the image.
const holdTime = time.Hour

// Store is a content store on disk. It implements [davit.Blobs]; its methods
// may be called from any goroutine.
type Store struct {
	dir  string
	mu   sync.Mutex
	held map[digest.Digest]time.Time // asked for or written, and not yet released
}

// Open opens the store in dir, makes it if need be, and removes what writers
// of a predecessor left unfinished.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, held: map[digest.Digest]time.Time{}}
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

// Has tells whether the blob is there. If it is, it stays for at least an hour,
// unless [Store.Release] says that its image is complete.
func (s *Store) Has(dgst digest.Digest) bool {
	path, err := s.path(dgst)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Lstat(path); err != nil {
		return false
	}
	s.held[dgst] = time.Now()
	return true
}

// Put implements [davit.Blobs].
func (s *Store) Put(ctx context.Context, desc davit.Descriptor, r io.Reader) error {
	if _, err := s.path(desc.Digest); err != nil {
		return err
	}
	if s.Has(desc.Digest) {
		return nil
	}
	in, err := s.Ingest()
	if err != nil {
		return err
	}
	defer in.Discard()
	if desc.Size > 0 { // one byte more shows that there is more, and no more is stored
		r = io.LimitReader(r, desc.Size+1)
	}
	if _, err := io.Copy(in, &contextReader{ctx, r}); err != nil {
		return fmt.Errorf("cannot store the blob %s: %w", desc.Digest, fault.NoSpace(err, s.dir))
	}
	if desc.Size > 0 && in.Size() != desc.Size {
		return davit.Errorf(davit.DigestMismatch, "blob %s: its size is not the announced %d bytes", desc.Digest, desc.Size)
	}
	if in.Digest() != desc.Digest {
		return davit.Errorf(davit.DigestMismatch, "blob %s: what came has the digest %s", desc.Digest, in.Digest())
	}
	return in.Commit()
}

// Open implements [davit.Blobs]. The caller closes what it returns.
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

// Release ends the protection that Has and Put gave: an image refers to the
// blobs now, or never will.
func (s *Store) Release(dgsts ...digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range dgsts {
		delete(s.held, d)
	}
}

// Delete removes those of dgsts that used does not return, except what a pull
// under way may rely on; that goes with the next [Store.Sweep]. No protection
// ends between the call of used and the deletion, so that an image which is
// recorded before it releases its blobs cannot lose them.
func (s *Store) Delete(dgsts []digest.Digest, used func() (map[digest.Digest]bool, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep, err := used()
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range dgsts {
		if since, ok := s.held[d]; keep[d] || (ok && time.Since(since) < holdTime) {
			continue
		}
		delete(s.held, d)
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
