// SPDX-License-Identifier: Apache-2.0

// Package volume keeps the volumes of the local driver: directories with a
// record.
package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/localmount"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/records"
	"github.com/davit-engine/davit/storage/tree"
	bolt "go.etcd.io/bbolt"
)

const bucket = "volumes" // name -> davit.Volume

// trashName is not the name of a volume.
const trashName = ".removed"

// Store implements the service's VolumeStore. Its methods may be called from
// any goroutine.
type Store struct {
	dir string
	db  *bolt.DB
	log *slog.Logger
	mu  sync.Mutex // directories and records change together
}

// Open opens the store in dir and finishes removals that a predecessor began.
func Open(dir string, db *bolt.DB, log *slog.Logger) (*Store, error) {
	s := &Store{dir: dir, db: db, log: log}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the volume store: %w", err)
	}
	if err := records.Buckets(db, bucket); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(dir, trashName)); err != nil {
		return nil, fmt.Errorf("cannot remove the data of removed volumes: %w", err)
	}
	return s, s.forgetGone()
}

// forgetGone deletes the records of volumes whose directory is gone: the first
// act of a removal.
func (s *Store) forgetGone() error {
	volumes, err := s.List()
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if _, err := os.Lstat(v.Mountpoint); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		s.log.Warn("forgetting a volume whose directory is gone", "volume", v.Name, "directory", v.Mountpoint)
		if err := s.forget(v.Name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) forget(name string) error {
	return s.db.Update(func(tx *bolt.Tx) error { return records.Delete(tx, bucket, name) })
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

func checkName(name string) error {
	if len(name) == 1 {
		return davit.Errorf(davit.InvalidName, "create %s: volume name is too short, names should be at least two alphanumeric characters", name)
	}
	if !namePattern.MatchString(name) || len(name) > 255 {
		return davit.Errorf(davit.InvalidName, "create %s: %q includes invalid characters for a local volume name, only "+
			"\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name, name)
	}
	return nil
}

// Create makes a volume, or returns the one of that name as it is.
func (s *Store) Create(v davit.Volume) (davit.Volume, error) {
	if err := checkName(v.Name); err != nil {
		return davit.Volume{}, err
	}
	if v.Driver != "" && v.Driver != "local" {
		return davit.Volume{}, davit.Errorf(davit.InvalidConfiguration, "create %s: error looking up volume plugin %s: plugin %q not found: this engine has the driver local", v.Name, v.Driver, v.Driver)
	}
	if err := localmount.Check(v.Options); err != nil {
		return davit.Volume{}, davit.Errorf(davit.InvalidConfiguration, "create %s: %w", v.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.Get(v.Name)
	if err == nil && len(v.Options) > 0 && !maps.Equal(old.Options, v.Options) {
		return davit.Volume{}, davit.Errorf(davit.NameConflict, "create %s: a volume of that name exists with other options: remove it, or choose another name", v.Name)
	}
	if davit.CodeOf(err) != davit.NoSuchVolume {
		return old, err
	}
	v.Driver = "local"
	v.Mountpoint = filepath.Join(s.dir, v.Name, "_data")
	if v.Created.IsZero() {
		v.Created = time.Now().UTC()
	}
	// A directory without a record is of a volume whose creation was never
	// acknowledged, or was put here by hand: its data stays.
	if err := os.MkdirAll(filepath.Dir(v.Mountpoint), 0o711); err != nil {
		return davit.Volume{}, fmt.Errorf("cannot create the volume %s: %w", v.Name, fault.NoSpace(err, s.dir))
	}
	if err := os.Mkdir(v.Mountpoint, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return davit.Volume{}, fmt.Errorf("cannot create the volume %s: %w", v.Name, fault.NoSpace(err, s.dir))
	} else if err == nil {
		err = os.Chmod(v.Mountpoint, 0o755) // whatever the umask
		if err != nil {
			return davit.Volume{}, fmt.Errorf("cannot create the volume %s: %w", v.Name, err)
		}
	}
	err = s.db.Update(func(tx *bolt.Tx) error { return records.Put(tx, bucket, v.Name, v) })
	return v, fault.NoSpace(err, s.dir)
}

// Get returns a volume; [davit.NoSuchVolume] when there is none.
func (s *Store) Get(name string) (v davit.Volume, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		found, err := records.Get(tx, bucket, name, &v)
		if err == nil && !found {
			err = davit.Errorf(davit.NoSuchVolume, "get %s: no such volume", name)
		}
		return err
	})
	return v, err
}

// List returns all volumes, in the order of their names.
func (s *Store) List() ([]davit.Volume, error) {
	var volumes []davit.Volume
	err := s.db.View(func(tx *bolt.Tx) error {
		return records.Each(tx, bucket, func(_ string, v davit.Volume) error {
			volumes = append(volumes, v)
			return nil
		})
	})
	return volumes, err
}

// Empty tells whether a volume's directory has nothing in it.
func (s *Store) Empty(name string) (bool, error) {
	v, err := s.Get(name)
	if err != nil {
		return false, err
	}
	dir, err := os.Open(v.Mountpoint)
	if err != nil {
		return false, fmt.Errorf("cannot look into the volume %s: %w", name, err)
	}
	defer dir.Close()
	if _, err := dir.Readdirnames(1); !errors.Is(err, io.EOF) {
		return false, err
	}
	return true, nil
}

// Usage returns the bytes of a volume's files; see the service's VolumeStore.
func (s *Store) Usage(name string) (int64, error) {
	v, err := s.Get(name)
	if err != nil {
		return 0, err
	}
	n, err := tree.Size(v.Mountpoint)
	if err != nil {
		return 0, fmt.Errorf("cannot measure the volume %s: %w", name, err)
	}
	return n, nil
}

// Remove removes a volume and its data. That no container uses it is the
// caller's business.
func (s *Store) Remove(name string) error {
	grave, err := s.bury(name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(grave); err != nil { // as long as it takes: nobody waits for it
		return fmt.Errorf("cannot remove all data of the volume %s: %w", name, err)
	}
	return nil
}

// bury puts a volume out of the way, and returns where to.
func (s *Store) bury(name string) (grave string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.Get(name); err != nil {
		return "", err
	}
	// The data goes out of the way first: a volume made anew under this name
	// must never find it, whenever we are killed.
	trash := filepath.Join(s.dir, trashName)
	if err := os.MkdirAll(trash, 0o700); err != nil {
		return "", fmt.Errorf("cannot remove the volume %s: %w", name, err)
	}
	grave, err = os.MkdirTemp(trash, name+"-")
	if err != nil {
		return "", fmt.Errorf("cannot remove the volume %s: %w", name, err)
	}
	err = os.Rename(filepath.Join(s.dir, name), filepath.Join(grave, "volume"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot remove the volume %s: %w", name, err)
	}
	return grave, s.forget(name)
}
