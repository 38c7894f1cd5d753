// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/storage/content"
	"github.com/davit-engine/davit/storage/image"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

type fixture struct {
	*image.Store
	t      *testing.T
	root   string
	layers *overlay.Store
	blobs  *content.Store
	pull   davit.Blobs // what put puts with; nil is a pull of its own
}

func open(t *testing.T) fixture {
	t.Helper()
	testutil.RequireRoot(t)
	root := t.TempDir()
	db, err := bolt.Open(filepath.Join(root, "davit.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	blobs, err := content.Open(filepath.Join(root, "content"))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := overlay.Open(filepath.Join(root, "overlay"), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, err := image.Open(db, blobs, layers)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{s, t, root, layers, blobs, nil}
}

func unused(digest.Digest) string { return "" }

// left lists the blobs and layers on disk, and everything unfinished.
func (f fixture) left() []string {
	f.t.Helper()
	var names []string
	for _, dir := range []string{"content/blobs/sha256", "content/ingest", "overlay", "overlay/tmp", "overlay/l"} {
		entries, err := os.ReadDir(filepath.Join(f.root, dir))
		if err != nil {
			f.t.Fatal(err)
		}
		for _, e := range entries {
			if name := filepath.Join(dir, e.Name()); name != "overlay/l" && name != "overlay/tmp" && name != "overlay/l/empty" {
				names = append(names, name)
			}
		}
	}
	return names
}

func (f fixture) importTar(name string, data []byte) davit.Image {
	f.t.Helper()
	img, err := f.Import(f.t.Context(), davit.Import{Source: bytes.NewReader(data), Reference: name})
	if err != nil {
		f.t.Fatal(err)
	}
	return img
}

func TestImport(t *testing.T) {
	f := open(t)
	plain := tartest.Make(t, tartest.Dir("etc"), tartest.File("etc/os", "davit"))
	bz := exec.Command("bzip2", "-c")
	bz.Stdin = bytes.NewReader(plain)
	bzip, err := bz.Output()
	if err != nil {
		t.Logf("without bzip2: %v", err)
		bzip = plain
	}
	for name, data := range map[string][]byte{
		"plain": plain, "gzip": tartest.Gzip(t, plain), "zstd": tartest.Zstd(t, plain), "bzip2": bzip,
		"padded": append(slices.Clone(plain), make([]byte, 9999)...),
	} {
		t.Run(name, func(t *testing.T) {
			img, err := f.Import(t.Context(), davit.Import{
				Source: bytes.NewReader(data), Reference: "example.org/test:" + name, Message: "from a test",
				Platform: davit.Platform{Architecture: "arm64", Variant: "v8"}, Changes: []string{"CMD /bin/sh", "LABEL a=b"},
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Get("example.org/test:" + name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(img, got); diff != "" {
				t.Errorf("Get after Import (-imported +got):\n%s", diff)
			}
			want := plain
			if name == "padded" {
				want = data
			}
			if img.Layers[0] != digest.FromBytes(want) || img.Size != 5 || img.Architecture != "arm64" || img.OS != "linux" ||
				img.Comment != "from a test" || img.Config.Labels["a"] != "b" || len(img.Config.Cmd) != 3 {
				t.Errorf("the image is %+v", img)
			}
			f.checkBlobs(img)
		})
	}
}

// checkBlobs checks that what a push or save needs is there, and agrees.
func (f fixture) checkBlobs(img davit.Image) {
	f.t.Helper()
	var m struct {
		MediaType string
		Config    davit.Descriptor
		Layers    []davit.Descriptor
	}
	data, err := f.blobs.ReadAll(f.t.Context(), img.Manifest, 1<<20)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil || m.MediaType != img.MediaType {
		f.t.Fatalf("the manifest %s is not valid: %v", data, err)
	}
	if m.Config.Digest != img.ID || len(m.Layers) != len(img.Layers) {
		f.t.Fatalf("the manifest %s is not of the image %s", data, img.ID)
	}
	for _, d := range append(m.Layers, m.Config) {
		r, err := f.blobs.Open(f.t.Context(), d.Digest)
		if err != nil {
			f.t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			f.t.Fatal(err)
		}
		if digest.FromBytes(data) != d.Digest || int64(len(data)) != d.Size {
			f.t.Errorf("the blob %s of %d bytes has %d bytes and the digest %s", d.Digest, d.Size, len(data), digest.FromBytes(data))
		}
	}
}

func TestBadInputLeavesNothing(t *testing.T) {
	f := open(t)
	good := tartest.Make(t, tartest.File("file", strings.Repeat("x", 100_000)))
	zipped := tartest.Gzip(t, tartest.Make(t, tartest.File("file", random(100_000))))
	broken := slices.Clone(zipped)
	broken[len(broken)/2] ^= 0xff
	sources := map[string][]byte{
		"nothing":        {},
		"text":           []byte(strings.Repeat("this is no archive\n", 100)),
		"short text":     []byte("no"),
		"a cut tar":      good[:50_000],
		"a cut gzip":     zipped[:len(zipped)/2],
		"a broken gzip":  broken,
		"a cut zstd":     tartest.Zstd(t, good)[:20],
		"xz":             append([]byte{0xfd, '7', 'z', 'X', 'Z', 0}, good...),
		"gzip of text":   tartest.Gzip(t, []byte(strings.Repeat("this is no archive\n", 100))),
		"only the magic": {0x1f, 0x8b, 0x08},
	}
	for name, data := range sources {
		_, err := f.Import(t.Context(), davit.Import{Source: bytes.NewReader(data), Reference: "bad"})
		if davit.CodeOf(err) != davit.InvalidArchive {
			t.Errorf("Import of %s: %v, want InvalidArchive", name, err)
		}
		t.Logf("Import of %s: %v", name, err)
		_, err = f.Load(t.Context(), davit.Load{Source: bytes.NewReader(data)})
		if davit.CodeOf(err) != davit.InvalidArchive {
			t.Errorf("Load of %s: %v, want InvalidArchive", name, err)
		}
		t.Logf("Load of %s: %v", name, err)
		if left := f.left(); left != nil {
			t.Fatalf("%s: left behind: %v", name, left)
		}
	}
	for _, ref := range []string{"UPPER", "a@sha256:" + strings.Repeat("0", 64), "sha256:abc", "a b", strings.Repeat("a", 64)} {
		_, err := f.Import(t.Context(), davit.Import{Source: bytes.NewReader(good), Reference: ref})
		if davit.CodeOf(err) != davit.InvalidName {
			t.Errorf("Import as %q: %v, want InvalidName", ref, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Import(ctx, davit.Import{Source: bytes.NewReader(good)}); !errors.Is(err, context.Canceled) {
		t.Errorf("Import with a cancelled context: %v", err)
	}
	if left := f.left(); left != nil {
		t.Fatalf("left behind: %v", left)
	}
}

// random returns text that does not compress well, the same each time.
func random(n int) string {
	var b strings.Builder
	for d := digest.FromString("seed"); b.Len() < n; d = digest.FromString(d.String()) {
		b.WriteString(d.Encoded())
	}
	return b.String()[:n]
}

func TestGet(t *testing.T) {
	f := open(t)
	a := f.importTar("busybox", tartest.Make(t, tartest.File("a", "a")))
	f.importTar("example.org:5000/x/y:v1", tartest.Make(t, tartest.File("b", "b")))
	hex := a.ID.Encoded()
	for _, ref := range []string{"busybox", "busybox:latest", "library/busybox", "docker.io/library/busybox:latest", hex, "sha256:" + hex, hex[:12], "sha256:" + hex[:7]} {
		if got, err := f.Get(ref); err != nil || got.ID != a.ID {
			t.Errorf("Get(%q) = %s, %v", ref, got.ID, err)
		}
	}
	if got, err := f.Get("example.org:5000/x/y:v1"); err != nil || !cmp.Equal(got.Tags, []string{"example.org:5000/x/y:v1"}) {
		t.Errorf("Get with a registry = %v, %v", got.Tags, err)
	}
	for ref, want := range map[string]string{
		"foo": "No such image: foo:latest", "busybox:1": "No such image: busybox:1",
		"sha256:" + strings.Repeat("0", 64):         "No such image: sha256:" + strings.Repeat("0", 64),
		"busybox@sha256:" + strings.Repeat("0", 64): "No such image: busybox@sha256:" + strings.Repeat("0", 64),
	} {
		if _, err := f.Get(ref); davit.CodeOf(err) != davit.NoSuchImage || err.Error() != want {
			t.Errorf("Get(%q) = %v, want %q", ref, err, want)
		}
	}
	if _, err := f.Get("UPPER"); davit.CodeOf(err) != davit.InvalidName {
		t.Errorf("Get of an invalid reference: %v", err)
	}
}

func TestAmbiguousPrefix(t *testing.T) {
	f := open(t)
	seen := map[string]bool{}
	for i := range 17 { // two of 17 ids begin with the same digit
		img := f.importTar("", tartest.Make(t, tartest.File("n", strings.Repeat("x", i+1))))
		digit := img.ID.Encoded()[:1]
		if seen[digit] {
			if _, err := f.Get(digit); davit.CodeOf(err) != davit.AmbiguousName {
				t.Errorf("Get(%q) = %v, want AmbiguousName", digit, err)
			}
			return
		}
		seen[digit] = true
	}
	t.Fatal("no two ids begin with the same digit")
}

func TestRemove(t *testing.T) {
	f := open(t)
	data := tartest.Make(t, tartest.File("a", "a"))
	a := f.importTar("one", data)
	short := davit.ShortID(a.ID.String())
	used := func(digest.Digest) string { return strings.Repeat("cd", 32) }
	tag := func(name string) {
		t.Helper()
		if err := f.Tag(a.ID.String(), name); err != nil {
			t.Fatal(err)
		}
	}
	tag("two")
	refused := func(ref string, inUse func(digest.Digest) string, want string) {
		t.Helper()
		done, err := f.Remove(ref, false, inUse)
		if davit.CodeOf(err) != davit.ImageInUse || err.Error() != want || done != nil {
			t.Errorf("Remove(%q) = %v, %v, want %q", ref, done, err, want)
		}
	}
	removed := func(ref string, force bool, inUse func(digest.Digest) string, want ...davit.ImageDeletion) {
		t.Helper()
		done, err := f.Remove(ref, force, inUse)
		if err != nil || !cmp.Equal(done, want) {
			t.Errorf("Remove(%q) = %v, %v, want %v", ref, done, err, want)
		}
	}
	refused(short, unused, "conflict: unable to delete "+short+" (must be forced) - image is referenced in multiple repositories")
	removed("two", false, used, davit.ImageDeletion{Untagged: "two:latest"})
	refused("one", used, `conflict: unable to remove repository reference "one" (must force) - container cdcdcdcdcdcd is using its referenced image `+short)
	refused(short, used, "conflict: unable to delete "+short+" (must be forced) - image is being used by container cdcdcdcdcdcd")
	if _, err := f.Remove("none", true, unused); davit.CodeOf(err) != davit.NoSuchImage {
		t.Errorf("Remove of nothing: %v", err)
	}
	tag("two")
	tag("one:v2")
	removed(a.ID.Encoded(), true, used,
		davit.ImageDeletion{Untagged: "one:latest"}, davit.ImageDeletion{Untagged: "one:v2"}, davit.ImageDeletion{Untagged: "two:latest"},
		davit.ImageDeletion{Deleted: a.ID.String()}, davit.ImageDeletion{Deleted: a.Layers[0].String()})
	if left := f.left(); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestSharedLayersStay(t *testing.T) {
	f := open(t)
	data := tartest.Make(t, tartest.File("a", "a"))
	first, second := f.importTar("first", data), f.importTar("second", data)
	if first.ID == second.ID {
		t.Fatal("two imports are one image")
	}
	if _, err := f.Remove("first", false, unused); err != nil {
		t.Fatal(err)
	}
	f.checkBlobs(second)
	if err := f.layers.Create(strings.Repeat("ab", 32), second); err != nil {
		t.Errorf("the other image's layers are gone: %v", err)
	}
}

func TestTagMovesANameToAnotherImage(t *testing.T) {
	f := open(t)
	a, b := f.importTar("a", tartest.Make(t, tartest.File("a", ""))), f.importTar("b", tartest.Make(t, tartest.File("b", "")))
	if err := f.Tag("b", "a"); err != nil {
		t.Fatal(err)
	}
	got, err := f.Get(a.ID.String())
	if err != nil || got.Tags != nil {
		t.Errorf("the first image is still called %v, %v", got.Tags, err)
	}
	if got, err = f.Get("a"); err != nil || got.ID != b.ID || !cmp.Equal(got.Tags, []string{"a:latest", "b:latest"}) {
		t.Errorf("a is %s, called %v, %v", got.ID, got.Tags, err)
	}
	if all, err := f.List(); err != nil || len(all) != 2 || all[0].ID != b.ID {
		t.Errorf("List = %v, %v, want the newest first", all, err)
	}
	for _, name := range []string{"x@sha256:" + strings.Repeat("0", 64), "sha256:1234", "Bad"} {
		if err := f.Tag("a", name); davit.CodeOf(err) != davit.InvalidName {
			t.Errorf("Tag as %q: %v", name, err)
		}
	}
}

// pulled puts the blobs of an image in the store, as a registry client does.
func (f fixture) pulled(tars ...[]byte) davit.Pulled {
	f.t.Helper()
	return f.pulledAs(tartest.Gzip, tars...)
}

func (f fixture) pulledAs(compress func(testing.TB, []byte) []byte, tars ...[]byte) davit.Pulled {
	f.t.Helper()
	f.pull = f.Blobs()
	var diffs []digest.Digest
	var layers []map[string]any
	for _, data := range tars {
		diffs = append(diffs, digest.FromBytes(data))
		blob := compress(f.t, data)
		layers = append(layers, map[string]any{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": f.put(blob).Digest, "size": len(blob)})
	}
	config := f.put(f.json(map[string]any{
		"os": "linux", "architecture": "amd64", "config": map[string]any{"Cmd": []string{"sh"}, "Hostname": "old", "Healthcheck": map[string]any{"Test": []string{"NONE"}}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs}, "history": []map[string]any{{"created_by": "one"}, {"created_by": "two", "empty_layer": true}},
	}))
	manifest := f.put(f.json(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "digest": config.Digest, "size": config.Size}, "layers": layers,
	}))
	manifest.MediaType = "application/vnd.docker.distribution.manifest.v2+json"
	return davit.Pulled{Reference: "docker.io/library/test:v1", Target: manifest, Manifest: manifest}
}

func (f fixture) json(v any) []byte {
	f.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

func (f fixture) put(data []byte) davit.Descriptor {
	f.t.Helper()
	d := davit.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	pull := f.pull
	if pull == nil {
		pull = f.Blobs()
	}
	if err := pull.Put(f.t.Context(), d, bytes.NewReader(data)); err != nil {
		f.t.Fatal(err)
	}
	return d
}

func TestUnpack(t *testing.T) {
	f := open(t)
	p := f.pulled(tartest.Make(t, tartest.File("a", "1")), tartest.Make(t, tartest.File("b", "22")))
	var phases []string
	ctx := davit.WithReporter(t.Context(), func(p davit.Progress) { phases = append(phases, p.Phase) })
	img, err := f.Unpack(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Pull complete", "Pull complete"}, phases); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	want := []string{"test@" + p.Target.Digest.String()}
	if !cmp.Equal(img.Tags, []string{"test:v1"}) || !cmp.Equal(img.Digests, want) || img.Size != 3 || img.Config.Hostname != "" || img.Config.Healthcheck == nil {
		t.Errorf("the image is %+v", img)
	}
	if img.History[0].Size != 1 || img.History[1].Size != 0 {
		t.Errorf("the history is %+v", img.History)
	}
	if got, err := f.Get(want[0]); err != nil || got.ID != img.ID {
		t.Errorf("Get(%q) = %s, %v", want[0], got.ID, err)
	}
	done, err := f.Remove("test:v1", false, unused)
	if err != nil || len(done) != 5 || done[1].Untagged != want[0] {
		t.Errorf("Remove = %v, %v", done, err)
	}
	if left := f.left(); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnpackRefuses(t *testing.T) {
	f := open(t)
	data := tartest.Make(t, tartest.File("a", "1"))
	layer := f.put(data)
	manifest := func(layers int, config any) davit.Pulled {
		f.put(data)
		c := f.put(f.json(config))
		list := []map[string]any{}
		for range layers {
			list = append(list, map[string]any{"digest": f.put(data).Digest, "size": layer.Size})
		}
		d := f.put(f.json(map[string]any{"schemaVersion": 2, "config": map[string]any{"digest": c.Digest, "size": c.Size}, "layers": list}))
		return davit.Pulled{Reference: "docker.io/library/bad:latest", Target: d, Manifest: d}
	}
	rootfs := func(diffs ...digest.Digest) map[string]any {
		return map[string]any{"rootfs": map[string]any{"type": "layers", "diff_ids": diffs}}
	}
	raw := func(data string) davit.Pulled {
		d := f.put([]byte(data))
		return davit.Pulled{Reference: "docker.io/library/bad:latest", Target: d, Manifest: d}
	}
	tests := map[string]struct {
		pulled func() davit.Pulled // a failure deletes the blobs
		want   davit.Code
	}{
		"a wrong diff id":        {func() davit.Pulled { return manifest(1, rootfs(digest.FromString("other"))) }, davit.DigestMismatch},
		"too few layers":         {func() davit.Pulled { return manifest(0, rootfs(layer.Digest)) }, davit.InvalidArchive},
		"too many layers":        {func() davit.Pulled { return manifest(2, rootfs(layer.Digest)) }, davit.InvalidArchive},
		"a diff id that is none": {func() davit.Pulled { return manifest(1, rootfs("../../etc")) }, davit.InvalidArchive},
		"a config of a chart":    {func() davit.Pulled { return manifest(1, map[string]any{"name": "chart"}) }, davit.InvalidArchive},
		"no JSON":                {func() davit.Pulled { return raw("no") }, davit.InvalidArchive},
		"schema version 1":       {func() davit.Pulled { return raw(`{"schemaVersion":1}`) }, davit.NotSupported},
		"an index": {func() davit.Pulled {
			return raw(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}`)
		}, davit.NotSupported},
		"an index in disguise": {func() davit.Pulled {
			return raw(`{"schemaVersion":2,"manifests":[],"config":{"digest":"` + layer.Digest.String() + `"}}`)
		}, davit.InvalidArchive},
	}
	for name, tt := range tests {
		_, err := f.Unpack(t.Context(), tt.pulled())
		if err == nil || davit.CodeOf(err) != tt.want {
			t.Errorf("Unpack of %s: %v (%s), want %s", name, err, davit.CodeOf(err), tt.want)
		}
		if all, err := f.List(); err != nil || len(all) > 0 {
			t.Errorf("Unpack of %s left the images %v, %v", name, all, err)
		}
	}
	missing := davit.Descriptor{Digest: digest.FromString("missing")}
	if _, err := f.Unpack(t.Context(), davit.Pulled{Reference: "docker.io/library/bad:latest", Target: missing, Manifest: missing}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Unpack of nothing: %v", err)
	}
	for _, name := range f.left() {
		if !strings.HasPrefix(name, "content/blobs") { // blobs that no manifest names go at the next start
			t.Errorf("left behind: %s", name)
		}
	}
}

// dockerArchive makes what docker save wrote until version 24.
func dockerArchive(t *testing.T, f fixture, names []string, tars ...[]byte) []byte {
	t.Helper()
	var diffs []digest.Digest
	var paths []string
	var entries []tar.Header
	for i, data := range tars {
		d := digest.FromBytes(data)
		diffs = append(diffs, d)
		dir := digest.FromString(string(rune('a' + i))).Encoded()
		if slices.Contains(diffs[:i], d) { // docker save writes a link to the first
			entries = append(entries, tartest.Dir(dir), tartest.Symlink(dir+"/layer.tar", "../"+filepath.Dir(paths[slices.Index(diffs, d)])+"/layer.tar"))
		} else {
			entries = append(entries, tartest.Dir(dir), tartest.File(dir+"/layer.tar", string(data)))
		}
		paths = append(paths, dir+"/layer.tar")
	}
	config := f.json(map[string]any{"os": "linux", "architecture": "amd64", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}})
	name := digest.FromBytes(config).Encoded() + ".json"
	manifest := f.json([]map[string]any{{"Config": name, "RepoTags": names, "Layers": paths}})
	entries = append(entries, tartest.File(name, string(config)), tartest.File("manifest.json", string(manifest)), tartest.File("repositories", "{}"))
	return tartest.Make(t, entries...)
}

func TestLoadDockerArchive(t *testing.T) {
	f := open(t)
	one, two := tartest.Make(t, tartest.File("a", "1")), tartest.Gzip(t, tartest.Make(t, tartest.File("b", "2")))
	archive := dockerArchive(t, f, []string{"x/y:1", "x/y:2"}, one, one)
	for name, data := range map[string][]byte{"plain": archive, "gzip": tartest.Gzip(t, archive), "zstd": tartest.Zstd(t, archive)} {
		images, err := f.Load(t.Context(), davit.Load{Source: bytes.NewReader(data)})
		if err != nil || len(images) != 1 || !cmp.Equal(images[0].Tags, []string{"x/y:1", "x/y:2"}) {
			t.Fatalf("Load of a %s archive = %+v, %v", name, images, err)
		}
		f.checkBlobs(images[0])
		if _, err := f.Remove(images[0].ID.String(), true, unused); err != nil {
			t.Fatal(err)
		}
		if left := f.left(); left != nil {
			t.Fatalf("left behind: %v", left)
		}
	}
	// A layer whose content is not what the config says.
	_, err := f.Load(t.Context(), davit.Load{Source: bytes.NewReader(dockerArchive(t, f, []string{"bad"}, one, two))})
	if davit.CodeOf(err) != davit.DigestMismatch {
		t.Errorf("Load of a wrong layer: %v", err)
	}
	if left := f.left(); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestLoadRefuses(t *testing.T) {
	f := open(t)
	tests := map[string][]tar.Header{
		"a root directory":  {tartest.Dir("etc"), tartest.File("etc/passwd", "x")},
		"no config":         {tartest.File("manifest.json", `[{"Config":"c.json","Layers":[]}]`)},
		"a path outside":    {tartest.File("manifest.json", `[{"Config":"../../../../../../etc/passwd","Layers":[]}]`)},
		"a link outside":    {tartest.Symlink("c.json", "/etc/passwd"), tartest.File("manifest.json", `[{"Config":"c.json","Layers":[]}]`)},
		"a link to itself":  {tartest.Symlink("c.json", "c.json"), tartest.File("manifest.json", `[{"Config":"c.json","Layers":[]}]`)},
		"an empty list":     {tartest.File("manifest.json", `[]`)},
		"no list":           {tartest.File("manifest.json", `{}`)},
		"an invalid name":   {tartest.File("c.json", `{"rootfs":{"type":"layers"}}`), tartest.File("manifest.json", `[{"Config":"c.json","RepoTags":["A B"],"Layers":[]}]`)},
		"a missing blob":    {tartest.File("index.json", `{"manifests":[{"digest":"sha256:`+strings.Repeat("0", 64)+`"}]}`)},
		"a blob outside":    {tartest.File("index.json", `{"manifests":[{"digest":"sha256:../../etc/passwd"}]}`)},
		"a loop of indexes": {tartest.File("index.json", `{"manifests":[]}`)},
	}
	for name, entries := range tests {
		_, err := f.Load(t.Context(), davit.Load{Source: bytes.NewReader(tartest.Make(t, entries...))})
		if davit.CodeOf(err) != davit.InvalidArchive {
			t.Errorf("Load of %s: %v, want InvalidArchive", name, err)
		}
		t.Logf("Load of %s: %v", name, err)
		if left := f.left(); left != nil {
			t.Fatalf("%s: left behind: %v", name, left)
		}
	}
	wrong := "blobs/sha256/" + strings.Repeat("0", 64)
	_, err := f.Load(t.Context(), davit.Load{Source: bytes.NewReader(tartest.Make(t, tartest.File(wrong, "{}"),
		tartest.File("index.json", `{"manifests":[{"digest":"sha256:`+strings.Repeat("0", 64)+`"}]}`)))})
	if davit.CodeOf(err) != davit.DigestMismatch {
		t.Errorf("Load of a blob with a wrong digest: %v", err)
	}
	if left := f.left(); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// TestLoadFromSkopeo loads archives that another implementation wrote.
func TestLoadFromSkopeo(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo")
	}
	f := open(t)
	dir := t.TempDir()
	in := filepath.Join(dir, "in.tar")
	data := dockerArchive(t, f, []string{"test:v1"}, tartest.Make(t, tartest.File("a", "1")), tartest.Make(t, tartest.File("b", "2")))
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"docker-archive", "oci-archive"} {
		out := filepath.Join(dir, to+".tar")
		cmd := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "docker-archive:"+in, to+":"+out+":example.org/copy:v2")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("skopeo: %v\n%s", err, text)
		}
		archive, err := os.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		images, err := f.Load(t.Context(), davit.Load{Source: archive})
		if err := errors.Join(err, archive.Close()); err != nil {
			t.Fatalf("Load of skopeo's %s: %v", to, err)
		}
		if len(images) != 1 || !cmp.Equal(images[0].Tags, []string{"example.org/copy:v2"}) || images[0].Size != 2 {
			t.Errorf("Load of skopeo's %s = %+v", to, images)
		}
		f.checkBlobs(images[0])
	}
}

// TestLoadMixture loads what docker save writes now: an OCI layout that has a
// manifest.json, too, which names more images than the index does.
func TestLoadMixture(t *testing.T) {
	f := open(t)
	const manifestType, indexType = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	blob := func(data []byte) (tar.Header, davit.Descriptor) {
		d := davit.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
		return tartest.File("blobs/sha256/"+d.Digest.Encoded(), string(data)), d
	}
	desc := func(mediaType string, d davit.Descriptor) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": d.Digest, "size": d.Size}
	}
	data := tartest.Make(t, tartest.File("a", "1"))
	layerFile, layer := blob(tartest.Zstd(t, data))
	configFile, config := blob(f.json(map[string]any{"os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(data)}}}))
	manifestFile, manifest := blob(f.json(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": desc("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{desc("application/vnd.oci.image.layer.v1.tar+zstd", layer)},
	}))
	platform := func(d map[string]any, os, arch string) map[string]any {
		d["platform"] = map[string]any{"os": os, "architecture": arch}
		return d
	}
	other := davit.Descriptor{Digest: digest.FromString("not in the archive"), Size: 1}
	indexFile, index := blob(f.json(map[string]any{"schemaVersion": 2, "manifests": []any{
		platform(desc(manifestType, other), "linux", "s390x"), platform(desc(manifestType, other), "unknown", "unknown"),
		platform(desc(manifestType, manifest), "linux", runtime.GOARCH),
	}}))
	top := desc(indexType, index)
	top["annotations"] = map[string]any{"io.containerd.image.name": "docker.io/library/mix:1", "org.opencontainers.image.ref.name": "1"}
	images, err := f.Load(t.Context(), davit.Load{Source: bytes.NewReader(tartest.Make(t,
		tartest.Dir("blobs"), layerFile, configFile, manifestFile, indexFile, tartest.File("oci-layout", `{"imageLayoutVersion":"1.0.0"}`),
		tartest.File("index.json", string(f.json(map[string]any{"schemaVersion": 2, "manifests": []any{top}}))),
		tartest.File("manifest.json", string(f.json([]any{map[string]any{"Config": configFile.Name, "RepoTags": []string{"mix:1", "mix:2"}, "Layers": []string{layerFile.Name}}}))),
	))})
	if err != nil || len(images) != 1 || !cmp.Equal(images[0].Tags, []string{"mix:1", "mix:2"}) || images[0].Manifest != manifest.Digest {
		t.Fatalf("Load = %+v, %v", images, err)
	}
	f.checkBlobs(images[0])
	if _, err := f.Remove(images[0].ID.String(), true, unused); err != nil {
		t.Fatal(err)
	}
	if left := f.left(); left != nil {
		t.Errorf("left behind: %v", left)
	}
}
