// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/davit-engine/davit"
)

// Volumes is a fake [service.VolumeStore] whose volumes are directories.
type Volumes struct {
	Faults
	dir     string
	mu      sync.Mutex
	volumes map[string]davit.Volume
}

// NewVolumes returns a store without volumes in a directory that exists.
func NewVolumes(dir string) *Volumes {
	return &Volumes{dir: dir, volumes: map[string]davit.Volume{}}
}

var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// Create implements [service.VolumeStore].
func (s *Volumes) Create(v davit.Volume) (davit.Volume, error) {
	if err := s.enter("Create", v.Name); err != nil {
		return davit.Volume{}, err
	}
	if !volumeName.MatchString(v.Name) {
		return davit.Volume{}, davit.Errorf(davit.InvalidName, "invalid volume name %q", v.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.volumes[v.Name]; ok {
		if len(v.Options) > 0 && !maps.Equal(v.Options, old.Options) {
			return davit.Volume{}, davit.Errorf(davit.NameConflict, "volume %s has other options", v.Name)
		}
		return old, nil
	}
	for option := range v.Options {
		if !slices.Contains([]string{"type", "device", "o"}, option) {
			return davit.Volume{}, davit.Errorf(davit.InvalidConfiguration, "invalid option: %q", option)
		}
	}
	v.Mountpoint = filepath.Join(s.dir, v.Name)
	s.volumes[v.Name] = v
	return v, os.MkdirAll(v.Mountpoint, 0o755)
}

// Get implements [service.VolumeStore].
func (s *Volumes) Get(name string) (davit.Volume, error) {
	if err := s.enter("Get", name); err != nil {
		return davit.Volume{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.volumes[name]
	if !ok {
		return v, davit.Errorf(davit.NoSuchVolume, "get %s: no such volume", name)
	}
	return v, nil
}

// List implements [service.VolumeStore].
func (s *Volumes) List() ([]davit.Volume, error) {
	if err := s.enter("List", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []davit.Volume
	for _, v := range s.volumes {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b davit.Volume) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Empty implements [service.VolumeStore].
func (s *Volumes) Empty(name string) (bool, error) {
	if err := s.enter("Empty", name); err != nil {
		return false, err
	}
	v, err := s.Get(name)
	if err != nil {
		return false, err
	}
	entries, err := os.ReadDir(v.Mountpoint)
	return len(entries) == 0, err
}

// Usage implements [service.VolumeStore].
func (s *Volumes) Usage(name string) (int64, error) {
	if err := s.enter("Usage", name); err != nil {
		return 0, err
	}
	v, err := s.Get(name)
	if err != nil {
		return 0, err
	}
	return size(v.Mountpoint)
}

// Remove implements [service.VolumeStore].
func (s *Volumes) Remove(name string) error {
	if err := s.enter("Remove", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.volumes[name]
	if !ok {
		return davit.Errorf(davit.NoSuchVolume, "remove %s: no such volume", name)
	}
	delete(s.volumes, name)
	return os.RemoveAll(v.Mountpoint)
}
