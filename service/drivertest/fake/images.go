// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Images is a fake [images.Store] in memory. It knows the instructions
// CMD and ENV, and uncompressed layers.
type Images struct {
	Faults
	blobs  *Blobs
	mu     sync.Mutex
	images map[digest.Digest]davit.Image
	files  map[digest.Digest]map[string]string // per layer
	names  map[string]digest.Digest            // familiar name -> id
}

// NewImages returns an empty store.
func NewImages() *Images {
	return &Images{
		blobs: NewBlobs(), images: map[digest.Digest]davit.Image{},
		files: map[digest.Digest]map[string]string{}, names: map[string]digest.Digest{},
	}
}

// Add puts an image with one layer of the files into the store.
func (s *Images) Add(tag string, config davit.ContainerConfig, files map[string]string) davit.Image {
	b := Build(runtime.GOARCH, config, files)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addLocked(davit.Image{ID: b.Config, Config: config, OS: "linux", Architecture: runtime.GOARCH, Layers: b.Layers, Size: 1},
		[]map[string]string{files}, familiar(tag))
}

func (s *Images) addLocked(img davit.Image, layers []map[string]string, names ...string) davit.Image {
	s.images[img.ID] = img
	for i, l := range img.Layers {
		s.files[l] = layers[i]
	}
	for _, n := range names {
		s.names[n] = img.ID
	}
	return s.namedLocked(img.ID)
}

func familiar(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	if c, ok := ref.(reference.Canonical); ok {
		return reference.FamiliarName(ref) + "@" + c.Digest().String()
	}
	return reference.FamiliarString(reference.TagNameOnly(ref))
}

func (s *Images) namedLocked(id digest.Digest) davit.Image {
	img := s.images[id]
	for _, n := range slices.Sorted(maps.Keys(s.names)) {
		switch {
		case s.names[n] != id:
		case strings.Contains(n, "@"):
			img.Digests = append(img.Digests, n)
		default:
			img.Tags = append(img.Tags, n)
		}
	}
	return img
}

func (s *Images) findLocked(ref string) (digest.Digest, error) {
	if id, ok := s.names[familiar(ref)]; ok {
		return id, nil
	}
	prefix := digest.Digest("sha256:" + strings.TrimPrefix(ref, "sha256:"))
	var found digest.Digest
	for id := range s.images {
		if !strings.HasPrefix(id.String(), prefix.String()) || ref == "" {
			continue
		}
		if found != "" {
			return "", davit.Errorf(davit.AmbiguousName, "image id prefix %s is ambiguous", ref)
		}
		found = id
	}
	if found == "" {
		return "", davit.Errorf(davit.NoSuchImage, "No such image: %s", ref)
	}
	return found, nil
}

// Get implements [images.Store].
func (s *Images) Get(ref string) (davit.Image, error) {
	if err := s.enter("Get", ref); err != nil {
		return davit.Image{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.findLocked(ref)
	if err != nil {
		return davit.Image{}, err
	}
	return s.namedLocked(id), nil
}

// List implements [images.Store].
func (s *Images) List() ([]davit.Image, error) {
	if err := s.enter("List", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []davit.Image
	for id := range s.images {
		out = append(out, s.namedLocked(id))
	}
	slices.SortFunc(out, func(a, b davit.Image) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return out, nil
}

// Blobs implements [images.Store].
func (s *Images) Blobs() davit.Blobs { return s.blobs }

// Unpack implements [images.Store].
func (s *Images) Unpack(ctx context.Context, p davit.Pulled) (davit.Image, error) {
	if err := s.enterContext(ctx, "Unpack", p.Reference); err != nil {
		return davit.Image{}, err
	}
	ref, err := reference.ParseNormalizedNamed(p.Reference)
	if err != nil {
		return davit.Image{}, davit.Errorf(davit.InvalidName, "invalid reference %q: %w", p.Reference, err)
	}
	var m manifest
	if err := s.decode(ctx, p.Manifest.Digest, &m); err != nil {
		return davit.Image{}, err
	}
	if m.Config == nil {
		return davit.Image{}, davit.Errorf(davit.InvalidArchive, "manifest %s has no config", p.Manifest.Digest)
	}
	var layers []digest.Digest
	for _, l := range m.Layers {
		layers = append(layers, l.Digest)
	}
	names := []string{reference.FamiliarName(ref) + "@" + p.Target.Digest.String()}
	if _, ok := ref.(reference.Digested); !ok {
		names = append(names, familiar(p.Reference))
	}
	return s.unpack(ctx, m.Config.Digest, layers, names)
}

func (s *Images) decode(ctx context.Context, dgst digest.Digest, v any) error {
	data, err := ReadBlob(ctx, s.blobs, dgst)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return davit.Errorf(davit.InvalidArchive, "blob %s: %w", dgst, err)
	}
	return nil
}

// unpack makes an image of blobs that are there.
func (s *Images) unpack(ctx context.Context, id digest.Digest, layers []digest.Digest, names []string) (davit.Image, error) {
	var c imageConfig
	if err := s.decode(ctx, id, &c); err != nil {
		return davit.Image{}, err
	}
	if !slices.Equal(layers, c.RootFS.DiffIDs) {
		return davit.Image{}, davit.Errorf(davit.DigestMismatch, "image %s: its layers are not those of its config", id)
	}
	var files []map[string]string
	for _, l := range layers {
		data, err := ReadBlob(ctx, s.blobs, l)
		if err != nil {
			return davit.Image{}, err
		}
		f, err := Untar(bytes.NewReader(data))
		if err != nil {
			return davit.Image{}, err
		}
		files = append(files, f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addLocked(davit.Image{
		ID: id, Created: c.Created, OS: c.OS, Architecture: c.Architecture, Config: c.Config, Layers: layers, Size: 1,
	}, files, names...), nil
}

// Untar returns the files of an archive, directories with a slash at the end.
func Untar(r io.Reader) (map[string]string, error) {
	files := map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, davit.Errorf(davit.InvalidArchive, "damaged archive: %w", err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, davit.Errorf(davit.InvalidArchive, "damaged archive: %w", err)
		}
		files[strings.TrimPrefix(h.Name, "./")] = string(data)
	}
}

// Import implements [images.Store].
func (s *Images) Import(ctx context.Context, req davit.Import) (davit.Image, error) {
	if err := s.enterContext(ctx, "Import", req.Reference); err != nil {
		return davit.Image{}, err
	}
	var names []string
	if req.Reference != "" {
		if err := checkTag(req.Reference); err != nil {
			return davit.Image{}, err
		}
		names = append(names, familiar(req.Reference))
	}
	var config davit.ContainerConfig
	for _, c := range req.Changes {
		word, arg, _ := strings.Cut(c, " ")
		switch {
		case word == "ENV":
			config.Env = append(config.Env, arg)
		case word == "CMD" && json.Unmarshal([]byte(arg), &config.Cmd) == nil:
		default:
			return davit.Image{}, davit.Errorf(davit.InvalidConfiguration, "cannot apply change %q", c)
		}
	}
	files, err := Untar(req.Source)
	if err != nil {
		return davit.Image{}, err
	}
	if len(files) == 0 {
		return davit.Image{}, davit.Errorf(davit.InvalidArchive, "the archive is empty")
	}
	b := Build(req.Platform.Architecture, config, files)
	if err := b.Put(ctx, s.blobs); err != nil {
		return davit.Image{}, err
	}
	return s.unpack(ctx, b.Config, b.Layers, names)
}

// Load implements [images.Store].
func (s *Images) Load(ctx context.Context, req davit.Load) ([]davit.Image, error) {
	if err := s.enterContext(ctx, "Load", ""); err != nil {
		return nil, err
	}
	files, err := Untar(req.Source)
	if err != nil {
		return nil, err
	}
	var entries []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal([]byte(files["manifest.json"]), &entries); err != nil {
		return nil, davit.Errorf(davit.InvalidArchive, "manifest.json: %w", err)
	}
	var out []davit.Image
	for _, e := range entries {
		var layers []digest.Digest
		for _, l := range e.Layers {
			layers = append(layers, digest.FromString(files[l]))
			if err := s.blobs.Put(ctx, Describe(files[l]), strings.NewReader(files[l])); err != nil {
				return out, err
			}
		}
		config := Describe(files[e.Config])
		if err := s.blobs.Put(ctx, config, strings.NewReader(files[e.Config])); err != nil {
			return out, err
		}
		var names []string
		for _, t := range e.RepoTags {
			names = append(names, familiar(t))
		}
		img, err := s.unpack(ctx, config.Digest, layers, names)
		if err != nil {
			return out, err
		}
		out = append(out, img)
	}
	return out, nil
}

func checkTag(name string) error {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return davit.Errorf(davit.InvalidName, "invalid reference %q: %w", name, err)
	}
	if _, ok := ref.(reference.Digested); ok {
		return davit.Errorf(davit.InvalidName, "%q is no tag", name)
	}
	return nil
}

// Tag implements [images.Store].
func (s *Images) Tag(ref, name string) error {
	if err := s.enter("Tag", ref+" "+name); err != nil {
		return err
	}
	if err := checkTag(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.findLocked(ref)
	if err == nil {
		s.names[familiar(name)] = id
	}
	return err
}

// Remove implements [images.Store].
func (s *Images) Remove(ref string, force bool, inUse func(digest.Digest) string) ([]davit.ImageDeletion, error) {
	if err := s.enter("Remove", ref); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.findLocked(ref)
	if err != nil {
		return nil, err
	}
	img := s.namedLocked(id)
	names := append(img.Tags, img.Digests...)
	if _, byName := s.names[familiar(ref)]; byName && len(img.Tags) > 1 {
		names = []string{familiar(ref)}
	} else if user := inUse(id); user != "" && !force {
		return nil, davit.Errorf(davit.ImageInUse, "image %s is used by container %s", ref, user)
	} else if !byName && len(img.Tags) > 1 && !force {
		return nil, davit.Errorf(davit.ImageInUse, "image %s has several names", ref)
	}
	var out []davit.ImageDeletion
	for _, n := range names {
		delete(s.names, n)
		out = append(out, davit.ImageDeletion{Untagged: n})
	}
	if len(names) == len(img.Tags)+len(img.Digests) {
		delete(s.images, id)
		out = append(out, davit.ImageDeletion{Deleted: id.String()})
	}
	return out, nil
}

// content returns the files of an image, upper layers over lower ones.
func (s *Images) content(img davit.Image) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for _, l := range img.Layers {
		files, ok := s.files[l]
		if !ok {
			return nil, davit.Errorf(davit.NoSuchImage, "image %s: its layer %s is gone", img.ID, l)
		}
		maps.Copy(out, files)
	}
	return out, nil
}
