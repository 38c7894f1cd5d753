// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
	"github.com/opencontainers/go-digest"
)

var hubPath = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)

// Serve serves the hub by HTTP, as far as a pull needs it (OCI
// distribution-spec), until the test ends, and returns its host:port.
func (h *Hub) Serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// ServeHTTP implements [http.Handler].
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); !h.allows(user, password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
		return
	}
	m := hubPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		if r.URL.Path != "/v2/" {
			http.NotFound(w, r)
		}
		return
	}
	desc, ok := h.resolve(m[1], m[3])
	if !ok {
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such thing"}]}`, http.StatusNotFound)
		return
	}
	if m[2] == "blobs" {
		desc.MediaType = "application/octet-stream"
	}
	data, ok := h.content(desc.Digest, r.Method == http.MethodGet)
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", desc.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Docker-Content-Digest", desc.Digest.String())
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // a client that has gone is its own affair
	}
}

// content returns a blob; fetched counts it.
func (h *Hub) content(dgst digest.Digest, fetched bool) ([]byte, bool) {
	if fetched {
		return h.fetch(dgst)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	data, ok := h.blobs[dgst]
	return data, ok
}

// TestRegistry checks a [service.Registry]. open returns one that pulls from
// the hub what is called prefix + name.
func TestRegistry(t *testing.T, open func(t *testing.T, hub *Hub) (r service.Registry, prefix string)) {
	for name, test := range map[string]func(*testing.T, pulls){
		"tag": testPullTag, "digest": testPullDigest, "index": testPullIndex, "what is there": testPullAgain,
		"not found": testPullNothing, "damaged blobs": testPullDamaged, "lost blobs": testPullLost,
		"credentials": testPullPrivate, "ended context": testPullCanceled,
	} {
		t.Run(name, func(t *testing.T) {
			hub := NewHub()
			r, prefix := open(t, hub)
			test(t, pulls{r, hub, prefix, NewBlobs()})
		})
	}
}

// pulls is what one test of the suite works with.
type pulls struct {
	service.Registry
	hub    *Hub
	prefix string
	blobs  *Blobs
}

func (p pulls) pull(ctx context.Context, name string, auth *davit.RegistryAuth) (davit.Pulled, error) {
	return p.Pull(ctx, davit.Pull{Reference: p.prefix + name, Auth: auth}, p.blobs)
}

func (p pulls) wantBlobs(t *testing.T, b Built) {
	t.Helper()
	for dgst, data := range b.Blobs {
		if back, err := readBlob(t.Context(), p.blobs, dgst); err != nil || string(back) != string(data) {
			t.Errorf("the blob %s is not there as it should be: %v", dgst, err)
		}
	}
}

func example() Built {
	return Build(runtime.GOARCH, davit.ContainerConfig{Cmd: []string{"/app"}}, map[string]string{"app": "1"}, map[string]string{"lib": "2"})
}

func testPullTag(t *testing.T, p pulls) {
	b := example()
	p.hub.Push("team/app:1.14", b)
	p.hub.Push("team/app:latest", b)
	got := result(p.pull(t.Context(), "team/app:1.14", nil))(t)
	if got.Target.Digest != b.Target.Digest || got.Manifest.Digest != b.Target.Digest || got.Manifest.MediaType != typeManifest {
		t.Errorf("pulled %+v, want the manifest %s", got, b.Target.Digest)
	}
	if !strings.HasSuffix(got.Reference, "/team/app:1.14") || strings.Count(got.Reference, "/") != 2 {
		t.Errorf("the reference is %q: it is not normalised", got.Reference)
	}
	p.wantBlobs(t, b)
	if got = result(p.pull(t.Context(), "team/app", nil))(t); !strings.HasSuffix(got.Reference, "/team/app:latest") {
		t.Errorf("without a tag the reference is %q", got.Reference)
	}
}

func testPullDigest(t *testing.T, p pulls) {
	b := example()
	p.hub.Push("team/app:v1", b)
	got := result(p.pull(t.Context(), "team/app@"+b.Target.Digest.String(), nil))(t)
	if got.Target.Digest != b.Target.Digest || !strings.HasSuffix(got.Reference, "/team/app@"+b.Target.Digest.String()) {
		t.Errorf("pulled %+v", got)
	}
	p.wantBlobs(t, b)
	p.hub.Damage(b.Target.Digest)
	p.blobs = NewBlobs()
	if _, err := p.pull(t.Context(), "team/app@"+b.Target.Digest.String(), nil); err == nil {
		t.Error("a manifest with another digest than was asked for was believed")
	}
	if p.blobs.Has(b.Target.Digest) {
		t.Error("a damaged manifest is in the store")
	}
}

func testPullIndex(t *testing.T, p pulls) {
	here := example()
	there := Build("s390x", davit.ContainerConfig{}, map[string]string{"app": "other"})
	index := Index(map[string]Built{runtime.GOARCH: here, "s390x": there})
	p.hub.Push("team/app:v1", index)
	got := result(p.pull(t.Context(), "team/app:v1", nil))(t)
	if got.Target.Digest != index.Target.Digest || got.Manifest.Digest != here.Target.Digest {
		t.Errorf("pulled %+v, want %s of %s", got, here.Target.Digest, index.Target.Digest)
	}
	p.wantBlobs(t, here)
	if !p.blobs.Has(index.Target.Digest) {
		t.Error("the index is not in the store")
	}
	for dgst := range there.Blobs {
		if p.blobs.Has(dgst) {
			t.Errorf("the blob %s of another platform was fetched", dgst)
		}
	}
	other := davit.Pull{Reference: p.prefix + "team/app:v1", Platform: davit.Platform{OS: "linux", Architecture: "s390x"}}
	if got = result(p.Pull(t.Context(), other, p.blobs))(t); got.Manifest.Digest != there.Target.Digest {
		t.Errorf("for s390x was pulled %+v", got)
	}
	p.wantBlobs(t, there)
	other.Platform.Architecture = "riscv64"
	_, err := p.Pull(t.Context(), other, p.blobs)
	wantCode(t, err, davit.NoSuchImage, "pulling for a platform that there is no image for")
}

func testPullAgain(t *testing.T, p pulls) {
	b := example()
	p.hub.Push("team/app:v1", b)
	result(p.pull(t.Context(), "team/app:v1", nil))(t)
	result(p.pull(t.Context(), "team/app:v1", nil))(t)
	for _, l := range append(b.Layers, b.Config) {
		if n := p.hub.Served(l); n != 1 {
			t.Errorf("the blob %s was fetched %d times", l, n)
		}
	}
}

func testPullNothing(t *testing.T, p pulls) {
	p.hub.Push("team/app:v1", example())
	for _, name := range []string{"team/app:v2", "team/other:v1", "team/app@" + digest.FromString("no").String()} {
		_, err := p.pull(t.Context(), name, nil)
		wantCode(t, err, davit.NoSuchImage, "pulling "+name)
	}
	for _, name := range []string{"team/UPPER", "team/app:a:b", "team/app@sha256:short", ""} {
		_, err := p.Pull(t.Context(), davit.Pull{Reference: p.prefix + name}, p.blobs)
		wantCode(t, err, davit.InvalidName, "pulling "+name)
	}
}

// Image layers never verified was a fault of Docker 1.2.
func testPullDamaged(t *testing.T, p pulls) {
	for name, pick := range map[string]func(Built) digest.Digest{
		"a layer":    func(b Built) digest.Digest { return b.Layers[1] },
		"the config": func(b Built) digest.Digest { return b.Config },
	} {
		b := example()
		bad := pick(b)
		p.hub.Push("team/app:v1", b)
		p.hub.Damage(bad)
		p.blobs = NewBlobs()
		_, err := p.pull(t.Context(), "team/app:v1", nil)
		wantCode(t, err, davit.DigestMismatch, "pulling an image with "+name+" damaged")
		if p.blobs.Has(bad) {
			t.Errorf("%s is in the store, damaged", name)
		}
	}
}

func testPullLost(t *testing.T, p pulls) {
	b := example()
	p.hub.Push("team/app:v1", b)
	p.hub.Lose(b.Layers[1])
	_, err := p.pull(t.Context(), "team/app:v1", nil)
	if kind := davit.KindOf(err); err == nil || kind != davit.Remote {
		t.Errorf("pulling an image with a layer lost: %v (kind %v), want the registry to be blamed", err, kind)
	}
}

func testPullPrivate(t *testing.T, p pulls) {
	p.hub.Push("team/app:v1", example())
	p.hub.SetPrivate()
	for name, auth := range map[string]*davit.RegistryAuth{
		"no credentials": nil, "a wrong password": {Username: "user", Password: "guess"},
	} {
		_, err := p.pull(t.Context(), "team/app:v1", auth)
		wantCode(t, err, davit.RegistryUnauthorized, "pulling with "+name)
		if err != nil && strings.Contains(err.Error(), "guess") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	result(p.pull(t.Context(), "team/app:v1", &davit.RegistryAuth{Username: "user", Password: "secret"}))(t)
}

func testPullCanceled(t *testing.T, p pulls) {
	p.hub.Push("team/app:v1", example())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.pull(ctx, "team/app:v1", nil); err == nil {
		t.Error("a pull with an ended context succeeded")
	}
}
