// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/google/go-cmp/cmp"
)

// save exports images to a file and returns its name.
func (f fixture) save(req davit.Save) string {
	f.t.Helper()
	file, err := os.Create(filepath.Join(f.t.TempDir(), "saved.tar"))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Open = func() (io.Writer, error) { return file, nil }
	_, err = f.Export(f.t.Context(), req)
	if err := errors.Join(err, file.Close()); err != nil {
		f.t.Fatal(err)
	}
	return file.Name()
}

func (f fixture) pullTest() (davit.Image, davit.Pulled) {
	f.t.Helper()
	p := f.pulled(tartest.Make(f.t, tartest.File("a", "1")), tartest.Make(f.t, tartest.File("b", "2")))
	img, err := f.Unpack(f.t.Context(), p)
	if err != nil {
		f.t.Fatal(err)
	}
	return img, p
}

// TestExportForOthers has skopeo read what was saved, as a docker-archive and
// as an OCI layout: the layers that come out are those that came in.
func TestExportForOthers(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo")
	}
	f := open(t)
	img, p := f.pullTest()
	if err := f.Tag("test:v1", "example.org/other:v2"); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) []byte {
		t.Helper()
		var errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "skopeo", append([]string{"--insecure-policy"}, args...)...)
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("skopeo %q: %v\n%s", args, err, errs.Bytes())
		}
		return out
	}
	both := f.save(davit.Save{Images: []string{"test:v1", "example.org/other"}})
	for _, name := range []string{"docker-archive:" + both + ":docker.io/library/test:v1", "docker-archive:" + both + ":example.org/other:v2"} {
		dir := t.TempDir()
		run("copy", name, "dir:"+dir)
		if _, err := os.Stat(filepath.Join(dir, img.ID.Encoded())); err != nil {
			t.Errorf("%s is another image: %v", name, err)
		}
	}
	layout := t.TempDir()
	one := f.save(davit.Save{Images: []string{"test:v1"}, Format: "oci"})
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", layout, "-xf", one).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(layout, "manifest.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an OCI layout alone has a manifest.json: %v", err)
	}
	out := t.TempDir()
	run("copy", "--preserve-digests", "oci:"+layout, "dir:"+out)
	raw, err := os.ReadFile(filepath.Join(out, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var blobs bytes.Buffer
	if r, err := f.blobs.Open(t.Context(), p.Manifest.Digest); err != nil {
		t.Fatal(err)
	} else if _, err := io.Copy(&blobs, r); err != nil || r.Close() != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, blobs.Bytes()) {
		t.Errorf("the manifest came out as\n%s\nand came in as\n%s", raw, blobs.Bytes())
	}
}

// TestExportContent holds the archive against the form that docker save has
// since version 25.
func TestExportContent(t *testing.T) {
	f := open(t)
	img, p := f.pullTest()
	data, err := os.ReadFile(f.save(davit.Save{Images: []string{"test"}}))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[hdr.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
	var docker []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &docker); err != nil || len(docker) != 1 {
		t.Fatalf("manifest.json: %v\n%s", err, files["manifest.json"])
	}
	if d := docker[0]; d.Config != "blobs/sha256/"+img.ID.Encoded() || !slices.Equal(d.RepoTags, []string{"test:v1"}) || len(d.Layers) != 2 {
		t.Errorf("manifest.json: %+v", d)
	}
	for _, name := range append(docker[0].Layers, docker[0].Config, "blobs/sha256/"+p.Manifest.Digest.Encoded()) {
		if len(files[name]) == 0 {
			t.Errorf("the archive has no %s", name)
		}
	}
	for name, want := range map[string]string{
		"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"index.json": `"io.containerd.image.name":"docker.io/library/test:v1","org.opencontainers.image.ref.name":"v1"`,
	} {
		if !strings.Contains(string(files[name]), want) {
			t.Errorf("%s is %s, and has no %s", name, files[name], want)
		}
	}
}

// TestExportWithoutBlob names what is missing before the archive is begun.
func TestExportWithoutBlob(t *testing.T) {
	f := open(t)
	img, p := f.pullTest()
	f.pull = nil
	if err := os.Remove(filepath.Join(f.root, "content/blobs/sha256", p.Manifest.Digest.Encoded())); err != nil {
		t.Fatal(err)
	}
	_, err := f.Export(t.Context(), davit.Save{Images: []string{"test:v1"}, Open: func() (io.Writer, error) {
		t.Error("the archive was begun")
		return io.Discard, nil
	}})
	if err == nil || !strings.Contains(err.Error(), davit.ShortID(img.ID.String())) || !strings.Contains(err.Error(), "pull or load it again") {
		t.Errorf("Export: %v", err)
	}
	if _, err := f.Original(t.Context(), "test:v1"); err == nil {
		t.Error("Original succeeded")
	}
}

// TestExportHolds removes an image while it is being saved: its blobs go when
// the archive is complete.
func TestExportHolds(t *testing.T) {
	f := open(t)
	f.pullTest()
	f.pull = nil
	var archive bytes.Buffer
	_, err := f.Export(t.Context(), davit.Save{Images: []string{"test:v1"}, Open: func() (io.Writer, error) {
		_, err := f.Remove("test:v1", true, unused)
		return &archive, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if left := f.left(); left != nil {
		t.Errorf("left behind: %v", left)
	}
	images, err := f.Load(t.Context(), davit.Load{Source: &archive})
	if err != nil || len(images) != 1 || !cmp.Equal(images[0].Tags, []string{"test:v1"}) {
		t.Errorf("Load = %+v, %v", images, err)
	}
}

// TestLoadNamesWhatCame loads an image that has another name here: only the
// archive's is told.
func TestLoadNamesWhatCame(t *testing.T) {
	f := open(t)
	img, _ := f.pullTest()
	f.pull = nil
	for _, tt := range []struct {
		save string
		want []string
	}{
		{"test:v1", []string{"test:v1"}},
		{img.ID.String(), nil},
	} {
		var archive bytes.Buffer
		if _, err := f.Export(t.Context(), davit.Save{Images: []string{tt.save}, Open: func() (io.Writer, error) { return &archive, nil }}); err != nil {
			t.Fatal(err)
		}
		if err := f.Tag(img.ID.String(), "other:1"); err != nil {
			t.Fatal(err)
		}
		images, err := f.Load(t.Context(), davit.Load{Source: &archive})
		if err != nil || len(images) != 1 || !slices.Equal(images[0].Tags, tt.want) {
			t.Errorf("%s: Load = %+v, %v, want the names %q", tt.save, images, err, tt.want)
		}
	}
}
