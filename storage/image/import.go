// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs"
	"github.com/davit-engine/davit/storage/content"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Import implements images.Store. The tar is stored as it came
// (what bzip2 compressed is stored plain: OCI has no media type for it), with a
// manifest and a config, so that the image can go on to a registry.
func (s *Store) Import(ctx context.Context, req davit.Import) (davit.Image, error) {
	var d draft
	if err := d.name(req.Reference); err != nil {
		return davit.Image{}, err
	}
	var config davit.ContainerConfig
	if err := applyChanges(&config, req.Changes); err != nil {
		return davit.Image{}, err
	}
	a := arrival{s.layers.Begin(), s.blobs.Hold()}
	err := s.importImage(ctx, a, req, config, &d)
	images, err := s.finish(a, []draft{d}, err)
	if images == nil {
		return davit.Image{}, err
	}
	return images[0], err
}

func (s *Store) importImage(ctx context.Context, a arrival, req davit.Import, config davit.ContainerConfig, d *draft) error {
	layer, blob, err := s.importLayer(ctx, a, req)
	if err != nil {
		return err
	}
	d.Blobs = append(d.Blobs, blob.Digest)
	now := time.Now().UTC()
	comment := cmp.Or(req.Message, "Imported from -")
	file := configFile{
		Created: &now, Comment: comment, Config: config,
		OS: cmp.Or(req.Platform.OS, runtime.GOOS), Architecture: cmp.Or(req.Platform.Architecture, runtime.GOARCH), Variant: req.Platform.Variant,
		RootFS:  rootFS{Type: "layers", DiffIDs: []digest.Digest{layer.DiffID}},
		History: []historyEntry{{Created: &now, Comment: comment}},
	}
	data, err := json.Marshal(file)
	if err != nil {
		return fmt.Errorf("cannot encode the image's config: %w", err)
	}
	if d.Image, err = parseConfig(data); err != nil {
		return err
	}
	setSizes(&d.Image, []int64{layer.Size})
	return putManifest(ctx, a.blobs, d, manifestParts{data, []ocispec.Descriptor{blob}})
}

// manifestParts is what a manifest is made of.
type manifestParts struct {
	config []byte
	layers []ocispec.Descriptor
}

// putManifest stores a config, and a manifest of it and the layers.
func putManifest(ctx context.Context, blobs *content.Holder, d *draft, p manifestParts) error {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: descriptor(ocispec.MediaTypeImageConfig, p.config), Layers: p.layers,
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot encode the image's manifest: %w", err)
	}
	desc := descriptor(m.MediaType, data)
	d.Manifest, d.MediaType = desc.Digest, desc.MediaType
	d.Blobs = append(d.Blobs, m.Config.Digest, desc.Digest)
	if err := blobs.Put(ctx, blobOf(m.Config), bytes.NewReader(p.config)); err != nil {
		return err
	}
	return blobs.Put(ctx, blobOf(desc), bytes.NewReader(data))
}

// importLayer unpacks the source and, at the same time, stores it as a blob.
func (s *Store) importLayer(ctx context.Context, a arrival, req davit.Import) (overlay.Layer, ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	blob, err := a.blobs.Ingest()
	if err != nil {
		return overlay.Layer{}, none, err
	}
	defer blob.Discard()
	counted := &meter{ctx: ctx, r: req.Source, progress: davit.Progress{Phase: "Importing", Item: req.Reference}}
	plain, kind, err := split(counted, blob)
	if err != nil {
		return overlay.Layer{}, none, fault.Damaged(ctx, "the archive", s.blobs.Dir(), err)
	}
	defer func() { _ = plain.Close() }() // frees a decoder
	layer, err := a.layers.Unpack(ctx, nil, "", plain)
	if err != nil {
		return overlay.Layer{}, none, err
	}
	mediaType, err := layerType(kind)
	if err != nil {
		return overlay.Layer{}, none, err
	}
	return layer, ocispec.Descriptor{MediaType: mediaType, Digest: blob.Digest(), Size: blob.Size()}, blob.Commit()
}

// split returns the plain content of r; as it is read, the form that is to be
// kept, whose compression is kind, goes to keep.
func split(r io.Reader, keep io.Writer) (plain io.ReadCloser, kind tarfs.Compression, err error) {
	br := bufio.NewReader(r)
	head, err := br.Peek(6)
	if len(head) == 0 {
		if errors.Is(err, io.EOF) {
			err = davit.Errorf(davit.InvalidArchive, "the archive is empty")
		}
		return nil, "", err
	}
	if tarfs.Detect(head) != tarfs.Bzip2 {
		return decompress(io.TeeReader(br, keep))
	}
	plain, _, err = decompress(br)
	if err != nil {
		return nil, "", err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(plain, keep), plain}, tarfs.Plain, nil
}

// name has the draft's image called so, unless ref is empty.
func (d *draft) name(ref string) error {
	if ref == "" {
		return nil
	}
	name, err := parseTag(ref)
	if err != nil {
		return err
	}
	d.names = []reference.Named{name}
	return nil
}
