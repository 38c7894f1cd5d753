// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"testing"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
)

// FuzzManifest reads any manifest that a registry sends: what is taken is that
// of an image, each of whose parts can be held to a digest and a size.
func FuzzManifest(f *testing.F) {
	const oci, list = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	const blob = `"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1`
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",`+blob+`},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",`+blob+`}]}`), oci)
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"`+list+`","manifests":[{"mediaType":"`+oci+`",`+blob+`,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}`), list)
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`), "")
	f.Add([]byte(`{"config":{"digest":"sha256:../../x","size":-1},"layers":[null]}`), oci)
	named, err := reference.ParseNormalizedNamed("example.test/a")
	if err != nil {
		f.Fatal(err)
	}
	s := &session{named: named}
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		m, err := s.check(body, header, davit.Descriptor{})
		if err != nil {
			return
		}
		if m.isIndex() {
			_, _ = choose(m.Manifests, davit.Platform{OS: "linux", Architecture: "amd64"})
			return
		}
		if s.checkImage(m) != nil {
			return
		}
		for _, c := range append([]content{*m.Config}, m.Layers...) {
			if c.Digest.Validate() != nil || c.Size < 0 {
				t.Errorf("taken is %+v", c)
			}
		}
	})
}
