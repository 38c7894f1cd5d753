// SPDX-License-Identifier: Apache-2.0

// Package overlay keeps image layers, each unpacked once, and the writable
// layers of containers over them, to be mounted with overlayfs. See README.md
// beside it for the layout and what a crash leaves.
package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/davit-engine/davit/storage/records"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// Buckets of the database.
const (
	layerBucket  = "layers" // chain id -> Layer
	rootfsBucket = "rootfs" // container id -> chain ids of its layers, lowest first
	mountsBucket = "mounts" // container id -> image id -> chain ids of an image that it mounts
)

// Layer is the record of an unpacked layer.
type Layer struct {
	ChainID digest.Digest
	DiffID  digest.Digest
	Parent  digest.Digest   `json:",omitempty"` // chain id of the layer below
	Size    int64           // bytes of its files
	Opaque  bool            `json:",omitempty"` // nothing of the layers below shows
	Link    string          // its name in l/
	Images  []digest.Digest // the ids of the images that use it
}

// Store keeps layers and root file systems under one directory. It implements
// the service's RootfsStore; its methods may be called from any goroutine.
type Store struct {
	dir string
	db  *bolt.DB
	log *slog.Logger
	// shared is where the runtime says who has a volume with options mounted.
	shared string

	mu     sync.Mutex
	pins   map[digest.Digest]int // installations that use a layer
	mounts map[string]int        // mounts of a container's root in this process
}

// ShareVolumes names the directory in which the runtime says who has a volume
// mounted that is mounted by its options: containers that do not run are seen
// with the same. It is called before the store is used.
func (s *Store) ShareVolumes(dir string) { s.shared = dir }

// Open opens the store in dir and removes what a killed predecessor left
// unfinished. It fails when the file system cannot carry overlayfs.
func Open(dir string, db *bolt.DB, log *slog.Logger) (*Store, error) {
	s := &Store{dir: dir, db: db, log: log, pins: map[digest.Digest]int{}, mounts: map[string]int{}}
	for _, d := range []string{s.linkDir(), s.tmpDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("cannot create the layer store: %w", err)
		}
	}
	if err := records.Buckets(db, layerBucket, rootfsBucket, mountsBucket); err != nil {
		return nil, err
	}
	if err := s.emptyTmp(); err != nil {
		return nil, err
	}
	if err := s.probe(); err != nil {
		return nil, err
	}
	if err := s.scan(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) linkDir() string { return filepath.Join(s.dir, "l") }
func (s *Store) tmpDir() string  { return filepath.Join(s.dir, "tmp") }

func (s *Store) layerDir(chain digest.Digest) string { return filepath.Join(s.dir, chain.Encoded()) }

func (s *Store) diffDir(chain digest.Digest) string {
	return filepath.Join(s.layerDir(chain), "diff")
}

func (s *Store) emptyTmp() error {
	entries, err := os.ReadDir(s.tmpDir())
	if err != nil {
		return fmt.Errorf("cannot list unfinished layers: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.tmpDir(), e.Name())); err != nil {
			return fmt.Errorf("cannot remove an unfinished layer: %w", err)
		}
	}
	return nil
}

var idPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// scan removes directories and links that no record names.
func (s *Store) scan() error {
	keep, links, err := s.named()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("cannot list the layers: %w", err)
	}
	for _, e := range entries {
		if !idPattern.MatchString(e.Name()) {
			continue
		}
		unmount(filepath.Join(s.dir, e.Name(), "merged")) // a killed daemon was copying
		if keep[e.Name()] {
			continue
		}
		s.log.Info("removing an unfinished layer", "directory", e.Name())
		if err := s.discard(filepath.Join(s.dir, e.Name())); err != nil {
			return err
		}
	}
	return s.sweepLinks(links)
}

// named returns the directories and the links that records name.
func (s *Store) named() (dirs, links map[string]bool, err error) {
	dirs, links = map[string]bool{}, map[string]bool{filepath.Base(s.emptyDir()): true}
	err = s.db.View(func(tx *bolt.Tx) error {
		err := records.Each(tx, layerBucket, func(_ string, l Layer) error {
			dirs[l.ChainID.Encoded()] = true
			links[l.Link] = true
			return nil
		})
		if err != nil {
			return err
		}
		return records.Each(tx, rootfsBucket, func(id string, _ []digest.Digest) error {
			dirs[id] = true
			return nil
		})
	})
	return dirs, links, err
}

func (s *Store) sweepLinks(keep map[string]bool) error {
	entries, err := os.ReadDir(s.linkDir())
	if err != nil {
		return fmt.Errorf("cannot list the links of layers: %w", err)
	}
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(s.linkDir(), e.Name())); err != nil {
			return fmt.Errorf("cannot remove the link of a layer: %w", err)
		}
	}
	return nil
}

// layer returns the record of a layer; found is false when there is none.
func (s *Store) layer(chain digest.Digest) (l Layer, found bool, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		found, err = records.Get(tx, layerBucket, chain.String(), &l)
		return err
	})
	return l, found, err
}

// Size returns the bytes of the files in all layers of images.
func (s *Store) Size() (int64, error) {
	var total int64
	err := s.db.View(func(tx *bolt.Tx) error {
		return records.Each(tx, layerBucket, func(_ string, l Layer) error {
			total += l.Size
			return nil
		})
	})
	return total, err
}

// discard makes a directory vanish at once and then removes its content; what
// a crash leaves of it is in tmp.
func (s *Store) discard(dir string) error {
	trash, err := os.MkdirTemp(s.tmpDir(), "trash-")
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	err = os.Rename(dir, filepath.Join(trash, "dir"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("cannot remove %s: %w", dir, err), os.Remove(trash))
	}
	if err := os.RemoveAll(trash); err != nil {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	return nil
}
