// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// TestVolumes checks a [service.VolumeStore]. open returns an empty one.
func TestVolumes(t *testing.T, open func(t *testing.T) service.VolumeStore) {
	t.Run("life", func(t *testing.T) { testVolumeLife(t, open(t)) })
	t.Run("names", func(t *testing.T) { testVolumeNames(t, open(t)) })
	t.Run("options", func(t *testing.T) { testVolumeOptions(t, open(t)) })
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
	if empty := result(s.Empty("data"))(t); !empty {
		t.Error("a new volume is not empty")
	}
	file := filepath.Join(v.Mountpoint, "file")
	must(t, os.WriteFile(file, []byte("kept"), 0o600))

	if empty := result(s.Empty("data"))(t); empty {
		t.Error("a volume with a file is empty")
	}
	_, err = s.Empty("nobody")
	wantCode(t, err, davit.NoSuchVolume, "looking into a volume that does not exist")
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
	must(t, os.Link(file, filepath.Join(v.Mountpoint, "second name")))
	must(t, os.MkdirAll(filepath.Join(v.Mountpoint, "d"), 0o755))
	must(t, os.WriteFile(filepath.Join(v.Mountpoint, "d/more"), make([]byte, 5000), 0o600))
	if n := result(s.Usage("data"))(t); n != 5004 {
		t.Errorf("5004 bytes were written, the usage is %d", n)
	}
	if n := result(s.Usage("anon"))(t); n != 0 {
		t.Errorf("nothing was written, the usage is %d", n)
	}
	_, err = s.Usage("nobody")
	wantCode(t, err, davit.NoSuchVolume, "measuring a volume that does not exist")
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

func testVolumeOptions(t *testing.T, s service.VolumeStore) {
	options := map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=5"}
	v := result(s.Create(davit.Volume{Name: "data", Options: options}))(t)
	if d := diff(options, v.Options); d != "" {
		t.Errorf("the options (-want +got):\n%s", d)
	}
	for _, same := range []map[string]string{nil, {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=5"}} {
		if d := diff(v, result(s.Create(davit.Volume{Name: "data", Options: same}))(t)); d != "" {
			t.Errorf("creating it again (-want +got):\n%s", d)
		}
	}
	_, err := s.Create(davit.Volume{Name: "data", Options: map[string]string{"type": "tmpfs", "device": "tmpfs"}})
	wantCode(t, err, davit.NameConflict, "creating it with other options")
	_, err = s.Create(davit.Volume{Name: "more", Options: map[string]string{"what": "x"}})
	wantCode(t, err, davit.InvalidConfiguration, "creating a volume with an option that there is not")
	if all := result(s.List())(t); len(all) != 1 {
		t.Errorf("what was refused left volumes: %+v", all)
	}
}

func testVolumeNames(t *testing.T, s service.VolumeStore) {
	for _, name := range []string{"", "a", ".", "..", "../up", "a/b", "-a", ".hidden", "a b", "ü1", "a\x00b"} {
		_, err := s.Create(davit.Volume{Name: name})
		wantCode(t, err, davit.InvalidName, "creating a volume called "+name)
	}
	for _, name := range []string{"ab", "0.9-x_y", fake.ID("anonymous")} {
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
