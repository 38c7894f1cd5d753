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
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Images is a fake [images.Store] in memory. It knows the instructions
// CMD and ENV, and uncompressed layers.
type Images struct {
	Faults
	blobs     *Blobs
	mu        sync.Mutex
	images    map[digest.Digest]davit.Image
	manifests map[digest.Digest]davit.Descriptor  // per image
	files     map[digest.Digest]map[string]string // per layer
	names     map[string]digest.Digest            // familiar name -> id

	containers *Rootfs // whose layers can be committed; nil: none
}

// NewImages returns an empty store.
func NewImages() *Images {
	return &Images{
		blobs: NewBlobs(), images: map[digest.Digest]davit.Image{},
		manifests: map[digest.Digest]davit.Descriptor{},
		files:     map[digest.Digest]map[string]string{}, names: map[string]digest.Digest{},
	}
}

// Add puts an image with one layer of the files into the store.
func (s *Images) Add(tag string, config davit.ContainerConfig, files map[string]string) davit.Image {
	b := Build(runtime.GOARCH, config, files)
	s.blobs.add(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manifests[b.Config] = b.Target
	return s.addLocked(davit.Image{ID: b.Config, Created: built, Config: config, OS: "linux", Architecture: runtime.GOARCH, Layers: b.Layers, Size: 1},
		[]map[string]string{files}, familiar(tag))
}

// Age moves the time at which an image was made.
func (s *Images) Age(id digest.Digest, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	img := s.images[id]
	img.Created = img.Created.Add(by)
	s.images[id] = img
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

// Size implements [images.Store].
func (s *Images) Size() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var total int64
	seen := map[digest.Digest]bool{}
	for _, img := range s.images {
		for _, l := range img.Layers {
			for _, data := range s.files[l] {
				if !seen[l] {
					total += int64(len(data))
				}
			}
			seen[l] = true
		}
	}
	return total, nil
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
	return s.unpack(ctx, unpacking{p.Manifest, m.Config.Digest, layers, names})
}

// unpacking is what an image is made of.
type unpacking struct {
	manifest davit.Descriptor
	id       digest.Digest
	layers   []digest.Digest
	names    []string
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
func (s *Images) unpack(ctx context.Context, u unpacking) (davit.Image, error) {
	var c imageConfig
	if err := s.decode(ctx, u.id, &c); err != nil {
		return davit.Image{}, err
	}
	if !slices.Equal(u.layers, c.RootFS.DiffIDs) {
		return davit.Image{}, davit.Errorf(davit.DigestMismatch, "image %s: its layers are not those of its config", u.id)
	}
	var files []map[string]string
	for _, l := range u.layers {
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
	s.manifests[u.id] = u.manifest
	return s.addLocked(davit.Image{
		ID: u.id, Created: c.Created, OS: c.OS, Architecture: c.Architecture, Config: c.Config, Layers: u.layers, Size: 1,
	}, files, u.names...), nil
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
	if err := change(&config, req.Changes); err != nil {
		return davit.Image{}, err
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
	return s.unpack(ctx, unpacking{b.Target, b.Config, b.Layers, names})
}

// change applies the instructions that the fake knows.
func change(config *davit.ContainerConfig, changes []string) error {
	for _, c := range changes {
		word, arg, _ := strings.Cut(c, " ")
		switch {
		case word == "ENV":
			config.Env = append(config.Env, arg)
		case word == "CMD" && json.Unmarshal([]byte(arg), &config.Cmd) == nil:
		default:
			return davit.Errorf(davit.InvalidConfiguration, "cannot apply change %q", c)
		}
	}
	return nil
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
	var entries []archived
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
		img, err := s.unpack(ctx, unpacking{s.manifestOf(config, layers), config.Digest, layers, names})
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

// manifestOf stores a manifest of blobs that are there.
func (s *Images) manifestOf(config davit.Descriptor, layers []digest.Digest) davit.Descriptor {
	b := Built{Blobs: map[digest.Digest][]byte{}}
	m := manifest{SchemaVersion: 2, MediaType: typeManifest, Config: &descriptor{typeConfig, config.Digest, config.Size, nil}}
	for _, l := range layers {
		m.Layers = append(m.Layers, descriptor{typeLayer, l, s.blobs.size(l), nil})
	}
	target := b.add(typeManifest, mustJSON(m)).davit()
	s.blobs.add(b)
	return target
}

// Original implements [images.Store].
func (s *Images) Original(ctx context.Context, ref string) (davit.Original, error) {
	if err := s.enterContext(ctx, "Original", ref); err != nil {
		return davit.Original{}, err
	}
	img, err := s.Get(ref)
	if err != nil {
		return davit.Original{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return davit.Original{Image: img, Manifest: s.manifests[img.ID], Blobs: s.blobs, Release: func() error { return nil }}, nil
}

// AddDigest implements [images.Store].
func (s *Images) AddDigest(id digest.Digest, name string, target davit.Descriptor) error {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return davit.Errorf(davit.InvalidName, "invalid reference %q: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err = s.findLocked(id.String())
	if err == nil {
		s.names[reference.FamiliarName(named)+"@"+target.Digest.String()] = id
	}
	return err
}

// Export implements [images.Store]; the archive has no OCI layout.
func (s *Images) Export(ctx context.Context, req davit.Save) ([]davit.Image, error) {
	if err := s.enterContext(ctx, "Export", strings.Join(req.Images, " ")); err != nil {
		return nil, err
	}
	var saved []davit.Image
	names := map[digest.Digest][]string{}
	for _, ref := range req.Images {
		found, tags, err := s.export(ref)
		if err != nil {
			return nil, err
		}
		for _, img := range found {
			if _, twice := names[img.ID]; !twice {
				saved = append(saved, img)
			}
			names[img.ID] = append(names[img.ID], tags[img.ID]...)
		}
	}
	archive, err := s.archive(ctx, saved, names)
	if err != nil {
		return nil, err
	}
	w, err := req.Open()
	if err != nil {
		return nil, err
	}
	_, err = w.Write(archive)
	return saved, err
}

// export finds what one name of a request means, and the names to save it with.
func (s *Images) export(ref string) ([]davit.Image, map[digest.Digest][]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags := map[digest.Digest][]string{}
	named, err := reference.ParseNormalizedNamed(ref)
	for _, n := range slices.Sorted(maps.Keys(s.names)) {
		other, perr := reference.ParseNormalizedNamed(n)
		if err != nil || perr != nil || strings.Contains(n, "@") {
			continue
		}
		if n == familiar(ref) || (reference.IsNameOnly(named) && other.Name() == named.Name()) {
			tags[s.names[n]] = append(tags[s.names[n]], n)
		}
	}
	if len(tags) == 0 {
		id, err := s.findLocked(ref)
		if err != nil {
			return nil, nil, err
		}
		tags[id] = nil
	}
	var found []davit.Image
	for _, id := range slices.Sorted(maps.Keys(tags)) {
		found = append(found, s.namedLocked(id))
	}
	return found, tags, nil
}

// archive makes a docker-archive.
func (s *Images) archive(ctx context.Context, images []davit.Image, names map[digest.Digest][]string) ([]byte, error) {
	var entries []archived
	files := map[string]string{}
	for _, img := range images {
		e := archived{Config: img.ID.Encoded() + ".json", RepoTags: names[img.ID]}
		for _, l := range img.Layers {
			e.Layers = append(e.Layers, l.Encoded()+"/layer.tar")
		}
		for i, dgst := range append([]digest.Digest{img.ID}, img.Layers...) {
			data, err := ReadBlob(ctx, s.blobs, dgst)
			if err != nil {
				return nil, err
			}
			files[append([]string{e.Config}, e.Layers...)[i]] = string(data)
		}
		entries = append(entries, e)
	}
	files["manifest.json"] = string(mustJSON(entries))
	return Tar(files), nil
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
		for name, data := range files {
			if gone, ok := strings.CutPrefix(path.Base(name), ".wh."); ok {
				delete(out, path.Join(path.Dir(name), gone))
			} else {
				out[name] = data
			}
		}
	}
	return out, nil
}

func (s *Images) setContainers(c *Rootfs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers = c
}

// Commit implements [images.Store].
func (s *Images) Commit(ctx context.Context, req davit.Snapshot) (davit.Image, error) {
	if err := s.enterContext(ctx, "Commit", req.Container); err != nil {
		return davit.Image{}, err
	}
	var names []string
	if req.Reference != "" {
		if err := checkTag(req.Reference); err != nil {
			return davit.Image{}, err
		}
		names = append(names, familiar(req.Reference))
	}
	if err := change(&req.Config, req.Changes); err != nil {
		return davit.Image{}, err
	}
	parent, err := s.Get(req.Parent.String())
	if err != nil {
		return davit.Image{}, err
	}
	files, err := s.containers.changed(req.Container)
	if err != nil {
		return davit.Image{}, err
	}
	s.mu.Lock()
	layers := []map[string]string{}
	for _, l := range parent.Layers {
		layers = append(layers, s.files[l])
	}
	s.mu.Unlock()
	b := Build(parent.Architecture, req.Config, append(layers, files)...)
	if err := b.Put(ctx, s.blobs); err != nil {
		return davit.Image{}, err
	}
	img, err := s.unpack(ctx, unpacking{b.Target, b.Config, b.Layers, names})
	if err != nil {
		return img, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	img.Parent, img.Author, img.Comment = parent.ID, req.Author, req.Message
	img.History = append(slices.Clone(parent.History), davit.HistoryEntry{CreatedBy: req.CreatedBy, Author: req.Author, Comment: req.Message})
	kept := img
	kept.Tags, kept.Digests = nil, nil
	s.images[img.ID] = kept
	return img, nil
}
