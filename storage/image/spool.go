// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs"
	"github.com/davit-engine/davit/storage/content"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxFiles bounds the names that a load keeps in memory: an image of 500 layers
// in the oldest form has 2,000.
const maxFiles = 20_000

// maxName bounds each of them.
const maxName = 4096

// spooled are the files of an archive that is being loaded, on disk, each
// under a name of our own: the archive's names are only keys.
type spooled struct {
	files map[string]*spooledFile
	links map[string]string // symbolic and hard links
	blobs map[digest.Digest]*spooledFile
}

type spooledFile struct {
	name      string
	blob      *content.Ingest
	digest    digest.Digest
	committed bool
}

// spool reads an archive to its end. The caller discards the result.
func (s *Store) spool(ctx context.Context, blobs *content.Holder, r io.Reader) (_ *spooled, err error) {
	sp := &spooled{files: map[string]*spooledFile{}, links: map[string]string{}, blobs: map[digest.Digest]*spooledFile{}}
	defer func() {
		if err != nil {
			sp.discard()
			err = fault.Damaged(ctx, "the archive", s.blobs.Dir(), err)
		}
	}()
	br := bufio.NewReader(&meter{ctx: ctx, r: r, progress: davit.Progress{Phase: "Reading archive"}})
	if _, err := br.Peek(1); errors.Is(err, io.EOF) {
		return nil, davit.Errorf(davit.InvalidArchive, "the archive is empty")
	}
	plain, _, err := decompress(br)
	if err != nil {
		return nil, err
	}
	defer func() { _ = plain.Close() }() // frees a decoder
	tr := tar.NewReader(plain)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := spoolEntry(blobs, sp, hdr, tr); err != nil {
			return nil, err
		}
	}
	_, err = io.Copy(io.Discard, plain) // the checksum of gzip is at the end
	return sp, err
}

func spoolEntry(blobs *content.Holder, sp *spooled, hdr *tar.Header, r io.Reader) error {
	if len(sp.files)+len(sp.links) >= maxFiles || len(hdr.Name) > maxName || len(hdr.Linkname) > maxName {
		return davit.Errorf(davit.InvalidArchive, "the archive has more than %d files, or a name longer than %d bytes: it is no archive of images", maxFiles, maxName)
	}
	name := clean(hdr.Name)
	switch hdr.Typeflag {
	case tar.TypeReg:
	case tar.TypeSymlink:
		sp.links[name] = clean(path.Join(path.Dir(name), hdr.Linkname))
		return nil
	case tar.TypeLink:
		sp.links[name] = clean(hdr.Linkname)
		return nil
	default:
		return nil
	}
	blob, err := blobs.Ingest()
	if err != nil {
		return err
	}
	sp.forget(name)
	f := &spooledFile{name: name, blob: blob}
	sp.files[name] = f
	if _, err := io.Copy(blob, r); err != nil {
		return err
	}
	f.digest = blob.Digest()
	sp.blobs[f.digest] = f
	return blob.Pause()
}

// forget drops a file that another one of its name replaces.
func (sp *spooled) forget(name string) {
	old, ok := sp.files[name]
	if !ok {
		return
	}
	old.blob.Discard()
	delete(sp.files, name)
	if sp.blobs[old.digest] == old {
		delete(sp.blobs, old.digest)
	}
}

// clean makes names comparable; those that point outside point nowhere.
func clean(name string) string { return path.Clean("/" + name) }

// discard removes what was not moved to the content store.
func (sp *spooled) discard() {
	for _, f := range sp.files {
		f.blob.Discard()
	}
}

// lookup returns a file by its name, through links; nil when there is none.
func (sp *spooled) lookup(name string) *spooledFile {
	at := clean(name)
	for range 10 {
		if f, ok := sp.files[at]; ok {
			return f
		}
		next, ok := sp.links[at]
		if !ok {
			break
		}
		at = next
	}
	return nil
}

// find is lookup for a file that must be there.
func (sp *spooled) find(name string) (*spooledFile, error) {
	if f := sp.lookup(name); f != nil {
		return f, nil
	}
	return nil, davit.Errorf(davit.InvalidArchive, "the archive lacks the file %q", name)
}

func (sp *spooled) has(d digest.Digest) bool { return sp.blobs[d] != nil }

// blob returns the file of a descriptor. It is found by what it holds, so that
// it need not be checked again.
func (sp *spooled) blob(desc ocispec.Descriptor) (*spooledFile, error) {
	if f, ok := sp.blobs[desc.Digest]; ok {
		return f, nil
	}
	if err := desc.Digest.Validate(); err != nil {
		return nil, davit.Errorf(davit.InvalidArchive, "the archive names a blob %q: %w", desc.Digest, err)
	}
	name := path.Join(ocispec.ImageBlobsDir, desc.Digest.Algorithm().String(), desc.Digest.Encoded())
	if f := sp.lookup(name); f != nil {
		return nil, davit.Errorf(davit.DigestMismatch, "the archive's file %s has the digest %s", name, f.digest)
	}
	return nil, davit.Errorf(davit.InvalidArchive, "the archive lacks the blob %s", desc.Digest)
}

// decode decodes a JSON file; found is false when the archive has none.
func (sp *spooled) decode(name string, limit int64, v any) (found bool, err error) {
	f := sp.lookup(name)
	if f == nil {
		return false, nil
	}
	return true, f.decode(limit, v)
}

func (sp *spooled) read(name string, limit int64) ([]byte, error) {
	f, err := sp.find(name)
	if err != nil {
		return nil, err
	}
	return f.read(limit)
}

func (f *spooledFile) read(limit int64) (_ []byte, err error) {
	if f.blob.Size() > limit {
		return nil, davit.Errorf(davit.InvalidArchive, "the archive's file %s is larger than %d bytes, which no manifest or config is", f.name, limit)
	}
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // opened for reading
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("cannot read the archive's file %s: %w", f.name, err)
	}
	return data, nil
}

func (f *spooledFile) open() (io.ReadCloser, error) { return f.blob.Reader() }

func (f *spooledFile) decode(limit int64, v any) error {
	data, err := f.read(limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return davit.Errorf(davit.InvalidArchive, "the archive's file %s is not valid: %w", f.name, err)
	}
	return nil
}

// layer describes the file as a layer, by how it is compressed.
func (f *spooledFile) layer() (ocispec.Descriptor, error) {
	r, err := f.open()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { _ = r.Close() }() // opened for reading
	head := make([]byte, 6)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ocispec.Descriptor{}, fmt.Errorf("cannot read the archive's file %s: %w", f.name, err)
	}
	mediaType, err := layerType(tarfs.Detect(head[:n]))
	if err != nil {
		return ocispec.Descriptor{}, davit.Errorf(davit.InvalidArchive, "the archive's layer %s: %w", f.name, err)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: f.digest, Size: f.blob.Size()}, nil
}

// hostPlatform tells whether an image for p runs here. Variants of arm are not
// told apart: the kernel runs the older ones.
func hostPlatform(p ocispec.Platform) bool {
	return p.OS == runtime.GOOS && slices.Contains([]string{runtime.GOARCH, ""}, p.Architecture)
}
