// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/images"
)

// TestRootfs checks a [service.RootfsStore]. open returns an empty one, and
// the store whose images it builds upon.
func TestRootfs(t *testing.T, open func(t *testing.T) (service.RootfsStore, images.Store)) {
	for name, test := range map[string]func(*testing.T, service.RootfsStore, images.Store){
		"life": testRootfsLife, "unknown": testRootfsUnknown, "mounts": testRootfsMounts,
		"outlives its image": testRootfsImageGone, "keep": testRootfsKeep, "mounts an image": testRootfsMountsImage, "changes": testRootfsChanges,
		"commit": testCommit, "commit refuses": testCommitRefusals,
	} {
		t.Run(name, func(t *testing.T) {
			rootfs, images := open(t)
			test(t, rootfs, images)
		})
	}
}

func testRootfsLife(t *testing.T, s service.RootfsStore, images images.Store) {
	img := importImage(t, images, "base", map[string]string{"etc/motd": "hello", "data/": ""})
	one, two := fake.ID("one"), fake.ID("two")
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
	must(t, s.Remove(fake.ID("never")))
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

// testRootfsMountsImage has a container mount an image, which goes, and not what
// the container has of it.
func testRootfsMountsImage(t *testing.T, s service.RootfsStore, images images.Store) {
	base := importImage(t, images, "base", map[string]string{"f": "base"})
	other := importImage(t, images, "other", map[string]string{"etc/release": "other"})
	id := fake.ID("mounting")
	must(t, s.Create(id, base, other))
	result(images.Remove("other", true, unused))(t)
	r := result(s.Rootfs(id))(t)
	layers := r.Images[other.ID.String()]
	if len(layers) == 0 {
		t.Fatalf("the layers of what it mounts are not told: %+v", r)
	}
	if data, err := os.ReadFile(filepath.Join(layers[0], "etc/release")); err != nil || string(data) != "other" {
		t.Errorf("a file of the image reads %q: %v", data, err)
	}
	must(t, s.Remove(id))
	if _, err := os.Stat(filepath.Join(layers[0], "etc/release")); !os.IsNotExist(err) {
		t.Errorf("nobody has the image any more, and its layer is there: %v", err)
	}
	missing := fake.Build("", davit.ContainerConfig{}, map[string]string{"a": "b"})
	if err := s.Create(id, base, davit.Image{ID: missing.Config, Layers: missing.Layers}); err == nil {
		t.Error("a root was made that mounts layers that are not there")
	}
}

func testRootfsUnknown(t *testing.T, s service.RootfsStore, images images.Store) {
	id := fake.ID("nobody")
	_, err := s.Rootfs(id)
	wantCode(t, err, davit.NoSuchContainer, "asking for the root of nobody")
	if _, _, err := s.Mount(id); err == nil {
		t.Error("the root of nobody was mounted")
	}
	if _, err := s.Usage(id); err == nil {
		t.Error("the root of nobody was measured")
	}
	img := fake.Build("", davit.ContainerConfig{}, map[string]string{"a": "b"})
	if err := s.Create(id, davit.Image{ID: img.Config, Layers: img.Layers}); err == nil {
		t.Error("a root was made of layers that are not there")
	}
	_, err = s.Rootfs(id)
	wantCode(t, err, davit.NoSuchContainer, "asking for a root that could not be made")
	must(t, s.Create(id, importImage(t, images, "base", map[string]string{"f": "x"}))) // nothing is in the way
}

func testRootfsMounts(t *testing.T, s service.RootfsStore, images images.Store) {
	id := fake.ID("mounted")
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

func testRootfsImageGone(t *testing.T, s service.RootfsStore, images images.Store) {
	id := fake.ID("survivor")
	must(t, s.Create(id, importImage(t, images, "base", map[string]string{"f": "still"})))
	result(images.Remove("base", true, unused))(t)
	inRoot(t, s, id, func(dir string) {
		if data, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(data) != "still" {
			t.Errorf("without its image the root's file reads %q: %v", data, err)
		}
	})
}

func testRootfsKeep(t *testing.T, s service.RootfsStore, images images.Store) {
	img := importImage(t, images, "base", map[string]string{"f": "x"})
	for _, name := range []string{"kept", "gone1", "gone2"} {
		must(t, s.Create(fake.ID(name), img))
	}
	must(t, s.Keep([]string{fake.ID("kept"), fake.ID("of a container without a root")}))
	if _, err := s.Rootfs(fake.ID("kept")); err != nil {
		t.Errorf("the kept root: %v", err)
	}
	for _, name := range []string{"gone1", "gone2"} {
		_, err := s.Rootfs(fake.ID(name))
		wantCode(t, err, davit.NoSuchContainer, "asking for a root that was not kept")
	}
}

func testRootfsChanges(t *testing.T, s service.RootfsStore, images images.Store) {
	id := fake.ID("changed")
	must(t, s.Create(id, importImage(t, images, "base", map[string]string{
		"etc/motd": "hello", "etc/deep/er/file": "x", "gone/with/all": "x", "again/old": "x", "again/same": "x",
		"was/dir/file": "x", "now": "a file", "top": "x", "still/here": "x",
	})))
	if got := result(s.Changes(id, nil))(t); len(got) != 0 {
		t.Errorf("nothing was changed, got %v", got)
	}
	inRoot(t, s, id, func(dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		write := func(name string) {
			must(t, os.MkdirAll(filepath.Dir(at(name)), 0o755))
			must(t, os.WriteFile(at(name), []byte("new"), 0o600))
		}
		write("etc/motd")
		write("etc/deep/er/more")
		write("new/dir/file")
		must(t, os.RemoveAll(at("gone")))
		must(t, os.RemoveAll(at("again")))
		write("again/same")
		write("again/other")
		must(t, os.RemoveAll(at("was/dir")))
		write("was/dir")
		must(t, os.Remove(at("now")))
		write("now/dir")
		must(t, os.Remove(at("top")))
		write("passing")
		must(t, os.Remove(at("passing")))
		write("etc/hosts")         // where a file is mounted
		write("mnt/data/below/it") // where a volume is, in a directory that is not the image's
		write("new/mounted")       // and in one that is the container's own
	})
	want := []davit.FileChange{
		{Path: "/again", Kind: davit.FileModified},
		{Path: "/again/old", Kind: davit.FileDeleted},
		{Path: "/again/other", Kind: davit.FileAdded},
		{Path: "/again/same", Kind: davit.FileModified},
		{Path: "/etc/deep/er", Kind: davit.FileModified},
		{Path: "/etc/deep/er/more", Kind: davit.FileAdded},
		{Path: "/etc/motd", Kind: davit.FileModified},
		{Path: "/gone", Kind: davit.FileDeleted},
		{Path: "/new", Kind: davit.FileAdded},
		{Path: "/new/dir", Kind: davit.FileAdded},
		{Path: "/new/dir/file", Kind: davit.FileAdded},
		{Path: "/now", Kind: davit.FileModified},
		{Path: "/now/dir", Kind: davit.FileAdded},
		{Path: "/top", Kind: davit.FileDeleted},
		{Path: "/was", Kind: davit.FileModified},
		{Path: "/was/dir", Kind: davit.FileModified},
	}
	if d := diff(want, result(s.Changes(id, []string{"/etc/hosts", "/mnt/data", "/new/mounted"}))(t)); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
	if _, err := s.Changes(fake.ID("nobody"), nil); davit.CodeOf(err) != davit.NoSuchContainer {
		t.Errorf("comparing nobody: %v", err)
	}
}
