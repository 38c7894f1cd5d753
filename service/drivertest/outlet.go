// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/images"
	"github.com/opencontainers/go-digest"
)

// export saves images and returns the archive.
func export(t *testing.T, s images.Store, refs ...string) ([]davit.Image, []byte) {
	t.Helper()
	var archive bytes.Buffer
	saved := result(s.Export(t.Context(), davit.Save{Images: refs, Open: func() (io.Writer, error) { return &archive, nil }}))(t)
	return saved, archive.Bytes()
}

func removeAll(t *testing.T, s images.Store) {
	t.Helper()
	for _, i := range result(s.List())(t) {
		result(s.Remove(i.ID.String(), true, unused))(t)
	}
	wantImages(t, s, 0, "after all were removed")
}

func testExport(t *testing.T, s images.Store) {
	one := importImage(t, s, "example.com:5000/team/app:v1", map[string]string{"app": "1"})
	two := importImage(t, s, "example.com:5000/team/app:v2", map[string]string{"app": "2"})
	must(t, s.Tag(one.ID.String(), "example.com:5000/team/app:old"))
	must(t, s.Tag(one.ID.String(), "other:latest"))
	importImage(t, s, "example.com:5000/team/apple:v1", map[string]string{"app": "apple"})
	for _, c := range []struct {
		name string
		refs []string
		want map[string]digest.Digest // tags and nothing else
	}{
		{"a tag", []string{"example.com:5000/team/app:v1"}, map[string]digest.Digest{"example.com:5000/team/app:v1": one.ID}},
		{"latest", []string{"other"}, map[string]digest.Digest{"other:latest": one.ID}},
		{"two tags of one image", []string{"example.com:5000/team/app:v1", "other:latest", "other"}, map[string]digest.Digest{
			"example.com:5000/team/app:v1": one.ID, "other:latest": one.ID,
		}},
		{"a repository", []string{"example.com:5000/team/app"}, map[string]digest.Digest{
			"example.com:5000/team/app:v1": one.ID, "example.com:5000/team/app:v2": two.ID, "example.com:5000/team/app:old": one.ID,
		}},
		{"two images", []string{"example.com:5000/team/app:v2", "other"}, map[string]digest.Digest{
			"example.com:5000/team/app:v2": two.ID, "other:latest": one.ID,
		}},
	} {
		saved, archive := export(t, s, c.refs...)
		ids := map[digest.Digest]bool{}
		for _, id := range c.want {
			ids[id] = true
		}
		if len(saved) != len(ids) {
			t.Errorf("%s: %d images were saved, want %d", c.name, len(saved), len(ids))
		}
		again, same := export(t, s, c.refs...)
		if len(again) != len(saved) || !bytes.Equal(archive, same) {
			t.Errorf("%s: saved twice, the archives differ", c.name)
		}
		_, everything := export(t, s, "example.com:5000/team/app", "other", "example.com:5000/team/apple")
		removeAll(t, s)
		result(s.Load(t.Context(), davit.Load{Source: bytes.NewReader(archive)}))(t)
		got := map[string]digest.Digest{}
		for _, i := range result(s.List())(t) {
			for _, tag := range i.Tags {
				got[tag] = i.ID
			}
		}
		if d := diff(c.want, got); d != "" {
			t.Errorf("%s: loaded (-want +got):\n%s", c.name, d)
		}
		removeAll(t, s)
		result(s.Load(t.Context(), davit.Load{Source: bytes.NewReader(everything)}))(t)
	}
	_, nameless := export(t, s, one.ID.Encoded()[:12])
	removeAll(t, s)
	back := result(s.Load(t.Context(), davit.Load{Source: bytes.NewReader(nameless)}))(t)
	if len(back) != 1 || back[0].ID != one.ID || len(back[0].Tags) != 0 {
		t.Errorf("saved by its id, it came back as %+v", back)
	}
}

// brokenWriter takes some bytes and then fails.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, fake.ErrInjected
	}
	return len(p), nil
}

func testExportRefusals(t *testing.T, s images.Store) {
	importImage(t, s, "here:v1", map[string]string{"app": string(make([]byte, 100_000))})
	opened := 0
	open := func(w io.Writer) func() (io.Writer, error) {
		return func() (io.Writer, error) { opened++; return w, nil }
	}
	for _, refs := range [][]string{{"nobody"}, {"here:v1", "nobody"}, {"here:v2"}} {
		_, err := s.Export(t.Context(), davit.Save{Images: refs, Open: open(io.Discard)})
		wantCode(t, err, davit.NoSuchImage, "saving "+refs[len(refs)-1])
	}
	if opened != 0 {
		t.Errorf("the writer was asked for %d times before the images were known to be there", opened)
	}
	_, err := s.Export(t.Context(), davit.Save{Images: []string{"here:v1"}, Open: open(&brokenWriter{5000})})
	if !errors.Is(err, fake.ErrInjected) {
		t.Errorf("a writer that fails: %v", err)
	}
	_, err = s.Export(t.Context(), davit.Save{Images: []string{"here:v1"}, Open: func() (io.Writer, error) { return nil, fake.ErrInjected }})
	if !errors.Is(err, fake.ErrInjected) {
		t.Errorf("no writer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = s.Export(ctx, davit.Save{Images: []string{"here:v1"}, Open: open(io.Discard)}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	wantImages(t, s, 1, "after all that")
}

func testOriginal(t *testing.T, s images.Store) {
	_, err := s.Original(t.Context(), "nobody")
	wantCode(t, err, davit.NoSuchImage, "asking for the original of an image that does not exist")
	b := fake.Build(runtime.GOARCH, davit.ContainerConfig{}, map[string]string{"a": "1"}, map[string]string{"b": "2"})
	must(t, b.Put(t.Context(), s.Blobs()))
	result(s.Unpack(t.Context(), davit.Pulled{Reference: "example.com/app:v1", Target: b.Target, Manifest: b.Target}))(t)
	o := result(s.Original(t.Context(), "example.com/app:v1"))(t)
	if d := diff(b.Target, o.Manifest); d != "" || o.Image.ID != b.Config {
		t.Errorf("the original of %s (-want +got):\n%s", o.Image.ID, d)
	}
	result(s.Remove("example.com/app:v1", true, unused))(t)
	for dgst, data := range b.Blobs {
		if back := result(fake.ReadBlob(t.Context(), o.Blobs, dgst))(t); !bytes.Equal(back, data) {
			t.Errorf("the blob %s is not as it came", dgst)
		}
	}
	must(t, o.Release())
}

func testAddDigest(t *testing.T, s images.Store) {
	img := importImage(t, s, "example.com/app:v1", map[string]string{"app": "1"})
	target := fake.Describe("a manifest")
	must(t, s.AddDigest(img.ID, "example.com/app:v1", target))
	must(t, s.AddDigest(img.ID, "example.com/app:v1", target)) // once more changes nothing
	name := "example.com/app@" + target.Digest.String()
	if got := result(s.Get(name))(t); got.ID != img.ID || !slices.Equal(got.Digests, []string{name}) {
		t.Errorf("by its digest it is %+v", got)
	}
	wantCode(t, s.AddDigest(digest.FromString("no"), "example.com/app:v1", target), davit.NoSuchImage, "adding a digest to what does not exist")
}

func testSize(t *testing.T, s images.Store) {
	want := func(n int64, after string) {
		t.Helper()
		if got := result(s.Size())(t); got != n {
			t.Errorf("%s: %d bytes, want %d", after, got, n)
		}
	}
	want(0, "at first")
	base := map[string]string{"base": "12345"}
	for i, app := range []string{"a", "ab"} {
		b := fake.Build(runtime.GOARCH, davit.ContainerConfig{}, base, map[string]string{"app": app})
		must(t, b.Put(t.Context(), s.Blobs()))
		name := fmt.Sprintf("example.com/app:v%d", i)
		result(s.Unpack(t.Context(), davit.Pulled{Reference: name, Target: b.Target, Manifest: b.Target}))(t)
	}
	want(5+1+2, "with two images over one layer")
	result(s.Remove("example.com/app:v1", true, unused))(t)
	want(5+1, "after one has gone")
}
