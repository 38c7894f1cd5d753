// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Commit implements images.Store. The new layer is compressed with gzip; the
// image gets a manifest with the layers of its parent, so that it can go on to
// a registry.
func (s *Store) Commit(ctx context.Context, req davit.Snapshot) (davit.Image, error) {
	var d draft
	if err := d.name(req.Reference); err != nil {
		return davit.Image{}, err
	}
	if err := applyChanges(&req.Config, req.Changes); err != nil {
		return davit.Image{}, err
	}
	parent, err := s.Get(req.Parent.String())
	if err != nil {
		return davit.Image{}, err
	}
	a := arrival{s.layers.Begin(), s.blobs.Hold()}
	err = s.commitContainer(ctx, a, commitment{req, parent}, &d)
	images, err := s.finish(a, []draft{d}, err)
	if images == nil {
		return davit.Image{}, err
	}
	return images[0], err
}

// commitment is a snapshot and the image that it is to stand on.
type commitment struct {
	davit.Snapshot
	parent davit.Image
}

func (s *Store) commitContainer(ctx context.Context, a arrival, c commitment, d *draft) error {
	_, m, err := s.hold(ctx, a.blobs, c.parent)
	if err != nil {
		return err
	}
	if len(m.Layers) != len(c.parent.Layers) {
		return davit.Errorf(davit.InvalidArchive, "the image's manifest has %d layers, but its config %d", len(m.Layers), len(c.parent.Layers))
	}
	chains := overlay.ChainIDs(c.parent.Layers)
	sizes := make([]int64, 0, len(chains)+1)
	blobs := make([]ocispec.Descriptor, 0, len(chains)+1)
	for i, chain := range chains {
		l, found, err := a.layers.Find(chain)
		if err == nil && !found {
			err = davit.Errorf(davit.NoSuchImage, "image %s: its layer %s is gone", davit.ShortID(c.parent.ID.String()), chain)
		}
		if err != nil {
			return err
		}
		sizes = append(sizes, l.Size)
		blob := ocispec.Descriptor{MediaType: ociLayer(m.Layers[i].MediaType), Digest: m.Layers[i].Digest, Size: m.Layers[i].Size}
		blobs = append(blobs, blob)
		d.Blobs = append(d.Blobs, blob.Digest)
	}
	layer, blob, err := s.packLayer(ctx, a, c, chains)
	if err != nil {
		return err
	}
	d.Blobs = append(d.Blobs, blob.Digest)
	data, err := json.Marshal(c.config(layer.DiffID))
	if err != nil {
		return fmt.Errorf("cannot encode the image's config: %w", err)
	}
	if d.Image, err = parseConfig(data); err != nil {
		return err
	}
	d.Parent = c.parent.ID
	setSizes(&d.Image, append(sizes, layer.Size))
	return putManifest(ctx, a.blobs, d, manifestParts{data, append(blobs, blob)})
}

// config is the parent's, with one step more.
func (c commitment) config(diff digest.Digest) configFile {
	now := time.Now().UTC()
	file := configFile{
		Created: &now, Author: c.Author, Comment: c.Message, Config: portable(c.Config),
		OS: c.parent.OS, Architecture: c.parent.Architecture, Variant: c.parent.Variant,
		RootFS: rootFS{Type: "layers", DiffIDs: append(append([]digest.Digest{}, c.parent.Layers...), diff)},
	}
	for _, h := range c.parent.History {
		e := historyEntry{CreatedBy: h.CreatedBy, Author: h.Author, Comment: h.Comment, EmptyLayer: h.EmptyLayer}
		if !h.Created.IsZero() {
			e.Created = &h.Created
		}
		file.History = append(file.History, e)
	}
	file.History = append(file.History, historyEntry{Created: &now, CreatedBy: c.CreatedBy, Author: c.Author, Comment: c.Message})
	return file
}

// packLayer packs a container's writable layer, and unpacks it as an image's
// layer and stores it as a blob at the same time.
func (s *Store) packLayer(ctx context.Context, a arrival, c commitment, below []digest.Digest) (overlay.Layer, ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	blob, err := a.blobs.Ingest()
	if err != nil {
		return overlay.Layer{}, none, err
	}
	defer blob.Discard()
	pr, pw := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := s.layers.Pack(ctx, c.Container, c.Leave, pw)
		pw.CloseWithError(err)
		packed <- err
	}()
	zip := gzip.NewWriter(blob)
	counted := &meter{ctx: ctx, r: io.TeeReader(pr, zip), progress: davit.Progress{Phase: "Committing", Item: davit.ShortID(c.Container)}}
	layer, err := a.layers.Unpack(ctx, below, "", counted)
	_ = pr.Close() // ends the packing when nobody reads any more
	if perr := <-packed; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		err = perr
	}
	if err != nil {
		return overlay.Layer{}, none, err
	}
	if err := zip.Close(); err != nil {
		return overlay.Layer{}, none, fmt.Errorf("cannot compress the layer: %w", fault.NoSpace(err, s.blobs.Dir()))
	}
	return layer, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: blob.Digest(), Size: blob.Size()}, blob.Commit()
}

// ociLayer is OCI's name of a type of layer that Docker has another name for.
func ociLayer(mediaType string) string {
	switch mediaType {
	case "application/vnd.docker.image.rootfs.diff.tar":
		return ocispec.MediaTypeImageLayer
	case "application/vnd.docker.image.rootfs.diff.tar.gzip":
		return ocispec.MediaTypeImageLayerGzip
	case "application/vnd.docker.image.rootfs.diff.tar.zstd":
		return ocispec.MediaTypeImageLayerZstd
	}
	return mediaType
}
