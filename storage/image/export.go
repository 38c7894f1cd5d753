// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/content"
	"github.com/davit-engine/davit/storage/records"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// Export implements images.Store: an OCI image layout (image-spec
// image-layout.md) and, unless only that is wanted, a manifest.json beside it,
// by which readers of docker-archives find the same blobs: what docker save
// writes since version 25. Blobs go out as they came in, so that their digests
// are those of the registry that they are from. The same images make the same
// bytes.
func (s *Store) Export(ctx context.Context, req davit.Save) (_ []davit.Image, err error) {
	picked, err := s.pick(req)
	if err != nil {
		return nil, err
	}
	e := exporter{store: s, held: s.blobs.Hold(), seen: map[digest.Digest]bool{}}
	defer func() { err = errors.Join(err, s.dropBlobs(e.held.Release())) }()
	var saved []davit.Image
	for _, p := range picked {
		if err := e.add(ctx, p); err != nil {
			return nil, err
		}
		saved = append(saved, p.Image)
	}
	w, err := req.Open()
	if err != nil {
		return nil, fmt.Errorf("cannot begin the archive: %w", err)
	}
	return saved, e.write(ctx, w, req.Format != "oci")
}

// pickedImage is an image that is to be saved, and the names that it is to be
// saved with.
type pickedImage struct {
	davit.Image
	names []reference.Named
}

// pick finds the images that a request means, each once: a name without a tag
// is all tags of a repository, an id or a digest is no name.
func (s *Store) pick(req davit.Save) (picked []pickedImage, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		picked = nil
		names, err := allNames(tx)
		if err != nil {
			return err
		}
		for _, ref := range req.Images {
			found, err := pickOne(tx, names, ref)
			if err != nil {
				return err
			}
			for _, p := range found {
				if err := checkPlatform(p.Image, req.Platform, ref); err != nil {
					return err
				}
				picked = addPicked(picked, p)
			}
		}
		return nil
	})
	return picked, err
}

func pickOne(tx *bolt.Tx, all map[digest.Digest][]reference.Named, ref string) ([]pickedImage, error) {
	meant := map[digest.Digest][]reference.Named{}
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		for id, names := range all {
			for _, n := range names {
				_, digested := n.(reference.Digested)
				whole := reference.IsNameOnly(named) && n.Name() == named.Name()
				if !digested && (whole || nameKey(n) == nameKey(named)) {
					meant[id] = append(meant[id], n)
				}
			}
		}
	}
	if len(meant) == 0 {
		id, err := resolve(tx, ref)
		if err != nil {
			return nil, err
		}
		meant[id] = nil
	}
	var picked []pickedImage
	for id, names := range meant {
		var r record
		if _, err := records.Get(tx, imageBucket, id.String(), &r); err != nil {
			return nil, err
		}
		picked = append(picked, pickedImage{named(r.Image, all[id]), names})
	}
	slices.SortFunc(picked, func(a, b pickedImage) int { return b.Created.Compare(a.Created) })
	return picked, nil
}

func addPicked(picked []pickedImage, p pickedImage) []pickedImage {
	i := slices.IndexFunc(picked, func(o pickedImage) bool { return o.ID == p.ID })
	if i < 0 {
		return append(picked, p)
	}
	for _, n := range p.names {
		if !slices.ContainsFunc(picked[i].names, func(o reference.Named) bool { return nameKey(o) == nameKey(n) }) {
			picked[i].names = append(picked[i].names, n)
		}
	}
	return picked
}

func checkPlatform(img davit.Image, want davit.Platform, ref string) error {
	differs := func(got, want string) bool { return want != "" && got != want }
	if differs(img.OS, want.OS) || differs(img.Architecture, want.Architecture) || differs(img.Variant, want.Variant) {
		return davit.Errorf(davit.NoSuchImage, "image with reference %s was found but is not for the platform %s/%s", ref, want.OS, want.Architecture)
	}
	return nil
}

// exporter is one Export.
type exporter struct {
	store  *Store
	held   *content.Holder
	seen   map[digest.Digest]bool
	blobs  []davit.Descriptor // each once
	total  uint64             // of their bytes
	index  ocispec.Index
	docker []dockerImage
}

// add holds an image's blobs, and notes them for the archive.
func (e *exporter) add(ctx context.Context, p pickedImage) error {
	desc, m, err := e.store.hold(ctx, e.held, p.Image)
	if err != nil {
		return err
	}
	docker := dockerImage{Config: blobName(m.Config.Digest), RepoTags: []string{}}
	e.note(desc)
	e.note(blobOf(m.Config))
	for _, l := range m.Layers {
		e.note(blobOf(l))
		docker.Layers = append(docker.Layers, blobName(l.Digest))
	}
	entry := ocispec.Descriptor{
		MediaType: m.MediaType, Digest: desc.Digest, Size: desc.Size,
		Platform: &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant},
	}
	if len(p.names) == 0 {
		e.index.Manifests = append(e.index.Manifests, entry)
	}
	for _, n := range p.names {
		named := entry
		named.Annotations = map[string]string{annotationName: n.String()}
		if t, ok := n.(reference.Tagged); ok {
			named.Annotations[ocispec.AnnotationRefName] = t.Tag()
		}
		e.index.Manifests = append(e.index.Manifests, named)
		docker.RepoTags = append(docker.RepoTags, reference.FamiliarString(n))
	}
	e.docker = append(e.docker, docker)
	return nil
}

func (e *exporter) note(d davit.Descriptor) {
	if !e.seen[d.Digest] {
		e.seen[d.Digest] = true
		e.blobs = append(e.blobs, d)
		e.total += uint64(max(d.Size, 0))
	}
}

// blobName is the place of a blob in a layout.
func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func (e *exporter) write(ctx context.Context, w io.Writer, docker bool) error {
	tw := tar.NewWriter(w)
	e.index.Versioned, e.index.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageIndex
	err := writeJSON(tw, ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err == nil {
		err = writeJSON(tw, ocispec.ImageIndexFile, e.index)
	}
	if err == nil && docker {
		err = writeJSON(tw, "manifest.json", e.docker)
	}
	if err != nil {
		return err
	}
	for _, dir := range []string{ocispec.ImageBlobsDir + "/", ocispec.ImageBlobsDir + "/" + digest.SHA256.String() + "/"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
			return fmt.Errorf("cannot write the archive: %w", err)
		}
	}
	done := davit.Progress{Phase: "Saving", Total: e.total}
	for _, d := range e.blobs {
		if err := e.writeBlob(ctx, tw, d, &done); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("cannot finish the archive: %w", err)
	}
	return nil
}

func (e *exporter) writeBlob(ctx context.Context, tw *tar.Writer, d davit.Descriptor, done *davit.Progress) error {
	size, err := e.store.blobs.Size(d.Digest)
	if err != nil {
		return err
	}
	r, err := e.held.Open(ctx, d.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // opened for reading
	if err := writeHeader(tw, blobName(d.Digest), size); err != nil {
		return err
	}
	m := &meter{ctx: ctx, r: r, progress: *done, reported: done.Current}
	if _, err := io.CopyN(tw, m, size); err != nil {
		return fmt.Errorf("cannot write the blob %s to the archive: %w", d.Digest, err)
	}
	*done = m.progress
	davit.Report(ctx, *done)
	return nil
}

func writeHeader(tw *tar.Writer, name string, size int64) error {
	err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)})
	if err != nil {
		return fmt.Errorf("cannot write %s to the archive: %w", name, err)
	}
	return nil
}

func writeJSON(tw *tar.Writer, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", name, err)
	}
	if err := writeHeader(tw, name, int64(len(data))); err != nil {
		return err
	}
	if _, err := tw.Write(data); err != nil {
		return fmt.Errorf("cannot write %s to the archive: %w", name, err)
	}
	return nil
}
