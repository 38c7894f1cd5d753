// SPDX-License-Identifier: Apache-2.0

package volumes_test

import (
	"testing"
	"testing/synctest"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/volumes"
)

// slow is a store that removes nothing until it is told to.
type slow struct {
	volumes.Store
	begun, free chan struct{}
}

func (s slow) Remove(name string) error {
	close(s.begun)
	<-s.free
	return s.Store.Remove(name)
}

// TestRemovalIsWaitedFor by a container that wants the same volume, and by
// nobody else.
func TestRemovalIsWaitedFor(t *testing.T) {
	store := fake.NewVolumes(t.TempDir())
	for _, name := range []string{"one", "two"} {
		if _, err := store.Create(davit.Volume{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := slow{store, make(chan struct{}), make(chan struct{})}
		k := volumes.NewKeeper(s, func(string) []string { return nil })
		removed := make(chan error, 1)
		go func() { removed <- k.Remove("one") }()
		<-s.begun
		k.Claim("two", "a")
		if err := k.Remove("two"); davit.CodeOf(err) != davit.VolumeInUse {
			t.Errorf("a claimed volume is removed: %v", err)
		}
		if err := k.Remove("one"); davit.CodeOf(err) != davit.NoSuchVolume {
			t.Errorf("a volume is removed twice: %v", err)
		}
		claimed := make(chan struct{})
		go func() { k.Claim("one", "a"); close(claimed) }()
		synctest.Wait()
		select {
		case <-claimed:
			t.Error("a volume is claimed while it is removed")
		default:
		}
		close(s.free)
		<-claimed
		if err := <-removed; err != nil {
			t.Error(err)
		}
		k.Release("a")
		if err := k.Store.(slow).Store.Remove("two"); err != nil {
			t.Error(err)
		}
	})
}
