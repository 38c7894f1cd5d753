// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/records"
	"github.com/davit-engine/davit/storage/tree"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

func (s *Store) containerDir(id string) (string, error) {
	if !idPattern.MatchString(id) {
		return "", davit.Errorf(davit.InvalidName, "container id %q: want 64 hexadecimal digits", id)
	}
	return filepath.Join(s.dir, id), nil
}

// Create makes the writable layer of a container over the layers of an image.
// These stay until the container is removed, and those of the images that it
// mounts, whatever becomes of the images.
func (s *Store) Create(containerID string, image davit.Image, mounted ...davit.Image) error {
	dir, err := s.containerDir(containerID)
	if err != nil {
		return err
	}
	if err := s.makeContainerDir(dir); err != nil {
		return fmt.Errorf("cannot create the root file system of %s: %w", davit.ShortID(containerID), fault.NoSpace(err, s.dir))
	}
	err = s.update(func(tx *bolt.Tx) error {
		chains, err := present(tx, image)
		if err != nil {
			return err
		}
		mounts := map[string][]digest.Digest{}
		for _, img := range mounted {
			if mounts[img.ID.String()], err = present(tx, img); err != nil {
				return err
			}
		}
		if len(mounts) > 0 {
			if err := records.Put(tx, mountsBucket, containerID, mounts); err != nil {
				return err
			}
		}
		return records.Put(tx, rootfsBucket, containerID, chains)
	})
	if err != nil {
		return errors.Join(err, s.discard(dir))
	}
	return nil
}

// present returns the layers of an image, all of which are there.
func present(tx *bolt.Tx, image davit.Image) ([]digest.Digest, error) {
	chains := ChainIDs(image.Layers)
	for _, c := range chains {
		var l Layer
		found, err := records.Get(tx, layerBucket, c.String(), &l)
		if err == nil && !found {
			err = davit.Errorf(davit.NoSuchImage, "image %s: its layer %s is gone", davit.ShortID(image.ID.String()), c)
		}
		if err != nil {
			return nil, err
		}
	}
	return chains, nil
}

func (s *Store) update(do func(*bolt.Tx) error) error {
	return fault.NoSpace(s.db.Update(do), s.dir)
}

func (s *Store) makeContainerDir(dir string) error {
	tmp, err := os.MkdirTemp(s.tmpDir(), "container-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // else the next Open removes it
	for _, d := range []string{"diff", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(tmp, "dir", d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(tmp, "dir", "diff"), 0o755); err != nil { // whatever the umask
		return err
	}
	return os.Rename(filepath.Join(tmp, "dir"), dir)
}

// Remove removes the writable layer of a container, and the layers below it
// that nothing else uses. It is idempotent.
func (s *Store) Remove(containerID string) error {
	dir, err := s.containerDir(containerID)
	if err != nil {
		return err
	}
	var dead []digest.Digest
	err = s.update(func(tx *bolt.Tx) error {
		var chains []digest.Digest
		var mounts map[string][]digest.Digest
		_, err1 := records.Get(tx, rootfsBucket, containerID, &chains)
		_, err2 := records.Get(tx, mountsBucket, containerID, &mounts)
		err := errors.Join(err1, err2, records.Delete(tx, rootfsBucket, containerID), records.Delete(tx, mountsBucket, containerID))
		if err != nil {
			return err
		}
		for _, more := range mounts {
			chains = append(chains, more...)
		}
		dead, err = drop(tx, chains, func(*Layer) {})
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot remove the root file system of %s: %w", davit.ShortID(containerID), err)
	}
	s.mu.Lock()
	delete(s.mounts, containerID)
	s.mu.Unlock()
	unmount(filepath.Join(dir, "merged"))
	return errors.Join(s.discard(dir), s.Collect(dead...))
}

// Rootfs says how to mount a container's root. The lower directories are the
// short links, so that a mounter who changes to their directory first can name
// hundreds of them in the one page that mount(2) takes.
func (s *Store) Rootfs(containerID string) (davit.Rootfs, error) {
	dir, err := s.containerDir(containerID)
	if err != nil {
		return davit.Rootfs{}, err
	}
	r := davit.Rootfs{Upper: filepath.Join(dir, "diff"), Work: filepath.Join(dir, "work"), Target: filepath.Join(dir, "merged")}
	err = s.db.View(func(tx *bolt.Tx) error {
		var chains []digest.Digest
		found, err := records.Get(tx, rootfsBucket, containerID, &chains)
		if err == nil && !found {
			err = davit.Errorf(davit.NoSuchContainer, "container %s: it has no root file system", davit.ShortID(containerID))
		}
		if err != nil {
			return err
		}
		if r.Lower, err = s.lower(tx, chains); err != nil {
			return fmt.Errorf("cannot find the layers of container %s: %w", davit.ShortID(containerID), err)
		}
		var mounts map[string][]digest.Digest
		if _, err := records.Get(tx, mountsBucket, containerID, &mounts); err != nil {
			return err
		}
		for image, chains := range mounts {
			if r.Images == nil {
				r.Images = map[string][]string{}
			}
			if r.Images[image], err = s.lower(tx, chains); err != nil {
				return fmt.Errorf("cannot find the layers of image %s: %w", davit.ShortID(image), err)
			}
		}
		return nil
	})
	return r, err
}

// lower returns the directories of layers, topmost first.
func (s *Store) lower(tx *bolt.Tx, chains []digest.Digest) (lower []string, err error) {
	for _, c := range slices.Backward(chains) {
		var l Layer
		found, err := records.Get(tx, layerBucket, c.String(), &l)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("layer %s is gone", c)
		}
		lower = append(lower, filepath.Join(s.linkDir(), l.Link))
		if l.Opaque {
			break
		}
	}
	if len(lower) == 0 {
		lower = []string{s.emptyDir()} // overlayfs wants one
	}
	return lower, nil
}

// Usage returns the bytes of the files in the writable layer, each counted
// once however many names it has. Files may come and go meanwhile.
func (s *Store) Usage(containerID string) (int64, error) {
	dir, err := s.containerDir(containerID)
	if err != nil {
		return 0, err
	}
	total, err := tree.Size(filepath.Join(dir, "diff"))
	if err != nil {
		return 0, fmt.Errorf("cannot measure container %s: %w", davit.ShortID(containerID), err)
	}
	return total, nil
}

// Keep removes the writable layer of every container that is not in ids.
func (s *Store) Keep(ids []string) error {
	var gone []string
	err := s.db.View(func(tx *bolt.Tx) error {
		return records.Each(tx, rootfsBucket, func(id string, _ []digest.Digest) error {
			if !slices.Contains(ids, id) {
				gone = append(gone, id)
			}
			return nil
		})
	})
	errs := []error{err}
	for _, id := range gone {
		s.log.Info("removing the root file system of a container that is gone", "container_id", id)
		errs = append(errs, s.Remove(id))
	}
	return errors.Join(errs...)
}
