// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/images"
	"github.com/opencontainers/go-digest"
)

// TestImages checks an [images.Store]. open returns an empty one.
func TestImages(t *testing.T, open func(t *testing.T) images.Store) {
	for name, test := range map[string]func(*testing.T, images.Store){
		"import": testImport, "import refuses": testImportRefusals, "tag": testTag, "find": testFindImage,
		"remove": testRemoveImage, "remove in use": testRemoveUsed, "unpack": testUnpack,
		"unpack refuses": testUnpackRefusals, "load": testLoad, "load refuses": testLoadRefusals,
		"export": testExport, "export refuses": testExportRefusals, "original": testOriginal, "size": testSize, "digest": testAddDigest,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func unused(digest.Digest) string { return "" }

func importImage(t *testing.T, s images.Store, name string, files map[string]string) davit.Image {
	t.Helper()
	return result(s.Import(t.Context(), davit.Import{Reference: name, Source: bytes.NewReader(fake.Tar(files))}))(t)
}

func wantImages(t *testing.T, s images.Store, want int, after string) {
	t.Helper()
	if all := result(s.List())(t); len(all) != want {
		t.Errorf("%s: %d images, want %d", after, len(all), want)
	}
}

func testImport(t *testing.T, s images.Store) {
	wantImages(t, s, 0, "at first")
	img := result(s.Import(t.Context(), davit.Import{
		Reference: "example/thing:1.14", Source: bytes.NewReader(fake.Tar(map[string]string{"etc/motd": "hello"})), Message: "why",
		Changes: []string{`CMD ["/bin/sh","-c","exit 3"]`, "ENV VERSION=1.14"},
	}))(t)
	if err := img.ID.Validate(); err != nil || !slices.Equal(img.Tags, []string{"example/thing:1.14"}) || len(img.Layers) != 1 {
		t.Errorf("imported %+v", img)
	}
	if !slices.Equal(img.Config.Cmd, []string{"/bin/sh", "-c", "exit 3"}) || !slices.Equal(img.Config.Env, []string{"VERSION=1.14"}) {
		t.Errorf("the changes made %+v", img.Config)
	}
	if img.OS != "linux" {
		t.Errorf("imported for %q", img.OS)
	}
	if d := diff(img, result(s.Get("example/thing:1.14"))(t)); d != "" {
		t.Errorf("what import returned is not what is there (-want +got):\n%s", d)
	}
	nameless := importImage(t, s, "", map[string]string{"other": "x"})
	if len(nameless.Tags) != 0 {
		t.Errorf("an import without a name has the tags %v", nameless.Tags)
	}
	wantImages(t, s, 2, "after two imports")
}

func testImportRefusals(t *testing.T, s images.Store) {
	good := fake.Tar(map[string]string{"file": strings.Repeat("x", 100_000)})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		req  davit.Import
		code davit.Code
	}{
		{"no archive", t.Context(), davit.Import{Source: strings.NewReader("this is not an archive, whatever it is called")}, davit.InvalidArchive},
		{"nothing", t.Context(), davit.Import{Source: strings.NewReader("")}, davit.InvalidArchive},
		{"half an archive", t.Context(), davit.Import{Source: bytes.NewReader(good[:len(good)/2])}, davit.InvalidArchive},
		{"a bad name", t.Context(), davit.Import{Reference: "example.com/UPPER", Source: bytes.NewReader(good)}, davit.InvalidName},
		{"a digest for a name", t.Context(), davit.Import{Reference: "x@" + digest.FromString("x").String(), Source: bytes.NewReader(good)}, davit.InvalidName},
		{"an unknown change", t.Context(), davit.Import{Changes: []string{"FROBNICATE x"}, Source: bytes.NewReader(good)}, davit.InvalidConfiguration},
		{"an ended context", canceled, davit.Import{Source: bytes.NewReader(good)}, davit.Failed},
		{"a reader that fails", t.Context(), davit.Import{Source: io.MultiReader(bytes.NewReader(good[:600]), iotest.ErrReader(fake.ErrInjected))}, ""},
	} {
		_, err := s.Import(c.ctx, c.req)
		switch {
		case c.code != "":
			wantCode(t, err, c.code, c.name)
		case err == nil:
			t.Errorf("%s: imported", c.name)
		}
		wantImages(t, s, 0, c.name)
	}
}

func testTag(t *testing.T, s images.Store) {
	one := importImage(t, s, "one", map[string]string{"1": "one"})
	two := importImage(t, s, "two:v2", map[string]string{"2": "two"})
	must(t, s.Tag("one", "example.com:5000/app/web"))
	img := result(s.Get(one.ID.String()))(t)
	slices.Sort(img.Tags)
	if want := []string{"example.com:5000/app/web:latest", "one:latest"}; !slices.Equal(img.Tags, want) {
		t.Errorf("tags %v, want %v", img.Tags, want)
	}
	must(t, s.Tag(two.ID.String(), "one:latest")) // moves it
	if got := result(s.Get("one"))(t); got.ID != two.ID {
		t.Errorf("the tag means %s, want %s", got.ID, two.ID)
	}
	wantCode(t, s.Tag("nobody", "x"), davit.NoSuchImage, "tagging an image that does not exist")
	for _, bad := range []string{"", "Upper", "a b", "a:b:c", "x@" + one.ID.String()} {
		wantCode(t, s.Tag("one", bad), davit.InvalidName, "tagging as "+bad)
	}
}

func testFindImage(t *testing.T, s images.Store) {
	img := importImage(t, s, "library/thing:v1", map[string]string{"f": "x"})
	hex := img.ID.Encoded()
	for _, ref := range []string{"thing:v1", "docker.io/library/thing:v1", "docker.io/thing:v1", img.ID.String(), hex, hex[:12], "sha256:" + hex[:12]} {
		if got, err := s.Get(ref); err != nil || got.ID != img.ID {
			t.Errorf("get %s: %s, %v", ref, got.ID, err)
		}
	}
	for _, ref := range []string{"thing", "thing:v2", "other/thing:v1", digest.FromString("no").String(), digest.FromString("no").Encoded()} {
		_, err := s.Get(ref)
		wantCode(t, err, davit.NoSuchImage, "getting "+ref)
	}
	if _, err := s.Get(""); err == nil {
		t.Error("there is an image without any name")
	}
	seen := map[string]bool{hex[:1]: true}
	for i := 0; ; i++ { // 16 first digits: the 17th image shares one
		next := importImage(t, s, "", map[string]string{"f": fmt.Sprint(i)}).ID.Encoded()[:1]
		if seen[next] {
			_, err := s.Get(next)
			wantCode(t, err, davit.AmbiguousName, "getting an id prefix that two images share")
			return
		}
		seen[next] = true
	}
}

func testRemoveImage(t *testing.T, s images.Store) {
	_, err := s.Remove("nobody", true, unused)
	wantCode(t, err, davit.NoSuchImage, "removing an image that does not exist")
	img := importImage(t, s, "thing:v1", map[string]string{"f": "x"})
	must(t, s.Tag("thing:v1", "thing:v2"))
	done := result(s.Remove("thing:v1", false, unused))(t)
	if d := diff([]davit.ImageDeletion{{Untagged: "thing:v1"}}, done); d != "" {
		t.Errorf("removing one of two names (-want +got):\n%s", d)
	}
	if got := result(s.Get("thing:v2"))(t); got.ID != img.ID {
		t.Errorf("the other name means %s", got.ID)
	}
	done = result(s.Remove("thing:v2", false, unused))(t)
	if len(done) < 2 || done[0].Untagged != "thing:v2" || done[1].Deleted != img.ID.String() {
		t.Errorf("removing the last name: %+v", done)
	}
	wantImages(t, s, 0, "after the last name has gone")
	importImage(t, s, "back:again", map[string]string{"f": "x"})
	must(t, s.Tag("back:again", "second:name"))
	id := result(s.Get("back:again"))(t).ID.String()
	_, err = s.Remove(id, false, unused)
	wantCode(t, err, davit.ImageInUse, "removing, by its id, an image with names in two repositories")
	wantImages(t, s, 1, "after a refused removal")
	result(s.Remove(id, true, unused))(t)
	wantImages(t, s, 0, "after a forced removal by id")
}

func testRemoveUsed(t *testing.T, s images.Store) {
	img := importImage(t, s, "used:v1", map[string]string{"f": "x"})
	user := fake.ID("container")
	asked := func(id digest.Digest) string {
		if id != img.ID {
			t.Errorf("asked who uses %s, not %s", id, img.ID)
		}
		return user
	}
	for _, ref := range []string{"used:v1", img.ID.String(), img.ID.Encoded()[:12]} {
		_, err := s.Remove(ref, false, asked)
		wantCode(t, err, davit.ImageInUse, "removing an image in use by "+ref)
	}
	if got := result(s.Get("used:v1"))(t); !slices.Equal(got.Tags, []string{"used:v1"}) {
		t.Errorf("a refused removal left %+v", got)
	}
	result(s.Remove("used:v1", true, asked))(t)
	_, err := s.Get("used:v1")
	wantCode(t, err, davit.NoSuchImage, "getting a name that was removed by force")
}

func testUnpack(t *testing.T, s images.Store) {
	config := davit.ContainerConfig{Env: []string{"VERSION=1.14"}, Entrypoint: []string{"/entry"}, Labels: map[string]string{"v": "1.0"}}
	b := fake.Build(runtime.GOARCH, config, map[string]string{"a": "1", "b": "1"}, map[string]string{"b": "2"})
	index := fake.Index(map[string]fake.Built{runtime.GOARCH: b})
	must(t, index.Put(t.Context(), s.Blobs()))
	img := result(s.Unpack(t.Context(), davit.Pulled{Reference: "example.com/app:v1", Target: index.Target, Manifest: b.Target}))(t)
	if img.ID != b.Config || !slices.Equal(img.Layers, b.Layers) {
		t.Errorf("unpacked %s of %v, want %s of %v", img.ID, img.Layers, b.Config, b.Layers)
	}
	if d := diff(config, img.Config); d != "" {
		t.Errorf("its config (-want +got):\n%s", d)
	}
	if !slices.Equal(img.Tags, []string{"example.com/app:v1"}) || !slices.Equal(img.Digests, []string{"example.com/app@" + index.Target.Digest.String()}) {
		t.Errorf("it is called %v and %v", img.Tags, img.Digests)
	}
	if got := result(s.Get("example.com/app@" + index.Target.Digest.String()))(t); got.ID != img.ID {
		t.Errorf("its repository digest means %s", got.ID)
	}
	again := result(s.Unpack(t.Context(), davit.Pulled{Reference: "example.com/app:v1", Target: index.Target, Manifest: b.Target}))(t)
	if d := diff(img, again); d != "" {
		t.Errorf("unpacked again it changed (-want +got):\n%s", d)
	}
	for dgst := range index.Blobs {
		if !s.Blobs().Has(dgst) {
			t.Errorf("the blob %s has gone", dgst)
		}
	}
}

func testUnpackRefusals(t *testing.T, s images.Store) {
	good := fake.Build(runtime.GOARCH, davit.ContainerConfig{}, map[string]string{"a": "1"})
	other := fake.Build(runtime.GOARCH, davit.ContainerConfig{}, map[string]string{"a": "2"})

	const noJSON = `{"schemaVersion":2`
	lame := fake.Built{Target: fake.Describe(noJSON), Blobs: map[digest.Digest][]byte{digest.FromString(noJSON): []byte(noJSON)}}
	for _, c := range []struct {
		name  string
		image fake.Built
		codes []davit.Code
	}{
		{"layers that are not the config's", good.WithLayersOf(other), []davit.Code{davit.DigestMismatch, davit.InvalidArchive}},
		{"a manifest that is no JSON", lame, []davit.Code{davit.InvalidArchive}},
		{"a manifest that is not there", fake.Built{Target: fake.Describe("nowhere")}, []davit.Code{davit.Failed, davit.NoSuchImage}},
	} {
		must(t, c.image.Put(t.Context(), s.Blobs()))
		_, err := s.Unpack(t.Context(), davit.Pulled{Reference: "docker.io/library/bad:latest", Target: c.image.Target, Manifest: c.image.Target})
		if err == nil || !slices.Contains(c.codes, davit.CodeOf(err)) {
			t.Errorf("%s: %v, want an error with one of the codes %v", c.name, err, c.codes)
		}
		wantImages(t, s, 0, c.name)
		_, err = s.Get("bad")
		wantCode(t, err, davit.NoSuchImage, "getting what was not unpacked")
	}
}

func testLoad(t *testing.T, s images.Store) {
	b := fake.Build(runtime.GOARCH, davit.ContainerConfig{Env: []string{"V=1.14"}}, map[string]string{"a": "1"}, map[string]string{"b": "2"})
	images := result(s.Load(t.Context(), davit.Load{Source: bytes.NewReader(b.Archive("loaded:v1", "loaded:v2"))}))(t)
	if len(images) != 1 || images[0].ID != b.Config || !slices.Equal(images[0].Layers, b.Layers) {
		t.Fatalf("loaded %+v", images)
	}
	for _, tag := range []string{"loaded:v1", "loaded:v2"} {
		if got := result(s.Get(tag))(t); got.ID != b.Config || !slices.Equal(got.Config.Env, []string{"V=1.14"}) {
			t.Errorf("%s is %+v", tag, got)
		}
	}
	result(s.Load(t.Context(), davit.Load{Source: bytes.NewReader(b.Archive("loaded:v1"))}))(t)
	wantImages(t, s, 1, "after loading it twice")
}

func testLoadRefusals(t *testing.T, s images.Store) {
	whole := fake.Build(runtime.GOARCH, davit.ContainerConfig{}, map[string]string{"a": strings.Repeat("x", 50_000)})
	damaged := fake.Build(runtime.GOARCH, davit.ContainerConfig{}, map[string]string{"a": "1"})
	damaged.Blobs[damaged.Layers[0]] = fake.Tar(map[string]string{"a": "another"})
	archive := whole.Archive("x:y")
	for name, data := range map[string][]byte{
		"no archive":                  []byte("no archive at all"),
		"an archive without manifest": fake.Tar(map[string]string{"a": "b"}),
		"half an archive":             archive[:len(archive)/2],
	} {
		_, err := s.Load(t.Context(), davit.Load{Source: bytes.NewReader(data)})
		wantCode(t, err, davit.InvalidArchive, "loading "+name)
		wantImages(t, s, 0, name)
	}
	_, err := s.Load(t.Context(), davit.Load{Source: bytes.NewReader(damaged.Archive("x:y"))})
	if err == nil {
		t.Error("loading a layer that is not the config's succeeded")
	}
	wantImages(t, s, 0, "a damaged layer")
}
