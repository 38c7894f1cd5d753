// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
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
	base   map[string]map[string]string   // container id -> the image's files
	shown  map[string]map[string][]string // container id -> image id -> the directories of what it mounts
	mounts int
}

// NewRootfs returns a store without containers in a directory that exists.
func NewRootfs(dir string, images *Images) *Rootfs {
	s := &Rootfs{dir: dir, images: images, base: map[string]map[string]string{}, shown: map[string]map[string][]string{}}
	images.setContainers(s)
	return s
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
func (s *Rootfs) Create(containerID string, image davit.Image, mounted ...davit.Image) error {
	if err := s.enter("Create", containerID); err != nil {
		return err
	}
	files, err := s.images.content(image)
	if err != nil {
		return err
	}
	trees := map[string]map[string]string{filepath.Join(s.dir, containerID, "merged"): files}
	shown := map[string][]string{}
	for _, m := range mounted {
		content, err := s.images.content(m)
		if err != nil {
			return err
		}
		dir := filepath.Join(s.dir, containerID, m.ID.Encoded())
		trees[dir], shown[m.ID.String()] = content, []string{dir}
	}
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(s.dir, containerID, d), 0o755); err != nil {
			return err
		}
	}
	for dir, files := range trees {
		if err := writeTree(dir, files); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base[containerID], s.shown[containerID] = files, shown
	return nil
}

// writeTree writes files, and directories, whose names end in a slash.
func writeTree(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
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
	}
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
	delete(s.shown, containerID)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	return davit.Rootfs{
		Images: s.shown[containerID], Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"),
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
	total, err := size(filepath.Join(dir, "merged"))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, data := range s.base[containerID] {
		total -= int64(len(data))
	}
	return total, err
}

// size returns the bytes of the files below dir that have names of their own.
func size(dir string) (total int64, err error) {
	var seen []fs.FileInfo
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && !slices.ContainsFunc(seen, func(o fs.FileInfo) bool { return os.SameFile(o, info) }) {
			seen = append(seen, info)
			total += info.Size()
		}
		return err
	})
	return total, err
}

// Changes implements [service.RootfsStore] by comparing contents: a file that
// was written again as it was counts as unchanged.
func (s *Rootfs) Changes(containerID string, mounts []string) ([]davit.FileChange, error) {
	if err := s.enter("Changes", containerID); err != nil {
		return nil, err
	}
	dir, err := s.find(containerID)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	base := map[string]string{}
	for name, data := range s.base[containerID] {
		for at := path.Dir(path.Clean("/" + name)); at != "/"; at = path.Dir(at) {
			base[at] = "directory"
		}
		base[path.Clean("/"+name)] = "file " + data
		if strings.HasSuffix(name, "/") {
			base[path.Clean("/"+name)] = "directory"
		}
	}
	s.mu.Unlock()
	changes := map[string]davit.ChangeKind{}
	now, err := contents(filepath.Join(dir, "merged"))
	for name, data := range now {
		if old, ok := base[name]; !ok && !place(name, mounts, now) {
			changes[name] = davit.FileAdded
		} else if ok && old != data {
			changes[name] = davit.FileModified
		}
	}
	for name := range base {
		_, is := now[name]
		if up := path.Dir(name); !is && (now[up] == "directory" || up == "/") {
			changes[name] = davit.FileDeleted
		}
	}
	var out []davit.FileChange
	for name, kind := range changes {
		up, entries := path.Dir(name), kind != davit.FileModified || now[name] == "directory" || base[name] == "directory"
		if _, told := changes[up]; !told && entries && up != "/" {
			out = append(out, davit.FileChange{Path: up, Kind: davit.FileModified})
		}
		out = append(out, davit.FileChange{Path: name, Kind: kind})
	}
	slices.SortFunc(out, func(a, b davit.FileChange) int { return strings.Compare(a.Path, b.Path) })
	return slices.Compact(out), err
}

// place tells whether name is there for something to be mounted on or below it.
func place(name string, mounts []string, now map[string]string) bool {
	if slices.ContainsFunc(mounts, func(m string) bool { return name == m || strings.HasPrefix(name, m+"/") }) {
		return true
	}
	for other := range now {
		if strings.HasPrefix(other, name+"/") && !place(other, mounts, now) {
			return false
		}
	}
	return slices.ContainsFunc(mounts, func(m string) bool { return strings.HasPrefix(m, name+"/") })
}

// contents reads a tree.
func contents(dir string) (map[string]string, error) {
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(p, dir)
		switch {
		case err != nil || name == "":
			return err
		case d.IsDir():
			out[name] = "directory"
			return nil
		}
		data, err := os.ReadFile(p)
		out[name] = "file " + string(data)
		return err
	})
	return out, err
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

// changed returns what a container's files are that are not those of its image;
// what it removed is a whiteout.
func (s *Rootfs) changed(containerID string) (map[string]string, error) {
	dir, err := s.find(containerID)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	base := s.base[containerID]
	s.mu.Unlock()
	now, out := map[string]string{}, map[string]string{}
	root := filepath.Join(dir, "merged")
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		rel := strings.TrimPrefix(name, root+"/")
		now[rel] = string(data)
		if old, ok := base[rel]; !ok || old != string(data) {
			out[rel] = string(data)
		}
		return err
	})
	for name := range base {
		if _, ok := now[name]; !ok && !strings.HasSuffix(name, "/") {
			out[path.Join(path.Dir(name), ".wh."+path.Base(name))] = ""
		}
	}
	return out, err
}
