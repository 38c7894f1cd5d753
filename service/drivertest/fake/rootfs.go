// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/davit-engine/davit"
)

// Rootfs is a fake [service.RootfsStore]: a container's root is a directory
// into which the image's files were written.
type Rootfs struct {
	Faults
	dir    string
	images *Images
	mu     sync.Mutex
	base   map[string]int64 // container id -> bytes of the image's files
	mounts int
}

// NewRootfs returns a store without containers in a directory that exists.
func NewRootfs(dir string, images *Images) *Rootfs {
	return &Rootfs{dir: dir, images: images, base: map[string]int64{}}
}

// Containers returns the ids of those that have a writable layer.
func (s *Rootfs) Containers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for id := range s.base {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Mounts returns how many mounts have not been released.
func (s *Rootfs) Mounts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mounts
}

// Create implements [service.RootfsStore].
func (s *Rootfs) Create(containerID string, image davit.Image) error {
	if err := s.enter("Create", containerID); err != nil {
		return err
	}
	files, err := s.images.content(image)
	if err != nil {
		return err
	}
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(s.dir, containerID, d), 0o755); err != nil {
			return err
		}
	}
	var size int64
	for name, data := range files {
		path := filepath.Join(s.dir, containerID, "merged", name)
		if name[len(name)-1] == '/' {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			return err
		}
		size += int64(len(data))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base[containerID] = size
	return nil
}

// Remove implements [service.RootfsStore].
func (s *Rootfs) Remove(containerID string) error {
	if err := s.enter("Remove", containerID); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.base, containerID)
	return os.RemoveAll(filepath.Join(s.dir, containerID))
}

func (s *Rootfs) find(containerID string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.base[containerID]; !ok {
		return "", davit.Errorf(davit.NoSuchContainer, "container %s has no root file system", containerID)
	}
	return filepath.Join(s.dir, containerID), nil
}

// Rootfs implements [service.RootfsStore].
func (s *Rootfs) Rootfs(containerID string) (davit.Rootfs, error) {
	if err := s.enter("Rootfs", containerID); err != nil {
		return davit.Rootfs{}, err
	}
	dir, err := s.find(containerID)
	if err != nil {
		return davit.Rootfs{}, err
	}
	return davit.Rootfs{
		Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"),
		Work: filepath.Join(dir, "work"), Target: filepath.Join(dir, "merged"),
	}, nil
}

// Mount implements [service.RootfsStore].
func (s *Rootfs) Mount(containerID string, _ ...davit.Mount) (string, func() error, error) {
	if err := s.enter("Mount", containerID); err != nil {
		return "", nil, err
	}
	dir, err := s.find(containerID)
	if err != nil {
		return "", nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounts++
	var once sync.Once
	return filepath.Join(dir, "merged"), func() error {
		once.Do(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.mounts--
		})
		return s.enter("release", containerID)
	}, nil
}

// Usage implements [service.RootfsStore].
func (s *Rootfs) Usage(containerID string) (int64, error) {
	if err := s.enter("Usage", containerID); err != nil {
		return 0, err
	}
	dir, err := s.find(containerID)
	if err != nil {
		return 0, err
	}
	var total int64
	err = filepath.WalkDir(filepath.Join(dir, "merged"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return total - s.base[containerID], err
}

// Keep implements [service.RootfsStore].
func (s *Rootfs) Keep(ids []string) error {
	if err := s.enter("Keep", ""); err != nil {
		return err
	}
	for _, id := range s.Containers() {
		if !slices.Contains(ids, id) {
			if err := s.Remove(id); err != nil {
				return err
			}
		}
	}
	return nil
}
