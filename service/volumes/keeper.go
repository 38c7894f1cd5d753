// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"slices"
	"strings"
	"sync"

	"github.com/davit-engine/davit"
)

// Keeper is a [Store] that removes no volume that a container has, or is being
// made with: that one is in no table yet, and who prunes does not see it.
type Keeper struct {
	Store
	users func(name string) []string

	mu     sync.Mutex
	claims map[string][]string
	going  map[string]chan struct{} // volumes that are being removed; closed when that has ended
}

// NewKeeper returns a keeper of store. users returns the ids of the containers
// that have the volume; it is called with the keeper's lock held.
func NewKeeper(store Store, users func(name string) []string) *Keeper {
	return &Keeper{Store: store, users: users, claims: map[string][]string{}, going: map[string]chan struct{}{}}
}

// Claim keeps a volume, which need not be there yet, for the container that is
// being made, until Release. It returns when nobody removes it any more.
func (k *Keeper) Claim(name, id string) {
	for {
		gone := k.tryClaim(name, id)
		if gone == nil {
			return
		}
		<-gone
	}
}

func (k *Keeper) tryClaim(name, id string) (gone <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if going := k.going[name]; going != nil {
		return going
	}
	k.claims[name] = append(k.claims[name], id)
	return nil
}

// Release gives back all that was claimed for the container.
func (k *Keeper) Release(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, ids := range k.claims {
		if k.claims[name] = slices.DeleteFunc(ids, func(o string) bool { return o == id }); len(k.claims[name]) == 0 {
			delete(k.claims, name)
		}
	}
}

// Remove removes a volume, or fails with VolumeInUse. Its data may be much: only
// who wants the same volume waits.
func (k *Keeper) Remove(name string) error {
	going := make(chan struct{})
	if err := k.begin(name, going); err != nil {
		return err
	}
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.going, name)
		close(going)
	}()
	return k.Store.Remove(name)
}

func (k *Keeper) begin(name string, going chan struct{}) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.going[name] != nil {
		return davit.Errorf(davit.NoSuchVolume, "get %s: no such volume: it is being removed", name)
	}
	if users := slices.Concat(k.claims[name], k.users(name)); len(users) > 0 {
		return inUse(name, users)
	}
	k.going[name] = going
	return nil
}

func inUse(name string, users []string) error {
	return davit.Errorf(davit.VolumeInUse, "remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
}
