// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Load implements images.Store: it takes docker-archives (what
// docker save wrote until version 24), OCI image layouts (image-spec
// image-layout.md), and the mixture of both that docker save writes now. The
// archive is spooled to disk first, as neither form says in which order its
// files come. Either all its images are installed or none.
func (s *Store) Load(ctx context.Context, req davit.Load) ([]davit.Image, error) {
	a := arrival{s.layers.Begin(), s.blobs.Hold()}
	files, err := s.spool(ctx, a.blobs, req.Source)
	if err != nil {
		return s.finish(a, nil, err)
	}
	defer files.discard()
	l := loader{arrival: a, store: s, files: files}
	drafts, err := l.load(ctx)
	images, err := s.finish(a, drafts, err)
	for i := range images {
		images[i].Tags = slices.DeleteFunc(images[i].Tags, func(tag string) bool { return !drafts[i].has(tag) })
	}
	return images, err
}

// loader is one Load.
type loader struct {
	arrival
	store *Store
	files *spooled
}

func (l *loader) load(ctx context.Context) ([]draft, error) {
	var docker []dockerImage
	isDocker, err := l.files.decode("manifest.json", maxManifest, &docker)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	isOCI, err := l.files.decode(ocispec.ImageIndexFile, maxManifest, &index)
	if err != nil {
		return nil, err
	}
	var drafts []draft
	switch {
	case isOCI:
		if drafts, err = l.loadLayout(ctx, index); err == nil {
			err = l.addDockerNames(drafts, docker)
		}
	case isDocker:
		drafts, err = l.loadDocker(ctx, docker)
	default:
		err = davit.Errorf(davit.InvalidArchive, "the archive holds no image: it has neither a manifest.json (docker save) "+
			"nor an index.json (OCI layout); for the files of a root directory use import")
	}
	if err == nil && len(drafts) == 0 {
		err = davit.Errorf(davit.InvalidArchive, "the archive names no image for this machine")
	}
	return drafts, err
}

// keep moves a spooled file to the content store.
func (l *loader) keep(f *spooledFile) error {
	if f.committed {
		return nil
	}
	f.committed = true
	if l.blobs.Has(f.digest) {
		return nil // protected from removal by Has
	}
	return f.blob.Commit()
}

// dockerImage is one entry of a docker-archive's manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (l *loader) loadDocker(ctx context.Context, images []dockerImage) ([]draft, error) {
	var drafts []draft
	for _, im := range images {
		d, err := l.loadDockerImage(ctx, im)
		if err != nil {
			return nil, err
		}
		drafts = merge(drafts, d)
	}
	return drafts, nil
}

// merge adds a draft, or its names to a draft of the same image.
func merge(drafts []draft, d draft) []draft {
	i := slices.IndexFunc(drafts, func(o draft) bool { return o.ID == d.ID })
	if i < 0 {
		return append(drafts, d)
	}
	drafts[i].names = append(drafts[i].names, d.names...)
	drafts[i].Blobs = append(drafts[i].Blobs, d.Blobs...)
	return drafts
}

// loadDockerImage makes the manifest that the archive does not have. The
// layers stay as they came, which is uncompressed as a rule.
func (l *loader) loadDockerImage(ctx context.Context, im dockerImage) (draft, error) {
	var d draft
	names, err := loadedNames(im.RepoTags)
	if err != nil {
		return d, err
	}
	config, err := l.files.read(im.Config, maxConfig)
	if err != nil {
		return d, err
	}
	if d.Image, err = parseConfig(config); err != nil {
		return d, err
	}
	if len(im.Layers) != len(d.Layers) {
		return d, davit.Errorf(davit.InvalidArchive, "the archive has %d layers of an image, but its config %d", len(im.Layers), len(d.Layers))
	}
	var layers []ocispec.Descriptor
	for _, name := range im.Layers {
		f, err := l.files.find(name)
		if err != nil {
			return d, err
		}
		desc, err := f.layer()
		if err != nil {
			return d, err
		}
		if err := l.keep(f); err != nil {
			return d, err
		}
		layers = append(layers, desc)
		d.Blobs = append(d.Blobs, desc.Digest)
	}
	if err := l.store.unpackLayers(ctx, l.layers, &d.Image, layerSources{layers, "Loading layer"}); err != nil {
		return d, err
	}
	d.names = names
	return d, putManifest(ctx, l.blobs, &d, manifestParts{config, layers})
}

// loadedNames parses what an archive calls an image.
func loadedNames(tags []string) ([]reference.Named, error) {
	var names []reference.Named
	for _, t := range tags {
		name, err := parseTag(t)
		if err != nil {
			return nil, davit.Errorf(davit.InvalidArchive, "the archive gives an image the name %q: %w", t, err)
		}
		names = append(names, name)
	}
	return names, nil
}

// addDockerNames gives images that came by an OCI index the names that the
// archive's manifest.json has for them, too.
func (l *loader) addDockerNames(drafts []draft, images []dockerImage) error {
	for _, im := range images {
		f, err := l.files.find(im.Config)
		if err != nil {
			return err
		}
		names, err := loadedNames(im.RepoTags)
		if err != nil {
			return err
		}
		for i := range drafts {
			if drafts[i].ID == f.digest {
				drafts[i].names = append(drafts[i].names, names...)
			}
		}
	}
	return nil
}

// Annotations of an index's entries that name an image: containerd's, with a
// full reference, and OCI's own, which may be a tag only.
const annotationName = "io.containerd.image.name"

func (l *loader) loadLayout(ctx context.Context, index ocispec.Index) ([]draft, error) {
	var drafts []draft
	for _, desc := range index.Manifests {
		var names []reference.Named
		if name, ok := annotatedName(desc.Annotations); ok {
			names = []reference.Named{name}
		}
		manifest, ok, err := l.choose(desc, 0)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // not for this machine, or an attestation
		}
		d, err := l.loadManifest(ctx, manifest)
		if err != nil {
			return nil, err
		}
		d.names = names
		drafts = merge(drafts, d)
	}
	return drafts, nil
}

func annotatedName(annotations map[string]string) (reference.Named, bool) {
	if name := annotations[annotationName]; name != "" {
		ref, err := parseTag(name)
		return ref, err == nil
	}
	// "latest" alone is a tag of an image whose name is not told.
	ref, err := reference.ParseNormalizedNamed(annotations[ocispec.AnnotationRefName])
	if err != nil || reference.IsNameOnly(ref) {
		return nil, false
	}
	ref, err = parseTag(ref.String())
	return ref, err == nil
}

func (l *loader) loadManifest(ctx context.Context, desc ocispec.Descriptor) (draft, error) {
	m, err := l.layoutManifest(desc)
	if err != nil {
		return draft{}, err
	}
	for _, b := range append([]ocispec.Descriptor{desc, m.Config}, m.Layers...) {
		f, err := l.files.blob(b)
		if err != nil {
			return draft{}, err
		}
		if err := l.keep(f); err != nil {
			return draft{}, err
		}
	}
	return l.store.unpack(ctx, l.arrival, blobOf(desc), "Loading layer")
}

// layoutManifest reads a manifest of the archive to learn which blobs it needs.
func (l *loader) layoutManifest(desc ocispec.Descriptor) (manifest, error) {
	var m manifest
	f, err := l.files.blob(desc)
	if err != nil {
		return m, err
	}
	return m, f.decode(maxManifest, &m)
}

// maxNesting is how deep indexes may hold indexes.
const maxNesting = 3

// choose follows an entry of an index to the manifest for this machine.
func (l *loader) choose(desc ocispec.Descriptor, depth int) (ocispec.Descriptor, bool, error) {
	if desc.MediaType != ocispec.MediaTypeImageIndex && desc.MediaType != dockerManifestList {
		return desc, desc.Annotations["vnd.docker.reference.type"] == "", nil
	}
	if depth == maxNesting {
		return desc, false, davit.Errorf(davit.InvalidArchive, "the archive's indexes are nested too deeply")
	}
	f, err := l.files.blob(desc)
	if err != nil {
		return desc, false, err
	}
	var index ocispec.Index
	if err := f.decode(maxManifest, &index); err != nil {
		return desc, false, err
	}
	for _, m := range index.Manifests {
		if m.Platform != nil && !hostPlatform(*m.Platform) {
			continue
		}
		if !l.files.has(m.Digest) {
			continue // saved for one platform only
		}
		if chosen, ok, err := l.choose(m, depth+1); err != nil || ok {
			return chosen, ok, err
		}
	}
	return desc, false, nil
}
