// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/content"
	"github.com/davit-engine/davit/storage/records"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// Original implements images.Store. An image that was removed meanwhile keeps
// its blobs until the release.
func (s *Store) Original(ctx context.Context, ref string) (davit.Original, error) {
	img, err := s.Get(ref)
	if err != nil {
		return davit.Original{}, err
	}
	held := s.blobs.Hold()
	release := func() error { return s.dropBlobs(held.Release()) }
	desc, _, err := s.hold(ctx, held, img)
	if err != nil {
		return davit.Original{}, errors.Join(err, release())
	}
	return davit.Original{Image: img, Manifest: desc, Blobs: held, Release: release}, nil
}

// hold has held keep all blobs of an image's manifest, and returns that.
func (s *Store) hold(ctx context.Context, held *content.Holder, img davit.Image) (davit.Descriptor, manifest, error) {
	desc := davit.Descriptor{MediaType: img.MediaType, Digest: img.Manifest}
	m, err := s.holdAll(ctx, held, &desc)
	if errors.Is(err, fs.ErrNotExist) {
		err = davit.Errorf(davit.Failed, "image %s cannot leave this machine, as what it was made of is not complete here: pull or load it again: %w",
			davit.ShortID(img.ID.String()), err)
	}
	return desc, m, err
}

func (s *Store) holdAll(ctx context.Context, held *content.Holder, desc *davit.Descriptor) (m manifest, err error) {
	if err := held.Need(desc.Digest); err != nil {
		return m, err
	}
	if m, err = s.readManifest(ctx, *desc); err != nil {
		return m, err
	}
	if desc.Size, err = s.blobs.Size(desc.Digest); err != nil {
		return m, err
	}
	if err := held.Need(m.Config.Digest); err != nil {
		return m, err
	}
	for _, l := range m.Layers {
		if err := held.Need(l.Digest); err != nil {
			return m, err
		}
	}
	return m, nil
}

// AddDigest implements images.Store.
func (s *Store) AddDigest(id digest.Digest, name string, target davit.Descriptor) error {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return davit.Errorf(davit.InvalidName, "invalid reference format: %q: %w", name, err)
	}
	canonical, err := reference.WithDigest(reference.TrimNamed(named), target.Digest)
	if err != nil {
		return davit.Errorf(davit.InvalidName, "invalid reference format: %q: %w", name, err)
	}
	return s.update(func(tx *bolt.Tx) error {
		id, err := resolve(tx, id.String())
		if err != nil {
			return err
		}
		if err := records.Put(tx, nameBucket, nameKey(canonical), id); err != nil {
			return fmt.Errorf("cannot record the digest of %s: %w", name, err)
		}
		return nil
	})
}
