// SPDX-License-Identifier: Apache-2.0

// Package storage keeps what survives a restart under one directory: the
// database of records, blobs, image layers, the writable layers of containers,
// and volumes. A daemon killed at any instruction loses nothing that it
// acknowledged; Open cleans up what it left unfinished.
package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/davit-engine/davit/storage/content"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/image"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/davit-engine/davit/storage/volume"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Options say where a store is.
type Options struct {
	Root string       // the data root; made if need be
	Log  *slog.Logger // nil: the default one
	// Mounted is the directory in which the runtime says who has a volume mounted
	// that is mounted by its options; "": nobody has.
	Mounted string
}

// Store is everything under a data root. One process has it open at a time.
type Store struct {
	state   *StateDB
	images  *image.Store
	rootfs  *overlay.Store
	volumes *volume.Store
	files   *Files
}

// lockTimeout is how long Open waits for a predecessor that is about to end.
const lockTimeout = 3 * time.Second

// Open opens the store under o.Root, and makes it if need be. It fails when
// another process has it open, and when overlayfs cannot work there.
func Open(o Options) (_ *Store, err error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("cannot open the data root %s: %w", o.Root, err)
	}
	// Links are resolved now, as overlayfs's and the containers' paths must not
	// change with them.
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, fmt.Errorf("cannot create the data root: %w", err)
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, fmt.Errorf("cannot open the data root: %w", err)
	}
	db, err := openDatabase(filepath.Join(root, "davit.db"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	s, err := openParts(db, root, o.Log)
	if err == nil {
		s.rootfs.ShareVolumes(o.Mounted)
	}
	return s, err
}

func openParts(db *bolt.DB, root string, log *slog.Logger) (*Store, error) {
	state, err := openState(db, root)
	if err != nil {
		return nil, err
	}
	blobs, err := content.Open(filepath.Join(root, "content"))
	if err != nil {
		return nil, err
	}
	layers, err := overlay.Open(filepath.Join(root, "overlay"), db, log)
	if err != nil {
		return nil, err
	}
	images, err := image.Open(db, blobs, layers)
	if err != nil {
		return nil, err
	}
	volumes, err := volume.Open(filepath.Join(root, "volumes"), db, log)
	if err != nil {
		return nil, err
	}
	return &Store{state: state, images: images, rootfs: layers, volumes: volumes, files: &Files{}}, nil
}

func openDatabase(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("cannot open %s: another daemon has it open (choose another --data-root, or stop that daemon): %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the state database %s: %w", path, fault.NoSpace(err, filepath.Dir(path)))
	}
	return db, nil
}

// State returns the database of records.
func (s *Store) State() *StateDB { return s.state }

// Images returns the store of images.
func (s *Store) Images() *image.Store { return s.images }

// Rootfs returns the store of the containers' root file systems.
func (s *Store) Rootfs() *overlay.Store { return s.rootfs }

// Volumes returns the store of volumes.
func (s *Store) Volumes() *volume.Store { return s.volumes }

// Files returns what reads and writes the trees of containers.
func (s *Store) Files() *Files { return s.files }

// Close closes the store. Nothing of it may be used afterwards.
func (s *Store) Close() error { return s.state.Close() }
