// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit"
)

// State is a fake [service.State]. Records go through JSON, so that none is
// shared with a caller. It keeps them after Close, for [State.Reopen].
type State struct {
	Faults
	mu         sync.Mutex
	closed     bool
	id         string
	containers map[string][]byte
	names      map[string]string
	networks   map[string]davit.Network
}

// NewState returns an empty database with an identity of its own.
func NewState() *State {
	return &State{
		id:         "engine-" + ID(time.Now().String())[:12],
		containers: map[string][]byte{}, names: map[string]string{}, networks: map[string]davit.Network{},
	}
}

// Reopen is what a new daemon does.
func (s *State) Reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = false
}

func (s *State) begin(method, arg string) error {
	if err := s.enter(method, arg); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	return nil
}

// Containers implements [service.State].
func (s *State) Containers() ([]*davit.Container, error) {
	if err := s.begin("Containers", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*davit.Container
	for _, data := range s.containers {
		c := new(davit.Container)
		if err := json.Unmarshal(data, c); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *davit.Container) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// PutContainer implements [service.State].
func (s *State) PutContainer(c *davit.Container) error {
	if err := s.begin("PutContainer", c.ID); err != nil {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner, taken := s.names[c.Name]; taken && owner != c.ID {
		return davit.Errorf(davit.NameConflict, "the name %q is in use by %s", c.Name, owner)
	}
	s.forgetNames(c.ID)
	s.names[c.Name], s.containers[c.ID] = c.ID, data
	return nil
}

func (s *State) forgetNames(id string) {
	for name, owner := range s.names {
		if owner == id {
			delete(s.names, name)
		}
	}
}

// DeleteContainer implements [service.State].
func (s *State) DeleteContainer(id string) error {
	if err := s.begin("DeleteContainer", id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetNames(id)
	delete(s.containers, id)
	return nil
}

// Networks implements [service.State].
func (s *State) Networks() ([]davit.Network, error) {
	if err := s.begin("Networks", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []davit.Network
	for _, n := range s.networks {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b davit.Network) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// PutNetwork implements [service.State].
func (s *State) PutNetwork(n davit.Network) error {
	if err := s.begin("PutNetwork", n.Name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.networks[n.ID] = n
	return nil
}

// EngineID implements [service.State].
func (s *State) EngineID() (string, error) { return s.id, s.begin("EngineID", "") }

// Close implements [service.State].
func (s *State) Close() error {
	err := s.enter("Close", "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return err
}
