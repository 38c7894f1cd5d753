// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"

	"github.com/davit-engine/davit"
	"github.com/opencontainers/go-digest"
)

// Store keeps images: names, configs and unpacked layers, over a content
// store.
type Store interface {
	Names
	Intake
	Outlet
}

// Names are the part of a [Store] that says what there is.
type Names interface {
	// Get finds an image by id, unambiguous prefix of the id, tag or digest.
	Get(ref string) (davit.Image, error)
	List() ([]davit.Image, error)
	// Size returns the bytes of all unpacked layers, each counted once.
	Size() (int64, error)
	Tag(ref, name string) error
	// AddDigest notes, among the names of an image, the digest by which the
	// repository of name knows it.
	AddDigest(id digest.Digest, name string, target davit.Descriptor) error
	// Remove drops the name, or with force every name, and the image with the
	// last of them. inUse tells of an image that a container was made from.
	Remove(ref string, force bool, inUse func(digest.Digest) string) ([]davit.ImageDeletion, error)
}

// Intake is the part of a [Store] by which images come in.
type Intake interface {
	// Blobs is the content store for one pull: what it put or found there is
	// kept until Unpack took it over, or for an hour.
	Blobs() davit.Blobs
	// Unpack makes an image of a manifest whose blobs are in the content
	// store, and names it; p.Target is remembered as its repository digest.
	Unpack(ctx context.Context, p davit.Pulled) (davit.Image, error)
	Import(ctx context.Context, req davit.Import) (davit.Image, error)
	Load(ctx context.Context, req davit.Load) ([]davit.Image, error)
	// Commit makes an image of a container's writable layer on top of the
	// layers of its image. Nothing keeps the container from changing its files
	// meanwhile.
	Commit(ctx context.Context, req davit.Snapshot) (davit.Image, error)
}

// Outlet is the part of a [Store] by which images go out.
type Outlet interface {
	// Export writes images to the writer of req.Open, which it calls once all
	// of them are known to be there: an archive that Load takes, and other
	// programs that read docker-archives or, with the format "oci", OCI
	// layouts. A name without a tag means all tags of its repository; images
	// that are named by id come without a name. It fails once the writer does,
	// and returns the images.
	Export(ctx context.Context, req davit.Save) ([]davit.Image, error)
	// Original gives an image's manifest and blobs, with the digests that they
	// came with. The caller releases them.
	Original(ctx context.Context, ref string) (davit.Original, error)
}

// Registry speaks to the registries.
type Registry interface {
	// Pull puts the blobs of the reference's manifest for the platform, and
	// the index if it is one, into blobs, all verified.
	Pull(ctx context.Context, req davit.Pull, blobs davit.Blobs) (davit.Pulled, error)
	// Push uploads the manifest m under the reference's tag, and before it
	// whatever of its blobs the repository lacks. Digests stay as they are. It
	// returns what the tag means there now.
	Push(ctx context.Context, req davit.Push, m davit.Descriptor, blobs davit.Blobs) (davit.Descriptor, error)
	// Auth checks credentials with the registry that they name.
	Auth(ctx context.Context, credential davit.RegistryAuth) (davit.AuthResult, error)
	// Search finds repositories; the request's filters are not its affair.
	Search(ctx context.Context, req davit.Search) ([]davit.SearchResult, error)
}
