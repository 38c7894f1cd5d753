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
	// Get finds an image by id, unambiguous prefix of the id, tag or digest.
	Get(ref string) (davit.Image, error)
	List() ([]davit.Image, error)
	// Unpack makes an image of a manifest whose blobs are in the content
	// store, and names it; p.Target is remembered as its repository digest.
	Unpack(ctx context.Context, p davit.Pulled) (davit.Image, error)
	Import(ctx context.Context, req davit.Import) (davit.Image, error)
	Load(ctx context.Context, req davit.Load) ([]davit.Image, error)
	Tag(ref, name string) error
	// Remove drops the name, or with force every name, and the image with the
	// last of them. inUse tells of an image that a container was made from.
	Remove(ref string, force bool, inUse func(digest.Digest) string) ([]davit.ImageDeletion, error)
	// Blobs is the content store for one pull: what it put or found there is
	// kept until Unpack took it over, or for an hour.
	Blobs() davit.Blobs
}

// Registry fetches images.
type Registry interface {
	// Pull puts the blobs of the reference's manifest for the platform, and
	// the index if it is one, into blobs, all verified.
	Pull(ctx context.Context, req davit.Pull, blobs davit.Blobs) (davit.Pulled, error)
}
