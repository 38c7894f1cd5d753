// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/images"
	"github.com/opencontainers/go-digest"
)

var _ images.Registry = (*Client)(nil)

// blobStore is a davit.Blobs in memory.
type blobStore struct {
	mu    sync.Mutex
	blobs map[digest.Digest][]byte
	order []digest.Digest
}

func newStore() *blobStore { return &blobStore{blobs: map[digest.Digest][]byte{}} }

func (s *blobStore) Has(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.blobs[d]
	return ok
}

func (s *blobStore) Put(ctx context.Context, desc davit.Descriptor, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("cannot store: %w", err)
	}
	if int64(len(data)) != desc.Size || digest.FromBytes(data) != desc.Digest {
		return davit.Errorf(davit.DigestMismatch, "blob %s does not agree", desc.Digest)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[desc.Digest] = data
	s.order = append(s.order, desc.Digest)
	return nil
}

func (s *blobStore) Open(_ context.Context, d digest.Digest) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.blobs[d]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (s *blobStore) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blobs)
}

// image is an image and, with it, what a registry has of it.
type image struct {
	blobs    map[digest.Digest][]byte
	layers   []content
	config   content
	manifest content
	index    content // of this and a manifest for another platform
}

func (i *image) add(mediaType string, data []byte) content {
	d := digest.FromBytes(data)
	i.blobs[d] = data
	return content{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (i *image) addJSON(mediaType string, v any) content {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return i.add(mediaType, data)
}

type object = map[string]any

func desc(c content) object {
	o := object{"mediaType": c.MediaType, "digest": c.Digest, "size": c.Size}
	if c.Platform != nil {
		o["platform"] = c.Platform
	}
	return o
}

// newImage makes an image of layers of these sizes, not counting compression.
func newImage(arch string, sizes ...int) *image {
	i := &image{blobs: map[digest.Digest][]byte{}}
	rng := rand.New(rand.NewPCG(1, uint64(len(arch))))
	var diffs []digest.Digest
	var layers, history []object
	for n, size := range sizes {
		var plain, packed bytes.Buffer
		w := tar.NewWriter(&plain)
		data := make([]byte, size)
		for k := range data {
			data[k] = byte(rng.Uint32())
		}
		must(w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%s-%d", arch, n), Mode: 0o644, Size: int64(size)}))
		must1(w.Write(data))
		must(w.Close())
		z := gzip.NewWriter(&packed)
		must1(z.Write(plain.Bytes()))
		must(z.Close())
		diffs = append(diffs, digest.FromBytes(plain.Bytes()))
		layer := i.add("application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes())
		i.layers = append(i.layers, layer)
		layers = append(layers, desc(layer))
		history = append(history, object{"created": "2024-01-01T00:00:00Z", "created_by": "test"})
	}
	i.config = i.addJSON(ociConfig, object{
		"os": "linux", "architecture": arch, "rootfs": object{"type": "layers", "diff_ids": diffs},
		"config": object{"Cmd": []string{"/bin/true"}}, "history": history,
	})
	i.manifest = i.addJSON(ociManifest, object{"schemaVersion": 2, "mediaType": ociManifest, "config": desc(i.config), "layers": layers})
	i.manifest.Platform = &platform{OS: "linux", Architecture: arch}
	return i
}

// join makes an index over images; the result has the blobs of all.
func join(images ...*image) *image {
	all := &image{blobs: map[digest.Digest][]byte{}}
	var list []object
	for _, i := range images {
		for d, data := range i.blobs {
			all.blobs[d] = data
		}
		list = append(list, desc(i.manifest))
	}
	all.index = all.addJSON(ociIndex, object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
	return all
}

// writeLayout writes an OCI image layout (image-layout.md) with one name.
func (i *image) writeLayout(t *testing.T, dir string, root content) {
	t.Helper()
	for d, data := range i.blobs {
		path := filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())
		must(os.MkdirAll(filepath.Dir(path), 0o755))
		must(os.WriteFile(path, data, 0o644))
	}
	top := desc(root)
	top["annotations"] = object{"org.opencontainers.image.ref.name": "latest"}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{top}})
	must(err)
	must(os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
	must(os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func must1[T any](_ T, err error) { must(err) }

// recorder collects progress.
type recorder struct {
	mu  sync.Mutex
	all []davit.Progress
}

func (r *recorder) context(ctx context.Context) context.Context {
	return davit.WithReporter(ctx, func(p davit.Progress) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, p)
	})
}

// phases returns the phases of an item, repetitions dropped.
func (r *recorder) phases(item string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []string
	for _, p := range r.all {
		if p.Item == item && (len(got) == 0 || got[len(got)-1] != p.Phase) {
			got = append(got, p.Phase)
		}
	}
	return got
}
