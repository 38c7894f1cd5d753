// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/atomicfile"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/records"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// ChainID returns the id of the layer diff on top of the layers of parent,
// which is "" for the lowest (OCI image-spec config.md, "Layer ChainID").
func ChainID(parent, diff digest.Digest) digest.Digest {
	if parent == "" {
		return diff
	}
	return digest.FromString(parent.String() + " " + diff.String())
}

// ChainIDs returns the chain ids of all layers of an image, lowest first.
func ChainIDs(diffs []digest.Digest) []digest.Digest {
	chains := make([]digest.Digest, len(diffs))
	var parent digest.Digest
	for i, d := range diffs {
		parent = ChainID(parent, d)
		chains[i] = parent
	}
	return chains
}

// Install is the unpacking of images: the layers that it finds or makes stay
// until Close, which removes those that Record did not give to an image. It
// belongs to one goroutine.
type Install struct {
	store  *Store
	layers map[digest.Digest]Layer
	fresh  bool // something was unpacked and is not synced yet
}

// Begin begins an installation. The caller closes it.
func (s *Store) Begin() *Install {
	return &Install{store: s, layers: map[digest.Digest]Layer{}}
}

// Find returns a layer that is unpacked already.
func (in *Install) Find(chain digest.Digest) (Layer, bool, error) {
	if l, ok := in.layers[chain]; ok {
		return l, true, nil
	}
	in.pin(chain)
	l, ok, err := in.store.layer(chain)
	if err != nil || !ok {
		if rm := in.store.unpin(chain); rm != nil {
			in.store.log.Warn("cannot clean up behind a layer that was not found", "error", rm) // Open does
		}
		return Layer{}, false, err
	}
	in.layers[chain] = l
	return l, true, nil
}

func (in *Install) pin(chain digest.Digest) {
	in.store.mu.Lock()
	defer in.store.mu.Unlock()
	in.store.pins[chain]++
}

// Unpack unpacks the plain tar r as a layer on top of those whose chain ids are
// in below, lowest first, all of them found or unpacked before. diff is its
// digest, "" when it is not known yet. The tar must agree with it
// ([davit.DigestMismatch]), must be one ([davit.InvalidArchive]) and must fit
// on the disk ([davit.NoSpace]); else nothing of it is left.
func (in *Install) Unpack(ctx context.Context, below []digest.Digest, diff digest.Digest, r io.Reader) (_ Layer, err error) {
	s := in.store
	tmp, err := os.MkdirTemp(s.tmpDir(), "layer-")
	if err != nil {
		return Layer{}, fmt.Errorf("cannot make a layer: %w", fault.NoSpace(err, s.dir))
	}
	defer func() {
		if rm := os.RemoveAll(tmp); rm != nil {
			err = errors.Join(err, fmt.Errorf("cannot remove an unfinished layer: %w", rm))
		}
	}()
	// The mode is that of the container's root directory, whatever the tar
	// says: that is how every engine does it, and tars of private directories
	// would make images whose users cannot enter.
	u := &unpacker{root: filepath.Join(tmp, "layer", "diff"), parents: in.dirs(below)}
	if err := errors.Join(os.MkdirAll(u.root, 0o700), os.Chmod(u.root, 0o755)); err != nil { // whatever the umask
		return Layer{}, fmt.Errorf("cannot make a layer: %w", fault.NoSpace(err, s.dir))
	}
	what := "the archive"
	if diff != "" {
		what = "the layer " + diff.String()
	}
	got, size, err := u.unpack(ctx, r)
	if err != nil {
		return Layer{}, fault.Damaged(ctx, what, s.dir, err)
	}
	if diff != "" && got != diff {
		return Layer{}, davit.Errorf(davit.DigestMismatch, "layer %s: its content has the digest %s", diff, got)
	}
	l := Layer{DiffID: got, Size: size, Opaque: u.opaque}
	if len(below) > 0 {
		l.Parent = below[len(below)-1]
	}
	l.ChainID = ChainID(l.Parent, got)
	return in.place(l, filepath.Join(tmp, "layer"))
}

// dirs returns the directories of the layers of chains, topmost first, down to
// the first that hides all others.
func (in *Install) dirs(chains []digest.Digest) []string {
	var dirs []string
	for _, c := range slices.Backward(chains) {
		dirs = append(dirs, in.store.diffDir(c))
		if in.layers[c].Opaque {
			break
		}
	}
	return dirs
}

// place gives an unpacked layer its name. Another installation may have been
// faster: its layer is as good, and pinned here it stays.
func (in *Install) place(l Layer, dir string) (Layer, error) {
	s := in.store
	s.mu.Lock()
	defer s.mu.Unlock()
	err := os.Rename(dir, s.layerDir(l.ChainID))
	if err != nil && !errors.Is(err, fs.ErrExist) { // ENOTEMPTY is ErrExist, too
		return Layer{}, fmt.Errorf("cannot place a layer: %w", err)
	}
	if _, ok := in.layers[l.ChainID]; !ok {
		s.pins[l.ChainID]++
	}
	in.layers[l.ChainID] = l // from here on, Close cleans up
	in.fresh = true
	if l.Link, err = s.link(l.ChainID); err != nil {
		return Layer{}, err
	}
	in.layers[l.ChainID] = l
	return l, nil
}

// Lengths of short names: 28 bits tell nearly all layers apart.
const (
	minLink = 7
	maxLink = 16
)

// link makes the short name of a layer, the beginning of its chain id, longer
// when another layer has that name already.
func (s *Store) link(chain digest.Digest) (string, error) {
	target := filepath.Join("..", chain.Encoded(), "diff")
	for n := minLink; n <= maxLink; n++ {
		short := chain.Encoded()[:n]
		err := os.Symlink(target, filepath.Join(s.linkDir(), short))
		if err == nil {
			return short, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("cannot link a layer: %w", fault.NoSpace(err, s.dir))
		}
		if old, err := os.Readlink(filepath.Join(s.linkDir(), short)); err == nil && old == target {
			return short, nil
		}
	}
	return "", fmt.Errorf("cannot link the layer %s: all its names are taken", chain)
}

// unlink removes the short names of a layer.
func (s *Store) unlink(chain digest.Digest) error {
	for n := minLink; n <= maxLink; n++ {
		name := filepath.Join(s.linkDir(), chain.Encoded()[:n])
		target, err := os.Readlink(name)
		if err != nil || target != filepath.Join("..", chain.Encoded(), "diff") {
			continue
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("cannot remove the link of a layer: %w", err)
		}
	}
	return nil
}

// Sync makes what was unpacked durable. It comes before Record.
func (in *Install) Sync() error {
	if !in.fresh {
		return nil
	}
	if err := atomicfile.SyncTree(in.store.dir); err != nil {
		return fault.NoSpace(err, in.store.dir)
	}
	in.fresh = false
	return nil
}

// Record notes in tx that an image uses the layers of chains, all of which were
// found or unpacked by this installation.
func (in *Install) Record(tx *bolt.Tx, image digest.Digest, chains []digest.Digest) error {
	for _, c := range chains {
		l, ok := in.layers[c]
		if !ok {
			return fmt.Errorf("cannot record the layer %s: it is not unpacked", c)
		}
		var now Layer // another image may have been added since it was found
		if _, err := records.Get(tx, layerBucket, c.String(), &now); err != nil {
			return err
		}
		l.Images = now.Images
		if !slices.Contains(l.Images, image) {
			l.Images = append(l.Images, image)
		}
		if err := records.Put(tx, layerBucket, c.String(), l); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the installation. Layers that no record names are removed.
func (in *Install) Close() error {
	var errs []error
	for c := range in.layers {
		errs = append(errs, in.store.unpin(c))
	}
	in.layers = nil
	return errors.Join(errs...)
}

func (s *Store) unpin(chain digest.Digest) error {
	s.mu.Lock()
	if s.pins[chain]--; s.pins[chain] <= 0 {
		delete(s.pins, chain)
	}
	s.mu.Unlock()
	return s.Collect(chain)
}

// Drop notes in tx that an image no longer uses the layers of chains, and
// deletes the records of those that nothing uses. Once tx is committed, Collect
// removes them.
func (s *Store) Drop(tx *bolt.Tx, image digest.Digest, chains []digest.Digest) (dead []digest.Digest, err error) {
	return drop(tx, chains, func(l *Layer) {
		l.Images = slices.DeleteFunc(l.Images, func(d digest.Digest) bool { return d == image })
	})
}

// drop applies a change to layers and deletes the records of those that
// neither an image nor a container uses afterwards.
func drop(tx *bolt.Tx, chains []digest.Digest, change func(*Layer)) (dead []digest.Digest, err error) {
	used, err := usedLayers(tx)
	if err != nil {
		return nil, err
	}
	for _, c := range chains {
		var l Layer
		found, err := records.Get(tx, layerBucket, c.String(), &l)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		change(&l)
		if len(l.Images) > 0 || used[c] {
			err = records.Put(tx, layerBucket, c.String(), l)
		} else {
			dead = append(dead, c)
			err = records.Delete(tx, layerBucket, c.String())
		}
		if err != nil {
			return nil, err
		}
	}
	return dead, nil
}

// usedLayers returns the layers that containers are over, or mount.
func usedLayers(tx *bolt.Tx) (map[digest.Digest]bool, error) {
	used := map[digest.Digest]bool{}
	note := func(chains []digest.Digest) {
		for _, c := range chains {
			used[c] = true
		}
	}
	return used, errors.Join(
		records.Each(tx, rootfsBucket, func(_ string, chains []digest.Digest) error {
			note(chains)
			return nil
		}),
		records.Each(tx, mountsBucket, func(_ string, images map[string][]digest.Digest) error {
			for _, chains := range images {
				note(chains)
			}
			return nil
		}))
}

// Collect removes the directories of those layers that have no record and that
// nobody is about to give one.
func (s *Store) Collect(chains ...digest.Digest) error {
	var errs []error
	for _, c := range chains {
		trash, err := s.bury(c)
		if err == nil && trash != "" {
			err = os.RemoveAll(trash)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot remove the layer %s: %w", c, err))
		}
	}
	return errors.Join(errs...)
}

// bury moves a layer that has no use to a new directory in tmp.
func (s *Store) bury(chain digest.Digest) (trash string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins[chain] > 0 {
		return "", nil
	}
	if _, found, err := s.layer(chain); err != nil || found {
		return "", err
	}
	if trash, err = os.MkdirTemp(s.tmpDir(), "trash-"); err != nil {
		return "", err
	}
	err = os.Rename(s.layerDir(chain), filepath.Join(trash, "layer"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return trash, err
	}
	return trash, s.unlink(chain)
}
