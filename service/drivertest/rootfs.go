// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
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
func (s *Rootfs) Mount(containerID string) (string, func() error, error) {
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

// TestRootfs checks a [service.RootfsStore]. open returns an empty one, and
// the store whose images it builds upon.
func TestRootfs(t *testing.T, open func(t *testing.T) (service.RootfsStore, service.ImageStore)) {
	for name, test := range map[string]func(*testing.T, service.RootfsStore, service.ImageStore){
		"life": testRootfsLife, "unknown": testRootfsUnknown, "mounts": testRootfsMounts,
		"outlives its image": testRootfsImageGone, "keep": testRootfsKeep,
	} {
		t.Run(name, func(t *testing.T) {
			rootfs, images := open(t)
			test(t, rootfs, images)
		})
	}
}

func testRootfsLife(t *testing.T, s service.RootfsStore, images service.ImageStore) {
	img := importImage(t, images, "base", map[string]string{"etc/motd": "hello", "data/": ""})
	one, two := ID("one"), ID("two")
	must(t, s.Create(one, img))
	must(t, s.Create(two, img))
	r := result(s.Rootfs(one))(t)
	for _, dir := range append([]string{r.Upper, r.Work, r.Target}, r.Lower...) {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() || !filepath.IsAbs(dir) {
			t.Errorf("%q of %+v is no absolute directory: %v", dir, r, err)
		}
	}
	if len(r.Lower) == 0 {
		t.Error("there is no lower directory; overlayfs wants one")
	}
	inRoot(t, s, one, func(dir string) {
		if data, err := os.ReadFile(filepath.Join(dir, "etc/motd")); err != nil || string(data) != "hello" {
			t.Errorf("the image's file reads %q: %v", data, err)
		}
		must(t, os.WriteFile(filepath.Join(dir, "data/new"), make([]byte, 5000), 0o600))
	})
	if n := result(s.Usage(one))(t); n != 5000 {
		t.Errorf("5000 bytes were written, the usage is %d", n)
	}
	if n := result(s.Usage(two))(t); n != 0 {
		t.Errorf("nothing was written, the usage is %d", n)
	}
	inRoot(t, s, two, func(dir string) {
		if _, err := os.Lstat(filepath.Join(dir, "data/new")); !os.IsNotExist(err) {
			t.Errorf("one container sees what another wrote: %v", err)
		}
	})
	must(t, s.Remove(one))
	must(t, s.Remove(one))
	must(t, s.Remove(ID("never")))
	_, err := s.Rootfs(one)
	wantCode(t, err, davit.NoSuchContainer, "asking for a removed root")
	must(t, s.Create(one, img))
	inRoot(t, s, one, func(dir string) {
		if _, err := os.Lstat(filepath.Join(dir, "data/new")); !os.IsNotExist(err) {
			t.Errorf("a root made anew has its predecessor's file: %v", err)
		}
	})
}

// inRoot calls f with the mounted root.
func inRoot(t *testing.T, s service.RootfsStore, id string, f func(dir string)) {
	t.Helper()
	dir, release, err := s.Mount(id)
	must(t, err)
	f(dir)
	must(t, release())
}

func testRootfsUnknown(t *testing.T, s service.RootfsStore, images service.ImageStore) {
	id := ID("nobody")
	_, err := s.Rootfs(id)
	wantCode(t, err, davit.NoSuchContainer, "asking for the root of nobody")
	if _, _, err := s.Mount(id); err == nil {
		t.Error("the root of nobody was mounted")
	}
	if _, err := s.Usage(id); err == nil {
		t.Error("the root of nobody was measured")
	}
	img := Build("", davit.ContainerConfig{}, map[string]string{"a": "b"})
	if err := s.Create(id, davit.Image{ID: img.Config, Layers: img.Layers}); err == nil {
		t.Error("a root was made of layers that are not there")
	}
	_, err = s.Rootfs(id)
	wantCode(t, err, davit.NoSuchContainer, "asking for a root that could not be made")
	must(t, s.Create(id, importImage(t, images, "base", map[string]string{"f": "x"}))) // nothing is in the way
}

func testRootfsMounts(t *testing.T, s service.RootfsStore, images service.ImageStore) {
	id := ID("mounted")
	must(t, s.Create(id, importImage(t, images, "base", map[string]string{"f": "x"})))
	first, release1, err := s.Mount(id)
	must(t, err)
	second, release2, err := s.Mount(id)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(first, "new"), nil, 0o600))
	must(t, release1())
	if _, err := os.Stat(filepath.Join(second, "new")); err != nil {
		t.Errorf("releasing one mount took the other away: %v", err)
	}
	must(t, release2())
	inRoot(t, s, id, func(dir string) {
		if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
			t.Errorf("mounted again, what was written is lost: %v", err)
		}
	})
	must(t, s.Remove(id))
}

func testRootfsImageGone(t *testing.T, s service.RootfsStore, images service.ImageStore) {
	id := ID("survivor")
	must(t, s.Create(id, importImage(t, images, "base", map[string]string{"f": "still"})))
	result(images.Remove("base", true, unused))(t)
	inRoot(t, s, id, func(dir string) {
		if data, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(data) != "still" {
			t.Errorf("without its image the root's file reads %q: %v", data, err)
		}
	})
}

func testRootfsKeep(t *testing.T, s service.RootfsStore, images service.ImageStore) {
	img := importImage(t, images, "base", map[string]string{"f": "x"})
	for _, name := range []string{"kept", "gone1", "gone2"} {
		must(t, s.Create(ID(name), img))
	}
	must(t, s.Keep([]string{ID("kept"), ID("of a container without a root")}))
	if _, err := s.Rootfs(ID("kept")); err != nil {
		t.Errorf("the kept root: %v", err)
	}
	for _, name := range []string{"gone1", "gone2"} {
		_, err := s.Rootfs(ID(name))
		wantCode(t, err, davit.NoSuchContainer, "asking for a root that was not kept")
	}
}
