// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"bytes"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/opencontainers/go-digest"
)

// FuzzLoad loads archives of any manifest, index, config and layer: they are
// images, which can be removed, or refused as the user's fault; nothing is left.
func FuzzLoad(f *testing.F) {
	testutil.RequireRoot(f)
	layer := tartest.Make(f, tartest.File("file", "text"))
	config := []byte(`{"os":"linux","architecture":"amd64","config":{},"rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(layer).String() + `"]}}`)
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l"]}]`), []byte(`{}`), config, layer)
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["A B"],"Layers":["l","l"]}]`), []byte(``), config, layer)
	f.Add([]byte(`[{"Config":"../c.json","Layers":["/l"]},{"Config":"c.json"}]`), []byte(``), []byte(`{"rootfs":{"type":"layers"}}`), layer)
	f.Add([]byte(``), []byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"`+digest.FromString("{}").String()+`","size":2}]}`), []byte(`{}`), layer)
	f.Fuzz(func(t *testing.T, manifest, index, config, layer []byte) {
		s := open(t)
		entries := []struct {
			name string
			data []byte
		}{{"l", layer}, {"c.json", config}, {"blobs/sha256/" + digest.FromBytes(config).Encoded(), config}, {"index.json", index}, {"manifest.json", manifest}}
		var archive bytes.Buffer
		for i, e := range entries {
			if len(e.data) == 0 {
				continue
			}
			piece := tartest.Make(t, tartest.File(e.name, string(e.data)))
			if i < len(entries)-1 || len(manifest) == 0 {
				piece = piece[:len(piece)-1024] // the mark of the end
			}
			archive.Write(piece)
		}
		images, err := s.Load(t.Context(), davit.Load{Source: &archive})
		if err != nil && davit.KindOf(err) == davit.Internal {
			t.Errorf("%v", err)
		}
		for _, img := range images {
			if _, err := s.Remove(img.ID.String(), true, unused); err != nil {
				t.Errorf("cannot remove what was loaded: %v", err)
			}
		}
		if left := s.left(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}
