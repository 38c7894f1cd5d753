// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

const (
	// maxManifest is what the distribution specification asks registries to
	// take at least, and Docker reads at most.
	maxManifest = 4 << 20
	// maxDepth is how many indexes may point to each other; one is usual.
	maxDepth = 3
)

// The media types (OCI image-spec media-types.md; Docker's
// manifest-v2-2.md).
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
)

var (
	manifestTypes = []string{dockerManifest, dockerList, ociManifest, ociIndex}
	configTypes   = []string{dockerConfig, ociConfig}
	layerTypes    = []string{
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.v1.tar+gzip",
		"application/vnd.oci.image.layer.v1.tar+zstd",
	}
)

// manifest is a manifest or an index: what is common to Docker's and OCI's.
type manifest struct {
	SchemaVersion int       `json:"schemaVersion"`
	MediaType     string    `json:"mediaType"`
	Config        *content  `json:"config"`
	Layers        []content `json:"layers"`
	Manifests     []content `json:"manifests"`
	FSLayers      []fsLayer `json:"fsLayers"` // schema 1
	body          []byte    // as it came
	desc          davit.Descriptor
}

type fsLayer struct{}

// content is a descriptor.
type content struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	Platform  *platform     `json:"platform"`
}

func (c content) descriptor() davit.Descriptor {
	return davit.Descriptor{MediaType: c.MediaType, Digest: c.Digest, Size: c.Size}
}

func (m *manifest) isIndex() bool {
	return m.desc.MediaType == dockerList || m.desc.MediaType == ociIndex
}

func (m *manifest) reader() io.Reader { return bytes.NewReader(m.body) }

// resolve fetches what the reference names.
func (s *session) resolve(ctx context.Context) (*manifest, error) {
	var want davit.Descriptor
	ref := ""
	switch named := s.named.(type) {
	case reference.Digested:
		want.Digest = named.Digest()
		ref = want.Digest.String()
	case reference.Tagged:
		ref = named.Tag()
	}
	return s.manifest(ctx, ref, want)
}

// child fetches a manifest that an index names.
func (s *session) child(ctx context.Context, desc davit.Descriptor) (*manifest, error) {
	if desc.Size <= 0 || desc.Size > maxManifest {
		return nil, s.wrong("a manifest of %s is announced with %d bytes", s.name(), desc.Size)
	}
	return s.manifest(ctx, desc.Digest.String(), desc)
}

// manifest fetches a manifest and holds it to the digest, size and type of
// want, as far as want has them.
func (s *session) manifest(ctx context.Context, ref string, want davit.Descriptor) (*manifest, error) {
	if want.Digest != "" {
		if err := want.Digest.Validate(); err != nil {
			return nil, s.wrong("manifest %q of %s: %w", want.Digest, s.name(), err)
		}
	}
	var m *manifest
	err := s.retry(ctx, func() error {
		body, mediaType, err := s.manifestBody(ctx, ref)
		if err != nil {
			return err
		}
		m, err = s.check(body, mediaType, want)
		return err
	})
	return m, err
}

func (s *session) manifestBody(ctx context.Context, ref string) ([]byte, string, error) {
	resp, err := s.get(ctx, "manifests/"+ref, http.Header{"Accept": {strings.Join(manifestTypes, ", ")}})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", s.refused(resp, "")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, "", s.unreachable(err)
	}
	if len(body) > maxManifest {
		return nil, "", s.wrong("the manifest of %s is larger than %d bytes", s.name(), maxManifest)
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		mediaType = "" // the body says it too
	}
	return body, mediaType, nil
}

// check verifies a manifest and reads it. Its type is what it says itself,
// else what want says, else the header. It must be that of want, and the body
// must not look like the other kind (CVE-2021-41190).
func (s *session) check(body []byte, header string, want davit.Descriptor) (*manifest, error) {
	algorithm := digest.SHA256
	if want.Digest != "" {
		algorithm = want.Digest.Algorithm()
	}
	got := algorithm.FromBytes(body)
	if want.Digest != "" && got != want.Digest {
		return nil, s.wrong("manifest %s of %s: what came has the digest %s", want.Digest, s.name(), got)
	}
	if want.Size != 0 && int64(len(body)) != want.Size {
		return nil, s.wrong("manifest %s of %s: it has %d bytes, announced were %d", want.Digest, s.name(), len(body), want.Size)
	}
	m := &manifest{body: body}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, s.wrong("the manifest of %s is not JSON: %w", s.name(), err)
	}
	if m.SchemaVersion == 1 || m.FSLayers != nil || header == dockerSchema1 || header == dockerSigned1 {
		return nil, davit.Errorf(davit.NotSupported,
			"%s has a manifest of schema 1, which has been out of use since 2016: pull and push the image once with a tool that converts it", s.name())
	}
	mediaType := cmp.Or(m.MediaType, want.MediaType, header)
	if want.MediaType != "" && mediaType != want.MediaType {
		return nil, s.wrong("manifest %s of %s: its type is %q, announced was %q", got, s.name(), mediaType, want.MediaType)
	}
	if !slices.Contains(manifestTypes, mediaType) {
		return nil, davit.Errorf(davit.NotSupported, "%s has a manifest of type %q, which is none of an image", s.name(), mediaType)
	}
	m.desc = davit.Descriptor{MediaType: mediaType, Digest: got, Size: int64(len(body))}
	if m.isIndex() == (m.Config != nil || m.Layers != nil) || m.isIndex() != (m.Manifests != nil) {
		return nil, s.wrong("the manifest of %s is of type %q and does not look like it", s.name(), mediaType)
	}
	return m, nil
}

// checkImage sees that a manifest is one of a container image, and that its
// descriptors can be held to something.
func (s *session) checkImage(m *manifest) error {
	if m.Config == nil || !slices.Contains(configTypes, m.Config.MediaType) {
		mediaType := ""
		if m.Config != nil {
			mediaType = m.Config.MediaType
		}
		return davit.Errorf(davit.NotSupported, "%s is not a container image: its config is of type %q", s.name(), mediaType)
	}
	if len(m.Layers) > maxLayers {
		return s.wrong("%s has %d layers", s.name(), len(m.Layers))
	}
	for _, c := range append([]content{*m.Config}, m.Layers...) {
		if err := c.Digest.Validate(); err != nil {
			return s.wrong("blob %q of %s: %w", c.Digest, s.name(), err)
		}
		if c.Size <= 0 {
			return s.wrong("blob %s of %s is announced with %d bytes", c.Digest, s.name(), c.Size)
		}
	}
	for _, layer := range m.Layers {
		if !slices.Contains(layerTypes, layer.MediaType) {
			return davit.Errorf(davit.NotSupported, "layer %s of %s is of type %q, which is not supported", layer.Digest, s.name(), layer.MediaType)
		}
	}
	return nil
}

// name is how a user writes the reference.
func (s *session) name() string { return reference.FamiliarString(s.named) }

// get asks for a path of the repository. The answer's body is the caller's.
func (s *session) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	req, err := s.request(ctx, http.MethodGet, s.url(path))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	return s.do(req)
}

// url is where a path of the repository is.
func (s *session) url(path string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s", s.scheme, s.host, reference.Path(s.named), path)
}

func (s *session) request(ctx context.Context, method, url string) (*http.Request, error) {
	if s.named != nil {
		ctx = s.scoped(ctx)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, davit.Errorf(davit.InvalidName, "registry %s: %w", s.host, err)
	}
	return req, nil
}

// do sends a request. The answer's body is the caller's.
func (s *session) do(req *http.Request) (*http.Response, error) {
	resp, err := s.auth.Do(req)
	if err != nil {
		return nil, s.failed(err)
	}
	s.reached.Store(true)
	return resp, nil
}
