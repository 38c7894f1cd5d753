// SPDX-License-Identifier: Apache-2.0

// Package image keeps images: their records and names, over a content store
// with their blobs and a layer store with their unpacked layers.
package image

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/content"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/davit-engine/davit/storage/records"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// Buckets of the database.
const (
	imageBucket = "images" // id -> record
	nameBucket  = "names"  // canonical reference, with a tag or a digest -> id
)

// record is what the database has of an image; its names are in their own
// bucket.
type record struct {
	davit.Image
	Blobs []digest.Digest // manifests, config and layers, all in the content store
}

// Store implements images.Store. Its methods may be called from
// any goroutine.
type Store struct {
	db     *bolt.DB
	blobs  *content.Store
	layers *overlay.Store
}

// Open opens the store, and deletes blobs that no image refers to.
func Open(db *bolt.DB, blobs *content.Store, layers *overlay.Store) (*Store, error) {
	s := &Store{db: db, blobs: blobs, layers: layers}
	if err := records.Buckets(db, imageBucket, nameBucket); err != nil {
		return nil, err
	}
	used, err := s.usedBlobs()
	if err != nil {
		return nil, err
	}
	return s, blobs.Sweep(used)
}

// Blobs returns the content store, for one pull: what this pull finds or puts
// there stays until Unpack is done with it, or for an hour after its last use.
func (s *Store) Blobs() davit.Blobs { return s.blobs.Pull() }

// List returns all images, newest first.
func (s *Store) List() ([]davit.Image, error) {
	var images []davit.Image
	err := s.db.View(func(tx *bolt.Tx) error {
		names, err := allNames(tx)
		if err != nil {
			return err
		}
		return records.Each(tx, imageBucket, func(_ string, r record) error {
			images = append(images, named(r.Image, names[r.ID]))
			return nil
		})
	})
	slices.SortStableFunc(images, func(a, b davit.Image) int { return b.Created.Compare(a.Created) })
	return images, err
}

// Size implements images.Store.
func (s *Store) Size() (int64, error) { return s.layers.Size() }

// Get finds an image as Docker does: by name, by digest, by id, by a prefix of
// the id with or without "sha256:".
func (s *Store) Get(ref string) (img davit.Image, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		id, err := resolve(tx, ref)
		if err != nil {
			return err
		}
		var r record
		if _, err := records.Get(tx, imageBucket, id.String(), &r); err != nil {
			return err
		}
		names, err := namesOf(tx, id)
		img = named(r.Image, names)
		return err
	})
	return img, err
}

// named completes an image by its names.
func named(img davit.Image, names []reference.Named) davit.Image {
	for _, n := range names {
		if _, ok := n.(reference.Canonical); ok {
			img.Digests = append(img.Digests, reference.FamiliarString(n))
		} else {
			img.Tags = append(img.Tags, reference.FamiliarString(n))
		}
	}
	return img
}

// allNames returns the names of all images, in the order of their text.
func allNames(tx *bolt.Tx) (map[digest.Digest][]reference.Named, error) {
	names := map[digest.Digest][]reference.Named{}
	err := records.Each(tx, nameBucket, func(key string, id digest.Digest) error {
		ref, err := reference.ParseNormalizedNamed(key)
		if err != nil {
			return fmt.Errorf("cannot read the image name %q: %w", key, err)
		}
		names[id] = append(names[id], ref)
		return nil
	})
	return names, err
}

func namesOf(tx *bolt.Tx, id digest.Digest) ([]reference.Named, error) {
	all, err := allNames(tx)
	return all[id], err
}

var hexPrefix = regexp.MustCompile(`^(sha256:)?([0-9a-f]{1,64})$`)

// resolve returns the id of the image that ref means.
func resolve(tx *bolt.Tx, ref string) (digest.Digest, error) {
	parsed, err := reference.ParseAnyReference(ref)
	if err != nil {
		return "", davit.Errorf(davit.InvalidName, "invalid reference format: %q: %w", ref, err)
	}
	if name, ok := parsed.(reference.Named); ok {
		var id digest.Digest
		if found, err := records.Get(tx, nameBucket, nameKey(name), &id); err != nil || found {
			return id, err
		}
	}
	if m := hexPrefix.FindStringSubmatch(ref); m != nil {
		id, err := byPrefix(tx, m[2])
		if err != nil || id != "" {
			return id, err
		}
	}
	if name, ok := parsed.(reference.Named); ok {
		parsed = reference.TagNameOnly(name)
	}
	return "", davit.Errorf(davit.NoSuchImage, "No such image: %s", reference.FamiliarString(parsed))
}

// nameKey is the key of a name: with the digest if it has one, else with the
// tag, by default "latest".
func nameKey(name reference.Named) string {
	if c, ok := name.(reference.Canonical); ok {
		return c.Name() + "@" + c.Digest().String()
	}
	return reference.TagNameOnly(name).String()
}

// byPrefix returns the id that begins so, "" when there is none.
func byPrefix(tx *bolt.Tx, prefix string) (digest.Digest, error) {
	full := digest.SHA256.String() + ":" + prefix
	c := tx.Bucket([]byte(imageBucket)).Cursor()
	first, _ := c.Seek([]byte(full))
	if !strings.HasPrefix(string(first), full) {
		return "", nil
	}
	if second, _ := c.Next(); strings.HasPrefix(string(second), full) {
		return "", davit.Errorf(davit.AmbiguousName, "image id prefix %q is ambiguous: give more digits", prefix)
	}
	return digest.Digest(first), nil
}

// Tag gives the image that ref means another name, which another image may
// lose by that.
func (s *Store) Tag(ref, name string) error {
	target, err := parseTag(name)
	if err != nil {
		return err
	}
	return s.update(func(tx *bolt.Tx) error {
		id, err := resolve(tx, ref)
		if err != nil {
			return err
		}
		return records.Put(tx, nameBucket, nameKey(target), id)
	})
}

func (s *Store) update(do func(*bolt.Tx) error) error {
	return fault.NoSpace(s.db.Update(do), s.db.Path())
}

// parseTag parses a name that an image is to get.
func parseTag(name string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, davit.Errorf(davit.InvalidName, "invalid reference format: %q: %w", name, err)
	}
	if _, ok := ref.(reference.Digested); ok {
		return nil, davit.Errorf(davit.InvalidName, "refusing to create a tag with a digest reference: %q", name)
	}
	if reference.FamiliarName(ref) == digest.SHA256.String() { // it would hide ids
		return nil, davit.Errorf(davit.InvalidName, "refusing to create an ambiguous tag using digest algorithm as name: %q", name)
	}
	return reference.TagNameOnly(ref), nil
}

// draft is an image that is unpacked and not yet in the database.
type draft struct {
	record
	names []reference.Named
}

// has tells whether the image comes with the name, as users write it.
func (d *draft) has(name string) bool {
	return slices.ContainsFunc(d.names, func(n reference.Named) bool { return reference.FamiliarString(n) == name })
}

// arrival is what images on their way into the store hold.
type arrival struct {
	layers *overlay.Install
	blobs  *content.Holder
}

// finish makes images of drafts, unless err tells that they are not complete,
// and ends their arrival. When it fails, what only they needed goes.
func (s *Store) finish(a arrival, drafts []draft, err error) ([]davit.Image, error) {
	var images []davit.Image
	if err == nil {
		images, err = s.commit(a.layers, drafts)
	}
	blobs := a.blobs.Release()
	if err != nil {
		return nil, errors.Join(err, a.layers.Close(), s.dropBlobs(blobs))
	}
	return images, a.layers.Close()
}

// commit writes images, their names, and the use of their layers in one
// transaction.
func (s *Store) commit(in *overlay.Install, drafts []draft) ([]davit.Image, error) {
	if err := in.Sync(); err != nil {
		return nil, err
	}
	var images []davit.Image
	err := s.update(func(tx *bolt.Tx) error {
		images = nil
		for _, d := range drafts {
			if err := put(tx, in, d); err != nil {
				return err
			}
		}
		for _, d := range drafts {
			names, err := namesOf(tx, d.ID)
			if err != nil {
				return err
			}
			images = append(images, named(d.Image, names))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot record images: %w", err)
	}
	return images, nil
}

func put(tx *bolt.Tx, in *overlay.Install, d draft) error {
	var old record
	if _, err := records.Get(tx, imageBucket, d.ID.String(), &old); err != nil {
		return err
	}
	// The same config may have come with other manifests, whose digests are
	// names of the image still.
	d.Blobs = append(d.Blobs, old.Blobs...)
	slices.SortFunc(d.Blobs, cmp.Compare[digest.Digest])
	d.Blobs = slices.Compact(d.Blobs)
	if err := in.Record(tx, d.ID, overlay.ChainIDs(d.Layers)); err != nil {
		return err
	}
	if err := records.Put(tx, imageBucket, d.ID.String(), d.record); err != nil {
		return err
	}
	for _, n := range d.names {
		if err := records.Put(tx, nameBucket, nameKey(n), d.ID); err != nil {
			return err
		}
	}
	return nil
}

// dropBlobs deletes those of dgsts that no image refers to.
func (s *Store) dropBlobs(dgsts []digest.Digest) error {
	return s.blobs.Delete(dgsts, s.usedBlobs)
}

func (s *Store) usedBlobs() (map[digest.Digest]bool, error) {
	used := map[digest.Digest]bool{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return records.Each(tx, imageBucket, func(_ string, r record) error {
			for _, b := range r.Blobs {
				used[b] = true
			}
			return nil
		})
	})
	return used, err
}
