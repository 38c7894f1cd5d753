// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
)

// Image is an image of the local store.
type Image struct {
	ID           digest.Digest // of the config blob
	Manifest     digest.Digest // of the manifest blob; "" when there is none
	MediaType    string        // of the manifest
	Tags         []string      // familiar names, "busybox:latest"
	Digests      []string      // familiar names, "busybox@sha256:…"
	Parent       digest.Digest
	Created      time.Time
	Author       string
	Comment      string
	Architecture string
	Variant      string
	OS           string
	Config       ContainerConfig
	Layers       []digest.Digest // diff ids, lowest first
	Size         int64           // bytes, unpacked
	History      []HistoryEntry
}

// HistoryEntry is one step of an image's making (OCI image-spec config.md).
type HistoryEntry struct {
	Created    time.Time
	CreatedBy  string
	Author     string
	Comment    string
	EmptyLayer bool
	Size       int64 // bytes of the step's layer
}

// Descriptor points at a blob (OCI image-spec descriptor.md).
type Descriptor struct {
	MediaType string
	Digest    digest.Digest
	Size      int64
}

// Platform chooses one manifest of an index; the zero value is the host's.
type Platform struct {
	OS, Architecture, Variant string
}

// Progress is one step of a job's visible advance.
type Progress struct {
	Phase   string // "Downloading", "Extracting", "Pull complete"…: Docker's words where it has one
	Item    string // what it is about: a layer's short digest, a reference
	Current uint64
	Total   uint64 // 0 is unknown
}

// Blobs is a content store, keyed by digest. It is shared between the store
// and the registry client.
//
// Put reads r to its end and makes the blob visible only when its size (unless
// desc.Size is 0) and digest agree with desc; otherwise it fails with
// [DigestMismatch] and keeps nothing. A blob that is already there is not
// read. Open fails with an error that wraps [io/fs.ErrNotExist] when there is
// no such blob. Both are safe for concurrent use.
type Blobs interface {
	Has(dgst digest.Digest) bool
	Put(ctx context.Context, desc Descriptor, r io.Reader) error
	Open(ctx context.Context, dgst digest.Digest) (io.ReadCloser, error)
}

// Pulled is what a registry delivered: the blobs are in the store, nothing is
// an image yet.
type Pulled struct {
	Reference string     // normalised, "docker.io/library/busybox:latest"
	Target    Descriptor // what the reference resolved to: an index or a manifest
	Manifest  Descriptor // the manifest of the chosen platform
}

// Snapshot is a container's writable layer that is to become the topmost layer
// of a new image.
type Snapshot struct {
	Container string        // id
	Parent    digest.Digest // the image that the container was made of
	Leave     []string      // paths that are only places of mounts
	Config    ContainerConfig
	Changes   []string // Dockerfile instructions, applied to Config
	CreatedBy string
	Reference string // "" names nothing
	Author    string
	Message   string
}

// Original is what an image was made of: a manifest, and the blobs that it
// names. They stay in Blobs until Release, which is called once.
type Original struct {
	Image    Image
	Manifest Descriptor
	Blobs    Blobs
	Release  func() error
}

// RegistryAuth is a decoded X-Registry-Auth header.
type RegistryAuth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"`
	ServerAddress string `json:"serveraddress,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// ImageDeletion is one line of what removing an image did.
type ImageDeletion struct {
	Untagged string `json:",omitempty"`
	Deleted  string `json:",omitempty"`
}
