// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/davit-engine/davit"
	"github.com/opencontainers/go-digest"
)

// Media types of OCI image-spec media-types.md.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// Tar returns an archive of the files, and of the directories above them, in
// the order of their names. A name that ends in a slash is a directory.
func Tar(files map[string]string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg, ModTime: time.Unix(1_700_000_000, 0)}
		if name[len(name)-1] == '/' {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		// A bytes.Buffer takes everything and the sizes are right.
		_ = w.WriteHeader(h)
		_, _ = w.Write([]byte(files[name]))
	}
	_ = w.Close()
	return buf.Bytes()
}

// descriptor is an OCI content descriptor.
type descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    digest.Digest     `json:"digest"`
	Size      int64             `json:"size"`
	Platform  map[string]string `json:"platform,omitempty"`
}

func (d descriptor) davit() davit.Descriptor {
	return davit.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

// imageConfig is the part of OCI image-spec config.md that the tests use.
type imageConfig struct {
	Created      time.Time             `json:"created"`
	Architecture string                `json:"architecture"`
	OS           string                `json:"os"`
	Config       davit.ContainerConfig `json:"config"`
	RootFS       struct {
		Type    string          `json:"type"`
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// Built is an image as a registry has it.
type Built struct {
	Target davit.Descriptor // of the manifest or index
	Config digest.Digest    // the image's id
	Layers []digest.Digest
	Blobs  map[digest.Digest][]byte // manifests included
}

func (b *Built) add(mediaType string, data []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	b.Blobs[d.Digest] = data
	return d
}

// built is when all images of this package were.
var built = time.Unix(1_700_000_000, 0).UTC()

// Build makes an image with one uncompressed layer for each set of files, the
// lowest first.
func Build(arch string, config davit.ContainerConfig, layers ...map[string]string) Built {
	b := Built{Blobs: map[digest.Digest][]byte{}}
	m := manifest{SchemaVersion: 2, MediaType: typeManifest}
	var c imageConfig
	c.Created, c.OS, c.Architecture = built, "linux", cmp.Or(arch, "amd64")
	c.Config, c.RootFS.Type = config, "layers"
	for _, files := range layers {
		d := b.add(typeLayer, Tar(files))
		m.Layers = append(m.Layers, d)
		b.Layers = append(b.Layers, d.Digest)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, d.Digest)
	}
	cd := b.add(typeConfig, mustJSON(c))
	m.Config, b.Config = &cd, cd.Digest
	b.Target = b.add(typeManifest, mustJSON(m)).davit()
	return b
}

// Index joins images of several architectures.
func Index(images map[string]Built) Built {
	b := Built{Blobs: map[digest.Digest][]byte{}}
	m := manifest{SchemaVersion: 2, MediaType: typeIndex}
	arches := make([]string, 0, len(images))
	for arch, img := range images {
		arches = append(arches, arch)
		for dgst, data := range img.Blobs {
			b.Blobs[dgst] = data
		}
	}
	slices.Sort(arches)
	for _, arch := range arches {
		t := images[arch].Target
		m.Manifests = append(m.Manifests, descriptor{t.MediaType, t.Digest, t.Size, map[string]string{"os": "linux", "architecture": arch}})
	}
	b.Target = b.add(typeIndex, mustJSON(m)).davit()
	return b
}

// archived is an entry of a docker-archive's manifest.json.
type archived struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Archive is the image as docker save wrote it before it wrote OCI layouts.
func (b Built) Archive(tags ...string) []byte {
	e := archived{Config: b.Config.Encoded() + ".json", RepoTags: tags}
	files := map[string]string{e.Config: string(b.Blobs[b.Config])}
	for _, l := range b.Layers {
		name := l.Encoded() + "/layer.tar"
		e.Layers = append(e.Layers, name)
		files[name] = string(b.Blobs[l])
	}
	files["manifest.json"] = string(mustJSON([]archived{e}))
	return Tar(files)
}

// WithLayersOf returns an image whose manifest has the config of b and the
// layers of other, which are not the config's.
func (b Built) WithLayersOf(other Built) Built {
	lie := Built{Config: b.Config, Layers: other.Layers, Blobs: map[digest.Digest][]byte{}}
	m := manifest{SchemaVersion: 2, MediaType: typeManifest}
	config := lie.add(typeConfig, b.Blobs[b.Config])
	m.Config = &config
	for _, l := range other.Layers {
		m.Layers = append(m.Layers, lie.add(typeLayer, other.Blobs[l]))
	}
	lie.Target = lie.add(typeManifest, mustJSON(m)).davit()
	return lie
}

// Put stores all blobs of the image.
func (b Built) Put(ctx context.Context, blobs davit.Blobs) error {
	for dgst, data := range b.Blobs {
		if err := blobs.Put(ctx, davit.Descriptor{Digest: dgst, Size: int64(len(data))}, bytes.NewReader(data)); err != nil {
			return err
		}
	}
	return nil
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("drivertest: %v", err)) // the types are this file's own
	}
	return data
}
