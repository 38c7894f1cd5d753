// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/davit-engine/davit/storage/records"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// removal is one Remove, inside its transaction.
type removal struct {
	tx    *bolt.Tx
	ref   string
	force bool
	inUse func(digest.Digest) string
	id    digest.Digest
	names []reference.Named // that the image still has
	done  []davit.ImageDeletion
}

// Remove implements images.Store with Docker's rules: a name given
// is taken away, and the image goes with its last one; an id given takes all
// names of one repository. A container that was made from the image keeps its
// layers, but not the image's record.
func (s *Store) Remove(ref string, force bool, inUse func(digest.Digest) string) ([]davit.ImageDeletion, error) {
	var r removal
	var dead, blobs []digest.Digest
	err := s.update(func(tx *bolt.Tx) error {
		r = removal{tx: tx, ref: ref, force: force, inUse: inUse}
		dead, blobs = nil, nil
		last, err := r.untag()
		if err != nil || !last {
			return err
		}
		dead, blobs, err = s.delete(tx, r.id)
		for _, c := range dead {
			r.done = append(r.done, davit.ImageDeletion{Deleted: c.String()})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.layers.Collect(dead...); err != nil {
		return r.done, err
	}
	return r.done, s.dropBlobs(blobs)
}

// untag takes away the names that the removal means; last says that the image
// is to go, too.
func (r *removal) untag() (last bool, err error) {
	if r.id, err = resolve(r.tx, r.ref); err != nil {
		return false, err
	}
	if r.names, err = namesOf(r.tx, r.id); err != nil {
		return false, err
	}
	if name, ok := r.byName(); ok {
		err = r.untagOne(name)
	} else {
		err = r.untagAll()
	}
	if err != nil || len(r.names) > 0 {
		return false, err
	}
	r.done = append(r.done, davit.ImageDeletion{Deleted: r.id.String()})
	return true, nil
}

// byName tells whether ref is one of the image's names, rather than its id.
func (r *removal) byName() (reference.Named, bool) {
	parsed, err := reference.ParseAnyReference(r.ref)
	if err != nil {
		return nil, false
	}
	name, ok := parsed.(reference.Named)
	if !ok {
		return nil, false
	}
	i := slices.IndexFunc(r.names, func(n reference.Named) bool { return nameKey(n) == nameKey(name) })
	if i < 0 {
		return nil, false
	}
	return r.names[i], true
}

func (r *removal) untagOne(name reference.Named) error {
	if user := r.inUse(r.id); user != "" && !r.force && oneRepository(r.names) {
		return davit.Errorf(davit.ImageInUse, "conflict: unable to remove repository reference %q (must force) - "+
			"container %s is using its referenced image %s", r.ref, davit.ShortID(user), davit.ShortID(r.id.String()))
	}
	if err := r.drop(name); err != nil {
		return err
	}
	if _, ok := name.(reference.Canonical); ok {
		return nil
	}
	// Digests of a repository go with its last tag.
	for _, n := range r.names {
		if _, ok := n.(reference.Canonical); !ok && n.Name() == name.Name() {
			return nil
		}
	}
	for _, n := range slices.Clone(r.names) {
		if n.Name() == name.Name() {
			if err := r.drop(n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *removal) untagAll() error {
	if !r.force && !oneRepository(r.names) {
		return davit.Errorf(davit.ImageInUse, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories",
			davit.ShortID(r.id.String()))
	}
	if user := r.inUse(r.id); user != "" && !r.force {
		return davit.Errorf(davit.ImageInUse, "conflict: unable to delete %s (must be forced) - image is being used by container %s",
			davit.ShortID(r.id.String()), davit.ShortID(user))
	}
	for _, n := range slices.Clone(r.names) {
		if err := r.drop(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *removal) drop(name reference.Named) error {
	r.names = slices.DeleteFunc(r.names, func(n reference.Named) bool { return nameKey(n) == nameKey(name) })
	r.done = append(r.done, davit.ImageDeletion{Untagged: reference.FamiliarString(name)})
	return records.Delete(r.tx, nameBucket, nameKey(name))
}

// oneRepository tells whether there is at most one tag, and no digest of
// another repository than the tag's.
func oneRepository(names []reference.Named) bool {
	if len(names) <= 1 {
		return true
	}
	tags := 0
	for _, n := range names {
		if _, ok := n.(reference.Canonical); !ok {
			tags++
		}
		if n.Name() != names[0].Name() {
			return false
		}
	}
	return tags <= 1
}

// delete deletes an image's record. It returns the layers and the blobs that
// are to go once the transaction is committed.
func (s *Store) delete(tx *bolt.Tx, id digest.Digest) (dead, blobs []digest.Digest, err error) {
	var old record
	found, err := records.Get(tx, imageBucket, id.String(), &old)
	if err == nil && !found {
		err = fmt.Errorf("cannot find the record of the image %s", id)
	}
	if err != nil {
		return nil, nil, err
	}
	if dead, err = s.layers.Drop(tx, id, overlay.ChainIDs(old.Layers)); err != nil {
		return nil, nil, err
	}
	slices.Reverse(dead) // topmost first, as it was always told
	return dead, old.Blobs, records.Delete(tx, imageBucket, id.String())
}
