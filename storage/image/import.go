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
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Import implements the service's ImageStore. The tar is stored as it came
// (what bzip2 compressed is stored plain: OCI has no media type for it), with a
// manifest and a config, so that the image can go on to a registry.
func (s *Store) Import(ctx context.Context, req davit.Import) (davit.Image, error) {
	var d draft
	if req.Reference != "" {
		name, err := parseTag(req.Reference)
		if err != nil {
			return davit.Image{}, err
		}
		d.names = []reference.Named{name}
	}
	var config davit.ContainerConfig
	if err := applyChanges(&config, req.Changes); err != nil {
		return davit.Image{}, err
	}
	in := s.layers.Begin()
	err := s.importImage(ctx, in, req, config, &d)
	var images []davit.Image
	if err == nil {
		images, err = s.commit(in, []draft{d})
	}
	if err != nil {
		return davit.Image{}, errors.Join(err, s.abandon(in, d.Blobs))
	}
	return images[0], in.Close()
}

func (s *Store) importImage(ctx context.Context, in *overlay.Install, req davit.Import, config davit.ContainerConfig, d *draft) error {
	layer, blob, err := s.importLayer(ctx, in, req)
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
	return s.putManifest(ctx, d, data, []ocispec.Descriptor{blob})
}

// putManifest stores a config, and a manifest of it and the layers.
func (s *Store) putManifest(ctx context.Context, d *draft, config []byte, layers []ocispec.Descriptor) error {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: descriptor(ocispec.MediaTypeImageConfig, config), Layers: layers,
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot encode the image's manifest: %w", err)
	}
	desc := descriptor(m.MediaType, data)
	d.Manifest, d.MediaType = desc.Digest, desc.MediaType
	d.Blobs = append(d.Blobs, m.Config.Digest, desc.Digest)
	if err := s.blobs.Put(ctx, blobOf(m.Config), bytes.NewReader(config)); err != nil {
		return err
	}
	return s.blobs.Put(ctx, blobOf(desc), bytes.NewReader(data))
}

// importLayer unpacks the source and, at the same time, stores it as a blob.
func (s *Store) importLayer(ctx context.Context, in *overlay.Install, req davit.Import) (overlay.Layer, ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	blob, err := s.blobs.Ingest()
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
	layer, err := in.Unpack(ctx, nil, "", plain)
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
