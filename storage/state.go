// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"crypto/rand"
	"fmt"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/davit-engine/davit/storage/records"
	bolt "go.etcd.io/bbolt"
)

// Buckets of the database that the state has.
const (
	metaBucket      = "meta"
	containerBucket = "containers"     // id -> davit.Container
	nameBucket      = "containernames" // name -> id
	networkBucket   = "networks"       // id -> davit.Network
)

const engineIDKey = "engine-id"

// StateDB implements the service's State. Its methods may be called from any
// goroutine.
type StateDB struct {
	db  *bolt.DB
	dir string
}

func openState(db *bolt.DB, dir string) (*StateDB, error) {
	if err := records.Buckets(db, metaBucket, containerBucket, nameBucket, networkBucket); err != nil {
		return nil, err
	}
	return &StateDB{db: db, dir: dir}, nil
}

// Containers returns the records of all containers, in the order of their ids.
func (s *StateDB) Containers() ([]*davit.Container, error) {
	var all []*davit.Container
	err := s.db.View(func(tx *bolt.Tx) error {
		return records.Each(tx, containerBucket, func(_ string, c *davit.Container) error {
			all = append(all, c)
			return nil
		})
	})
	return all, err
}

// PutContainer stores a container and its name, of which the old one becomes
// free; [davit.NameConflict] when another container has the name.
func (s *StateDB) PutContainer(c *davit.Container) error {
	return s.update(func(tx *bolt.Tx) error {
		var owner string
		found, err := records.Get(tx, nameBucket, c.Name, &owner)
		if err != nil {
			return err
		}
		if found && owner != c.ID {
			return davit.Errorf(davit.NameConflict, "Conflict. The container name %q is already in use by container %q. "+
				"You have to remove (or rename) that container to be able to reuse that name.", "/"+c.Name, owner)
		}
		var old davit.Container
		had, err := records.Get(tx, containerBucket, c.ID, &old)
		if err != nil {
			return err
		}
		if had && old.Name != c.Name {
			if err := records.Delete(tx, nameBucket, old.Name); err != nil {
				return err
			}
		}
		if !found {
			if err := records.Put(tx, nameBucket, c.Name, c.ID); err != nil {
				return err
			}
		}
		return records.Put(tx, containerBucket, c.ID, c)
	})
}

// DeleteContainer deletes a record and frees its name. It is idempotent.
func (s *StateDB) DeleteContainer(id string) error {
	return s.update(func(tx *bolt.Tx) error {
		var c davit.Container
		found, err := records.Get(tx, containerBucket, id, &c)
		if err != nil || !found {
			return err
		}
		if err := records.Delete(tx, nameBucket, c.Name); err != nil {
			return err
		}
		return records.Delete(tx, containerBucket, id)
	})
}

// Networks returns the records of all networks, in the order of their ids.
func (s *StateDB) Networks() ([]davit.Network, error) {
	var all []davit.Network
	err := s.db.View(func(tx *bolt.Tx) error {
		return records.Each(tx, networkBucket, func(_ string, n davit.Network) error {
			all = append(all, n)
			return nil
		})
	})
	return all, err
}

// PutNetwork stores a network.
func (s *StateDB) PutNetwork(n davit.Network) error {
	return s.update(func(tx *bolt.Tx) error { return records.Put(tx, networkBucket, n.ID, n) })
}

// EngineID returns a random identity (RFC 9562 UUID, version 4), the same for
// as long as the database lives.
func (s *StateDB) EngineID() (id string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		_, err := records.Get(tx, metaBucket, engineIDKey, &id)
		return err
	})
	if err != nil || id != "" {
		return id, err
	}
	err = s.update(func(tx *bolt.Tx) error {
		found, err := records.Get(tx, metaBucket, engineIDKey, &id)
		if err != nil || found {
			return err
		}
		id = newUUID()
		return records.Put(tx, metaBucket, engineIDKey, id)
	})
	return id, err
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *StateDB) update(do func(*bolt.Tx) error) error {
	return fault.NoSpace(s.db.Update(do), s.dir)
}

// Close closes the database for all parts of the store.
func (s *StateDB) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("cannot close the state database: %w", err)
	}
	return nil
}
