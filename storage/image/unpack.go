// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's names of what OCI image-spec media-types.md calls otherwise
// (distribution: "Image Manifest V 2, Schema 2").
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// manifest is an OCI or Docker image manifest. Manifests betrays an index that
// pretends to be one (CVE-2021-41190).
type manifest struct {
	ocispec.Manifest
	Manifests json.RawMessage `json:"manifests"`
}

// Unpack implements images.Store. When it fails, the blobs that
// only this image needed are deleted.
func (s *Store) Unpack(ctx context.Context, p davit.Pulled) (davit.Image, error) {
	a := arrival{s.layers.Begin(), s.blobs.Adopt(p.Target.Digest, p.Manifest.Digest)}
	d, err := s.unpackPulled(ctx, a, p)
	images, err := s.finish(a, []draft{d}, err)
	if images == nil {
		return davit.Image{}, err
	}
	return images[0], err
}

func (s *Store) unpackPulled(ctx context.Context, a arrival, p davit.Pulled) (draft, error) {
	names, err := pulledNames(p)
	if err != nil {
		return draft{}, err
	}
	if err := a.blobs.Need(p.Target.Digest); err != nil {
		return draft{}, err
	}
	d, err := s.unpack(ctx, a, p.Manifest, "Pull complete")
	d.Blobs = append(d.Blobs, p.Target.Digest)
	d.names = names
	return d, err
}

// pulledNames returns what an image that was pulled is called: its tag, unless
// it was asked for by digest, and its repository digest.
func pulledNames(p davit.Pulled) ([]reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(p.Reference)
	if err != nil {
		return nil, davit.Errorf(davit.InvalidName, "invalid reference format: %q: %w", p.Reference, err)
	}
	canonical, err := reference.WithDigest(reference.TrimNamed(ref), p.Target.Digest)
	if err != nil {
		return nil, davit.Errorf(davit.InvalidName, "invalid reference format: %q: %w", p.Reference, err)
	}
	if _, ok := ref.(reference.Digested); ok {
		return []reference.Named{canonical}, nil
	}
	return []reference.Named{reference.TagNameOnly(ref), canonical}, nil
}

// unpack makes a draft of a manifest whose blobs are in the content store. done
// is the phase that is reported of a layer that is ready.
func (s *Store) unpack(ctx context.Context, a arrival, desc davit.Descriptor, done string) (draft, error) {
	var d draft
	if err := a.blobs.Need(desc.Digest); err != nil {
		return d, err
	}
	m, err := s.readManifest(ctx, desc)
	if err != nil {
		return d, err
	}
	d.Blobs = []digest.Digest{desc.Digest, m.Config.Digest}
	for _, l := range m.Layers {
		d.Blobs = append(d.Blobs, l.Digest)
	}
	// Also of layers that are unpacked already: a push needs their blobs.
	if err := a.blobs.Need(d.Blobs...); err != nil {
		return d, err
	}
	config, err := s.blobs.ReadAll(ctx, m.Config.Digest, maxConfig)
	if err != nil {
		return d, err
	}
	if d.Image, err = parseConfig(config); err != nil {
		return d, err
	}
	d.Manifest, d.MediaType = desc.Digest, m.MediaType
	if len(m.Layers) != len(d.Layers) {
		return d, davit.Errorf(davit.InvalidArchive, "the image's manifest has %d layers, but its config %d", len(m.Layers), len(d.Layers))
	}
	return d, s.unpackLayers(ctx, a.layers, &d.Image, layerSources{m.Layers, done})
}

func (s *Store) readManifest(ctx context.Context, desc davit.Descriptor) (manifest, error) {
	var m manifest
	data, err := s.blobs.ReadAll(ctx, desc.Digest, maxManifest)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, davit.Errorf(davit.InvalidArchive, "the manifest %s is not valid: %w", desc.Digest, err)
	}
	if m.SchemaVersion == 1 {
		return m, davit.Errorf(davit.NotSupported, "the manifest %s has the obsolete schema version 1: push the image again with a current client", desc.Digest)
	}
	if m.MediaType == "" { // optional in OCI's
		m.MediaType = desc.MediaType
	}
	if m.MediaType == "" {
		m.MediaType = ocispec.MediaTypeImageManifest
	}
	if m.MediaType != ocispec.MediaTypeImageManifest && m.MediaType != dockerManifest {
		return m, davit.Errorf(davit.NotSupported, "the manifest %s has the media type %q, which is no container image's", desc.Digest, m.MediaType)
	}
	if m.Manifests != nil || m.Config.Digest == "" {
		return m, davit.Errorf(davit.InvalidArchive, "the manifest %s is not valid: it does not name one config and its layers", desc.Digest)
	}
	return m, nil
}

// layerSources are the blobs of an image's layers, lowest first.
type layerSources struct {
	blobs []ocispec.Descriptor
	done  string
}

func (s *Store) unpackLayers(ctx context.Context, in *overlay.Install, img *davit.Image, src layerSources) error {
	chains := overlay.ChainIDs(img.Layers)
	sizes := make([]int64, len(chains))
	for i, chain := range chains {
		l, found, err := in.Find(chain)
		if err == nil && !found {
			l, err = s.unpackLayer(ctx, in, chains[:i], img.Layers[i], src.blobs[i])
		}
		if err != nil {
			return err
		}
		sizes[i] = l.Size
		total := uint64(max(src.blobs[i].Size, 0))
		davit.Report(ctx, davit.Progress{Phase: src.done, Item: davit.ShortID(src.blobs[i].Digest.String()), Current: total, Total: total})
	}
	setSizes(img, sizes)
	return nil
}

func (s *Store) unpackLayer(ctx context.Context, in *overlay.Install, below []digest.Digest, diff digest.Digest, blob ocispec.Descriptor) (overlay.Layer, error) {
	f, err := s.blobs.Open(ctx, blob.Digest)
	if err != nil {
		return overlay.Layer{}, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	counted := &meter{ctx: ctx, r: f, progress: davit.Progress{
		Phase: "Extracting", Item: davit.ShortID(blob.Digest.String()), Total: uint64(max(blob.Size, 0)),
	}}
	plain, _, err := decompress(counted)
	if err != nil {
		return overlay.Layer{}, fault.Damaged(ctx, "the layer "+blob.Digest.String(), s.blobs.Dir(), err)
	}
	defer func() { _ = plain.Close() }() // frees a decoder
	ahead := tarfs.Ahead(plain)
	defer func() { _ = ahead.Close() }() // ends its goroutine, before what that reads is closed
	return in.Unpack(ctx, below, diff, ahead)
}

// decompress is [tarfs.Decompress]; it says what is wrong with a compression
// that is not supported.
func decompress(r io.Reader) (io.ReadCloser, tarfs.Compression, error) {
	plain, kind, err := tarfs.Decompress(r)
	if errors.Is(err, tarfs.ErrCompression) {
		err = davit.Errorf(davit.InvalidArchive, "cannot read the archive: %w", err)
	}
	return plain, kind, err
}

// reportEvery is how many bytes pass between two reports of progress.
const reportEvery = 1 << 20

// meter reports how much of a stream was read, and ends it with its context.
type meter struct {
	ctx      context.Context
	r        io.Reader
	progress davit.Progress
	reported uint64
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.progress.Current += uint64(n)
	if m.progress.Current-m.reported >= reportEvery {
		m.reported = m.progress.Current
		davit.Report(m.ctx, m.progress)
	}
	return n, err
}

// descriptor describes bytes.
func descriptor(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func blobOf(d ocispec.Descriptor) davit.Descriptor {
	return davit.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// layerType is the media type of a layer that is compressed so.
func layerType(c tarfs.Compression) (string, error) {
	switch c {
	case tarfs.Plain:
		return ocispec.MediaTypeImageLayer, nil
	case tarfs.Gzip:
		return ocispec.MediaTypeImageLayerGzip, nil
	case tarfs.Zstd:
		return ocispec.MediaTypeImageLayerZstd, nil
	default:
		return "", fmt.Errorf("no media type for a layer compressed with %s", c)
	}
}
