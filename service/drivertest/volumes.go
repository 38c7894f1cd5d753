// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
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
		return old, nil
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

// TestVolumes checks a [service.VolumeStore]. open returns an empty one.
func TestVolumes(t *testing.T, open func(t *testing.T) service.VolumeStore) {
	t.Run("life", func(t *testing.T) { testVolumeLife(t, open(t)) })
	t.Run("names", func(t *testing.T) { testVolumeNames(t, open(t)) })
	t.Run("made at once by many", func(t *testing.T) { testVolumeRace(t, open(t)) })
}

func testVolumeLife(t *testing.T, s service.VolumeStore) {
	_, err := s.Get("data")
	wantCode(t, err, davit.NoSuchVolume, "getting a volume that does not exist")
	wantCode(t, s.Remove("data"), davit.NoSuchVolume, "removing a volume that does not exist")

	v := result(s.Create(davit.Volume{Name: "data", Driver: "local", Labels: map[string]string{"v": "1.14"}}))(t)
	info, err := os.Stat(v.Mountpoint)
	if err != nil || !info.IsDir() || !filepath.IsAbs(v.Mountpoint) {
		t.Fatalf("the mountpoint %q is no absolute directory: %v", v.Mountpoint, err)
	}
	file := filepath.Join(v.Mountpoint, "file")
	must(t, os.WriteFile(file, []byte("kept"), 0o600))

	again := result(s.Create(davit.Volume{Name: "data", Labels: map[string]string{"v": "2"}}))(t)
	if d := diff(v, again); d != "" {
		t.Errorf("creating it again did not return it as it is (-want +got):\n%s", d)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "kept" {
		t.Errorf("creating it again touched its data: %q, %v", data, err)
	}
	if d := diff(v, result(s.Get("data"))(t)); d != "" {
		t.Errorf("get (-want +got):\n%s", d)
	}
	result(s.Create(davit.Volume{Name: "anon", Anonymous: true}))(t)
	all := result(s.List())(t)
	if len(all) != 2 {
		t.Fatalf("list: %+v, want two", all)
	}
	for _, v := range all {
		if v.Anonymous != (v.Name == "anon") {
			t.Errorf("volume %s: anonymous is %v", v.Name, v.Anonymous)
		}
	}
	must(t, s.Remove("data"))
	if _, err := os.Lstat(file); !os.IsNotExist(err) {
		t.Errorf("the data of a removed volume is still there: %v", err)
	}
	_, err = s.Get("data")
	wantCode(t, err, davit.NoSuchVolume, "getting a removed volume")
	v = result(s.Create(davit.Volume{Name: "data"}))(t)
	if entries := result(os.ReadDir(v.Mountpoint))(t); len(entries) != 0 {
		t.Errorf("a volume made anew has its predecessor's data: %v", entries)
	}
}

func testVolumeNames(t *testing.T, s service.VolumeStore) {
	for _, name := range []string{"", "a", ".", "..", "../up", "a/b", "-a", ".hidden", "a b", "ü1", "a\x00b"} {
		_, err := s.Create(davit.Volume{Name: name})
		wantCode(t, err, davit.InvalidName, "creating a volume called "+name)
	}
	for _, name := range []string{"ab", "0.9-x_y", ID("anonymous")} {
		if _, err := s.Create(davit.Volume{Name: name}); err != nil {
			t.Errorf("creating a volume called %s: %v", name, err)
		}
	}
	if all := result(s.List())(t); len(all) != 3 {
		t.Errorf("refused names left volumes: %+v", all)
	}
}

func testVolumeRace(t *testing.T, s service.VolumeStore) {
	made := make([]davit.Volume, 8)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() { made[i], _ = s.Create(davit.Volume{Name: "same"}) })
	}
	wg.Wait()
	for _, v := range made[1:] {
		if d := diff(made[0], v); d != "" {
			t.Errorf("two calls made different volumes (-one +other):\n%s", d)
		}
	}
}
