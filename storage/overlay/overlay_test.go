// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const container = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"

type fixture struct {
	*Store
	t    *testing.T
	root string
}

func open(t *testing.T, root string) fixture {
	t.Helper()
	testutil.RequireRoot(t)
	db, err := bolt.Open(filepath.Join(root, "davit.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // may be closed already
	s, err := Open(filepath.Join(root, "overlay"), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return fixture{s, t, root}
}

func (f fixture) reopen() fixture {
	f.t.Helper()
	if err := f.db.Close(); err != nil {
		f.t.Fatal(err)
	}
	return open(f.t, f.root)
}

// image makes an image of tars, lowest first, and records its layers.
func (f fixture) image(id string, tars ...[]byte) davit.Image {
	f.t.Helper()
	in := f.Begin()
	img := davit.Image{ID: digest.FromString(id)}
	for _, data := range tars {
		l, err := in.Unpack(f.t.Context(), ChainIDs(img.Layers), "", bytes.NewReader(data))
		if err != nil {
			f.t.Fatal(err)
		}
		img.Layers = append(img.Layers, l.DiffID)
	}
	err := errors.Join(in.Sync(), f.db.Update(func(tx *bolt.Tx) error { return in.Record(tx, img.ID, ChainIDs(img.Layers)) }), in.Close())
	if err != nil {
		f.t.Fatal(err)
	}
	return img
}

func (f fixture) drop(img davit.Image) {
	f.t.Helper()
	var dead []digest.Digest
	err := f.db.Update(func(tx *bolt.Tx) (err error) {
		dead, err = f.Drop(tx, img.ID, ChainIDs(img.Layers))
		return err
	})
	if err := errors.Join(err, f.Collect(dead...)); err != nil {
		f.t.Fatal(err)
	}
}

// tree lists what a mounted container shows, directories with a slash.
func (f fixture) tree(img davit.Image) []string {
	f.t.Helper()
	if err := f.Create(container, img); err != nil {
		f.t.Fatal(err)
	}
	dir, release, err := f.Mount(container)
	if err != nil {
		f.t.Fatal(err)
	}
	var names []string
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			name += "/"
		}
		names = append(names, name)
		return err
	})
	if err := errors.Join(err, release(), f.Remove(container)); err != nil {
		f.t.Fatal(err)
	}
	return names[1:] // without the root
}

// left lists the directories of layers and containers, and what is unfinished.
func (f fixture) left() []string {
	f.t.Helper()
	var names []string
	for _, dir := range []string{".", "tmp", "l"} {
		entries, err := os.ReadDir(filepath.Join(f.dir, dir))
		if err != nil {
			f.t.Fatal(err)
		}
		for _, e := range entries {
			if name := filepath.Join(dir, e.Name()); name != "l" && name != "tmp" && name != "l/empty" {
				names = append(names, name)
			}
		}
	}
	return names
}

func whiteout(name string) tar.Header { return tartest.File(name, "") }

func TestWhiteouts(t *testing.T) {
	base := []tar.Header{
		tartest.Dir("d"), tartest.File("d/one", "1"), tartest.File("d/two", "2"),
		tartest.Dir("e"), tartest.File("e/three", "3"), tartest.File("f", "f"),
	}
	tests := []struct {
		name  string
		layer []tar.Header
		want  []string
	}{
		{"a file", []tar.Header{whiteout("d/.wh.one")}, []string{"d/", "d/two", "e/", "e/three", "f"}},
		{"a directory", []tar.Header{whiteout(".wh.d")}, []string{"e/", "e/three", "f"}},
		{"an opaque directory", []tar.Header{tartest.Dir("d"), whiteout("d/.wh..wh..opq"), tartest.File("d/new", "")}, []string{"d/", "d/new", "e/", "e/three", "f"}},
		{"an opaque directory, marked last", []tar.Header{tartest.Dir("d"), tartest.File("d/new", ""), whiteout("d/.wh..wh..opq")}, []string{"d/", "d/new", "e/", "e/three", "f"}},
		{"an opaque root", []tar.Header{whiteout(".wh..wh..opq"), tartest.File("new", "")}, []string{"new"}},
		{"removed and made anew", []tar.Header{whiteout(".wh.d"), tartest.Dir("d"), tartest.File("d/new", "")}, []string{"d/", "d/new", "e/", "e/three", "f"}},
		{"removed and made anew without its own entry", []tar.Header{whiteout(".wh.d"), tartest.File("d/new", "")}, []string{"d/", "d/new", "e/", "e/three", "f"}},
		{"made anew, the whiteout last", []tar.Header{tartest.Dir("d"), tartest.File("d/new", ""), whiteout(".wh.d")}, []string{"d/", "d/new", "e/", "e/three", "f"}},
		{"a file made anew", []tar.Header{tartest.File("f", "new"), whiteout(".wh.f")}, []string{"d/", "d/one", "d/two", "e/", "e/three", "f"}},
		{"AUFS's own files", []tar.Header{tartest.Dir(".wh..wh.plnk"), whiteout(".wh..wh.plnk/1.2"), whiteout(".wh..wh.aufs")}, []string{"d/", "d/one", "d/two", "e/", "e/three", "f"}},
		{"of nothing", []tar.Header{whiteout(".wh.nothing"), whiteout("g/.wh.nothing")}, []string{"d/", "d/one", "d/two", "e/", "e/three", "f", "g/"}},
	}
	f := open(t, t.TempDir())
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img := f.image(fmt.Sprint(i), tartest.Make(t, base...), tartest.Make(t, tt.layer...))
			if diff := cmp.Diff(tt.want, f.tree(img)); diff != "" {
				t.Errorf("what the container sees (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDirectoriesThatALayerDoesNotNameKeepTheirOwner(t *testing.T) {
	f := open(t, t.TempDir())
	dir := tartest.Dir("home")
	dir.Uid, dir.Mode = 1000, 0o700
	img := f.image("i", tartest.Make(t, dir), tartest.Make(t, tartest.File("home/file", "x")))
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(f.diffDir(ChainIDs(img.Layers)[1]), "home"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid != 1000 || st.Mode&0o7777 != 0o700 {
		t.Errorf("home belongs to %d and has mode %o", st.Uid, st.Mode&0o7777)
	}
}

func TestHostileLayers(t *testing.T) {
	f := open(t, t.TempDir())
	secret := filepath.Join(f.root, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	redirect := tartest.Dir("d")
	redirect.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/../.."}
	layers := map[string][]tar.Header{
		"dots":              {tartest.File("../../../../../../../../../.."+secret, "evil")},
		"absolute":          {tartest.File(secret, "evil")},
		"symlinked parent":  {tartest.Symlink("x", f.root), tartest.File("x/secret", "evil")},
		"relative symlink":  {tartest.Symlink("x", "../../../.."), tartest.File("x/secret", "evil")},
		"hard link":         {tartest.Link("h", "../../../../secret"), tartest.File("h", "evil")},
		"hard via symlink":  {tartest.Symlink("j", f.root), tartest.Link("k", "j/secret")},
		"whiteout outside":  {whiteout("../../../../.wh.secret")},
		"whiteout dots":     {whiteout("d/.wh...")},
		"whiteout dot":      {whiteout("d/.wh..")},
		"whiteout symlink":  {tartest.Symlink("x", f.root), whiteout("x/.wh.secret")},
		"opaque symlink":    {tartest.Symlink("x", f.root), whiteout("x/.wh..wh..opq")},
		"overlay attribute": {redirect},
	}
	for name, entries := range layers {
		t.Run(name, func(t *testing.T) {
			in := f.Begin()
			_, err := in.Unpack(t.Context(), nil, "", bytes.NewReader(tartest.Make(t, entries...)))
			t.Logf("Unpack: %v", err)
			if err != nil && davit.CodeOf(err) != davit.InvalidArchive {
				t.Errorf("Unpack: %v has the code %s", err, davit.CodeOf(err))
			}
			if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
				t.Fatalf("the file outside holds %q, %v", got, err)
			}
			var st unix.Stat_t
			if err := unix.Stat(secret, &st); err != nil || st.Nlink != 1 {
				t.Fatalf("the file outside has %d names, %v", st.Nlink, err)
			}
			if n, err := unix.Lgetxattr(f.root, opaqueXattr, nil); err == nil {
				t.Fatalf("the directory outside is opaque (%d)", n)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			if left := f.left(); left != nil {
				t.Fatalf("left behind: %v", left)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	f := open(t, t.TempDir())
	good := tartest.Make(t, tartest.File("f", strings.Repeat("x", 10_000)))
	tests := []struct {
		name string
		diff digest.Digest
		data []byte
		want davit.Code
	}{
		{"another digest", digest.FromString("other"), good, davit.DigestMismatch},
		{"garbage", "", []byte(strings.Repeat("garbage ", 1000)), davit.InvalidArchive},
		{"a cut archive", "", good[:5000], davit.InvalidArchive},
		{"a cut header", "", good[:100], davit.InvalidArchive},
	}
	for _, tt := range tests {
		in := f.Begin()
		_, err := in.Unpack(t.Context(), nil, tt.diff, bytes.NewReader(tt.data))
		if err == nil || davit.CodeOf(err) != tt.want {
			t.Errorf("%s: Unpack = %v, want %s", tt.name, err, tt.want)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if left := f.left(); left != nil {
			t.Errorf("%s: left behind: %v", tt.name, left)
		}
	}
}

func TestFullDisk(t *testing.T) {
	testutil.RequireRoot(t)
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	f := open(t, root)
	in := f.Begin()
	data := tartest.Make(t, tartest.File("big", strings.Repeat("x", 4<<20)))
	_, err := in.Unpack(t.Context(), nil, "", bytes.NewReader(data))
	if davit.CodeOf(err) != davit.NoSpace {
		t.Errorf("Unpack = %v, want NoSpace", err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if left := f.left(); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestNoLayers(t *testing.T) {
	f := open(t, t.TempDir())
	if got := f.tree(f.image("empty")); len(got) != 0 {
		t.Errorf("the container sees %v", got)
	}
}

func TestManyLayers(t *testing.T) {
	f := open(t, t.TempDir())
	var tars [][]byte
	want := []string{}
	for i := range 130 {
		tars = append(tars, tartest.Make(t, tartest.File(fmt.Sprintf("f%03d", i), "x")))
		want = append(want, fmt.Sprintf("f%03d", i))
	}
	if diff := cmp.Diff(want, f.tree(f.image("many", tars...))); diff != "" {
		t.Errorf("what the container sees (-want +got):\n%s", diff)
	}
}

func TestLayersLiveAsLongAsTheyAreUsed(t *testing.T) {
	f := open(t, t.TempDir())
	base, one, two := tartest.Make(t, tartest.File("base", "")), tartest.Make(t, tartest.File("one", "")), tartest.Make(t, tartest.File("two", ""))
	first, second := f.image("first", base, one), f.image("second", base, two)
	if err := f.Create(container, first); err != nil {
		t.Fatal(err)
	}
	count := func() int { return len(f.left()) }
	if got := count(); got != 7 { // 3 layers, 3 links, 1 container
		t.Fatalf("two images of 3 layers and a container make %v", f.left())
	}
	f.drop(first) // its container keeps its layers
	f = f.reopen()
	if _, release, err := f.Mount(container); err != nil {
		t.Fatal(err)
	} else if err := release(); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != 7 {
		t.Fatalf("without the image, %v are left", f.left())
	}
	if err := errors.Join(f.Remove(container), f.Remove(container)); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != 4 {
		t.Fatalf("without the container, %v are left", f.left())
	}
	f.drop(second)
	if left := f.left(); left != nil {
		t.Errorf("without any image, %v are left", left)
	}
}

func TestOpenCleansUp(t *testing.T) {
	f := open(t, t.TempDir())
	img := f.image("i", tartest.Make(t, tartest.File("file", "x")))
	if err := f.Create(container, img); err != nil {
		t.Fatal(err)
	}
	want := f.left()
	// As if killed: in an unpacking, before its record, while removing, and
	// with a container mounted.
	in := f.Begin()
	if _, err := in.Unpack(t.Context(), nil, "", bytes.NewReader(tartest.Make(t, tartest.File("lost", "x")))); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"tmp/layer-1/layer/diff/etc", "tmp/trash-1/dir/work/work", strings.Repeat("ab", 32) + "/diff"} {
		if err := os.MkdirAll(filepath.Join(f.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.Mount(container); err != nil {
		t.Fatal(err)
	}
	f = f.reopen()
	if diff := cmp.Diff(want, f.left()); diff != "" {
		t.Errorf("after opening again (-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(filepath.Join(f.dir, container, "merged")); err != nil || len(entries) > 0 {
		t.Errorf("the container is still mounted: %v, %v", entries, err)
	}
	if err := f.Keep([]string{"other"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Rootfs(container); davit.CodeOf(err) != davit.NoSuchContainer {
		t.Errorf("Rootfs of a container not kept: %v", err)
	}
}

func TestUsageCountsEachFileOnce(t *testing.T) {
	f := open(t, t.TempDir())
	img := f.image("i", tartest.Make(t, tartest.File("base", strings.Repeat("x", 5000))))
	if err := f.Create(container, img); err != nil {
		t.Fatal(err)
	}
	r, err := f.Rootfs(container)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(r.Upper, "a"), make([]byte, 1000), 0o600),
		os.Link(filepath.Join(r.Upper, "a"), filepath.Join(r.Upper, "b")),
		os.Symlink("/", filepath.Join(r.Upper, "root")))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Usage(container); err != nil || n != 1001 { // a link is as long as its target's name
		t.Errorf("Usage = %d, %v; want 1001", n, err)
	}
}

func TestMountIsCounted(t *testing.T) {
	f := open(t, t.TempDir())
	if err := f.Create(container, f.image("i", tartest.Make(t, tartest.File("file", "x")))); err != nil {
		t.Fatal(err)
	}
	dir, first, err := f.Mount(container)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := f.Mount(container)
	if err := errors.Join(err, first(), first()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Errorf("unmounted while still in use: %v", err)
	}
	if err := second(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still mounted: %v", err)
	}
}

func TestOpenRefusesOverlayfs(t *testing.T) {
	f := open(t, t.TempDir())
	if err := f.Create(container, f.image("i", tartest.Make(t, tartest.Dir("var")))); err != nil {
		t.Fatal(err)
	}
	dir, release, err := f.Mount(container)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(filepath.Join(dir, "var"), f.db, slog.New(slog.DiscardHandler))
	if davit.CodeOf(err) != davit.NotSupported {
		t.Errorf("Open on overlayfs = %v, want NotSupported", err)
	}
	t.Log(err)
	if err := release(); err != nil {
		t.Error(err)
	}
}

func TestUmaskDoesNotMatter(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	f := open(t, t.TempDir())
	file := tartest.File("a/b/file", "x")
	file.Mode = 0o666
	if err := f.Create(container, f.image("i", tartest.Make(t, file, tartest.Dir("c")))); err != nil {
		t.Fatal(err)
	}
	dir, release, err := f.Mount(container)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{".": 0o755, "a": 0o755, "a/b": 0o755, "a/b/file": 0o666, "c": 0o755} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil || st.Mode&0o7777 != want {
			t.Errorf("%s has the mode %o, %v; want %o", name, st.Mode&0o7777, err, want)
		}
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
