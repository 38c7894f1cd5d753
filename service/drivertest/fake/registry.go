// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Hub is what a registry has to give. Its methods may be called from any
// goroutine.
type Hub struct {
	mu      sync.Mutex
	tags    map[string]davit.Descriptor // "name:tag"
	names   map[string]bool
	blobs   map[digest.Digest][]byte
	served  map[digest.Digest]int
	sent    map[digest.Digest]int
	private bool
}

// NewHub returns an empty one.
func NewHub() *Hub {
	return &Hub{
		tags: map[string]davit.Descriptor{}, names: map[string]bool{},
		blobs: map[digest.Digest][]byte{}, served: map[digest.Digest]int{}, sent: map[digest.Digest]int{},
	}
}

// Push adds an image under "name:tag".
func (h *Hub) Push(name string, b Built) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tags[name] = b.Target
	repo, _, _ := strings.Cut(name, ":")
	h.names[repo] = true
	for dgst, data := range b.Blobs {
		h.blobs[dgst] = data
	}
}

// Damage has a blob served with other content of the same size.
func (h *Hub) Damage(dgst digest.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	data := bytes.Clone(h.blobs[dgst])
	data[len(data)/2] ^= 1
	h.blobs[dgst] = data
}

// Lose has a blob not found.
func (h *Hub) Lose(dgst digest.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.blobs, dgst)
}

// SetPrivate has it ask for the user "user" with the password "secret".
func (h *Hub) SetPrivate() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.private = true
}

// Served returns how often a blob was fetched.
func (h *Hub) Served(dgst digest.Digest) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.served[dgst]
}

// Sent returns how often a blob was uploaded.
func (h *Hub) Sent(dgst digest.Digest) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent[dgst]
}

// Tag returns what "name:tag" means; the zero value is nothing.
func (h *Hub) Tag(name string) davit.Descriptor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tags[name]
}

// Blob returns a blob that is there.
func (h *Hub) Blob(dgst digest.Digest) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.blobs[dgst]
}

// receive takes a blob that was uploaded.
func (h *Hub) receive(dgst digest.Digest, data []byte) error {
	if got := digest.FromBytes(data); got != dgst {
		return davit.Errorf(davit.DigestMismatch, "blob %s: what came has the digest %s", dgst, got)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blobs[dgst] = data
	h.sent[dgst]++
	return nil
}

// receiveManifest takes a manifest whose blobs are there.
func (h *Hub) receiveManifest(repo, tag, mediaType string, data []byte) error {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil || m.Config == nil {
		return davit.Errorf(davit.RegistryUnreachable, "the registry wants a manifest: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, part := range append(m.Layers, *m.Config) {
		if _, ok := h.blobs[part.Digest]; !ok {
			return davit.Errorf(davit.RegistryUnreachable, "the registry has no blob %s", part.Digest)
		}
	}
	d := davit.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	h.blobs[d.Digest], h.tags[repo+":"+tag], h.names[repo] = data, d, true
	return nil
}

func (h *Hub) search(term string) []davit.SearchResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []davit.SearchResult
	for _, name := range slices.Sorted(maps.Keys(h.names)) {
		if strings.Contains(name, term) {
			out = append(out, davit.SearchResult{Name: name, Description: "about " + name, Stars: len(name), Official: !strings.Contains(name, "/")})
		}
	}
	return out
}

func (h *Hub) allows(user, password string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.private || (user == "user" && password == "secret")
}

// resolve finds a manifest of a repository by tag or digest.
func (h *Hub) resolve(repo, ref string) (davit.Descriptor, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d, err := digest.Parse(ref); err == nil {
		data, ok := h.blobs[d]
		var m manifest
		_ = json.Unmarshal(data, &m) // a damaged one has no type
		return davit.Descriptor{MediaType: cmp.Or(m.MediaType, typeManifest), Digest: d, Size: int64(len(data))}, ok && h.names[repo]
	}
	d, ok := h.tags[repo+":"+ref]
	return d, ok
}

func (h *Hub) fetch(dgst digest.Digest) ([]byte, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	data, ok := h.blobs[dgst]
	h.served[dgst]++
	return data, ok
}

// Registry is a fake [images.Registry] that pulls from a hub, whatever host
// the reference names.
type Registry struct {
	Faults
	hub *Hub
}

// NewRegistry returns a client of the hub.
func NewRegistry(hub *Hub) *Registry { return &Registry{hub: hub} }

// Pull implements [images.Registry].
func (r *Registry) Pull(ctx context.Context, req davit.Pull, blobs davit.Blobs) (davit.Pulled, error) {
	if err := r.enterContext(ctx, "Pull", req.Reference); err != nil {
		return davit.Pulled{}, err
	}
	ref, err := reference.ParseNormalizedNamed(req.Reference)
	if err != nil {
		return davit.Pulled{}, davit.Errorf(davit.InvalidName, "invalid reference %q: %w", req.Reference, err)
	}
	ref = reference.TagNameOnly(ref)
	if a := req.Auth; !r.hub.allows("", "") && (a == nil || !r.hub.allows(a.Username, a.Password)) {
		return davit.Pulled{}, davit.Errorf(davit.RegistryUnauthorized, "the registry wants (other) credentials for %s", ref)
	}
	var which string
	if d, ok := ref.(reference.Digested); ok {
		which = d.Digest().String()
	} else if t, ok := ref.(reference.Tagged); ok {
		which = t.Tag()
	}
	target, ok := r.hub.resolve(strings.TrimPrefix(reference.Path(ref), "library/"), which)
	if !ok {
		return davit.Pulled{}, davit.Errorf(davit.NoSuchImage, "%s: not found in the registry", ref)
	}
	chosen, err := r.pullManifest(ctx, target, req.Platform, blobs)
	return davit.Pulled{Reference: ref.String(), Target: target, Manifest: chosen}, err
}

func (r *Registry) pullManifest(ctx context.Context, d davit.Descriptor, platform davit.Platform, blobs davit.Blobs) (davit.Descriptor, error) {
	if err := r.pullBlob(ctx, d, blobs); err != nil {
		return d, err
	}
	data, err := ReadBlob(ctx, blobs, d.Digest)
	if err != nil {
		return d, err
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return d, davit.Errorf(davit.InvalidArchive, "manifest %s: %w", d.Digest, err)
	}
	if m.Config == nil {
		arch := cmp.Or(platform.Architecture, runtime.GOARCH)
		for _, c := range m.Manifests {
			if c.Platform["architecture"] == arch {
				return r.pullManifest(ctx, c.davit(), platform, blobs)
			}
		}
		return d, davit.Errorf(davit.NoSuchImage, "no image for %s", arch)
	}
	for _, part := range append(m.Layers, *m.Config) {
		if err := r.pullBlob(ctx, part.davit(), blobs); err != nil {
			return d, err
		}
		davit.Report(ctx, davit.Progress{Phase: "Download complete", Item: davit.ShortID(part.Digest.String())})
	}
	return d, nil
}

func (r *Registry) pullBlob(ctx context.Context, d davit.Descriptor, blobs davit.Blobs) error {
	if blobs.Has(d.Digest) {
		return nil
	}
	data, ok := r.hub.fetch(d.Digest)
	if !ok {
		return davit.Errorf(davit.RegistryUnreachable, "the registry has no blob %s", d.Digest)
	}
	return blobs.Put(ctx, d, bytes.NewReader(data))
}

// Push implements [images.Registry].
func (r *Registry) Push(ctx context.Context, req davit.Push, m davit.Descriptor, blobs davit.Blobs) (davit.Descriptor, error) {
	if err := r.enterContext(ctx, "Push", req.Reference); err != nil {
		return m, err
	}
	ref, err := reference.ParseNormalizedNamed(req.Reference)
	if err != nil {
		return m, davit.Errorf(davit.InvalidName, "invalid reference %q: %w", req.Reference, err)
	}
	tagged, ok := reference.TagNameOnly(ref).(reference.Tagged)
	if _, digested := ref.(reference.Digested); digested || !ok {
		return m, davit.Errorf(davit.InvalidName, "%s: a digest cannot be pushed", ref)
	}
	if a := req.Auth; !r.hub.allows("", "") && (a == nil || !r.hub.allows(a.Username, a.Password)) {
		return m, davit.Errorf(davit.RegistryUnauthorized, "the registry wants (other) credentials for %s", ref)
	}
	data, err := ReadBlob(ctx, blobs, m.Digest)
	if err != nil {
		return m, err
	}
	var parsed manifest
	if err := json.Unmarshal(data, &parsed); err != nil || parsed.Config == nil {
		return m, davit.Errorf(davit.InvalidArchive, "manifest %s: %w", m.Digest, err)
	}
	for _, part := range append(parsed.Layers, *parsed.Config) {
		if r.hub.Blob(part.Digest) != nil {
			davit.Report(ctx, davit.Progress{Phase: "Layer already exists", Item: davit.ShortID(part.Digest.Encoded())})
			continue
		}
		blob, err := ReadBlob(ctx, blobs, part.Digest)
		if err == nil {
			err = r.hub.receive(part.Digest, blob)
		}
		if err != nil {
			return m, err
		}
		davit.Report(ctx, davit.Progress{Phase: "Pushed", Item: davit.ShortID(part.Digest.Encoded())})
	}
	m.Size = int64(len(data))
	return m, r.hub.receiveManifest(strings.TrimPrefix(reference.Path(ref), "library/"), tagged.Tag(), m.MediaType, data)
}

// Auth implements [images.Registry].
func (r *Registry) Auth(ctx context.Context, credential davit.RegistryAuth) (davit.AuthResult, error) {
	if err := r.enterContext(ctx, "Auth", credential.ServerAddress); err != nil {
		return davit.AuthResult{}, err
	}
	if !r.hub.allows(credential.Username, credential.Password) {
		return davit.AuthResult{}, davit.Errorf(davit.RegistryUnauthorized, "the registry does not accept the credentials")
	}
	return davit.AuthResult{Status: "Login Succeeded"}, nil
}

// Search implements [images.Registry].
func (r *Registry) Search(ctx context.Context, req davit.Search) ([]davit.SearchResult, error) {
	if err := r.enterContext(ctx, "Search", req.Term); err != nil {
		return nil, err
	}
	term := req.Term
	if host, rest, ok := strings.Cut(term, "/"); ok && strings.ContainsAny(host, ".:") {
		term = rest
	}
	return r.hub.search(term), nil
}

var (
	hubPath    = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)
	uploadPath = regexp.MustCompile(`^/v2/(.+)/blobs/uploads/(1)?$`)
)

// Serve serves the hub by HTTP, as far as pulls and pushes need it (OCI
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
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		h.serveUpload(w, r)
		return
	}
	m := hubPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		h.serveOther(w, r)
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

// serveOther answers for what is about no repository.
func (h *Hub) serveOther(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v2/":
	case "/v1/search":
		type result struct {
			Name        string `json:"name"`
			Description string `json:"description"`
			Stars       int    `json:"star_count"`
			Official    bool   `json:"is_official"`
		}
		results := []result{}
		for _, s := range h.search(r.FormValue("q")) {
			results = append(results, result{s.Name, s.Description, s.Stars, s.Official})
		}
		_, _ = w.Write(mustJSON(map[string]any{"results": results})) // a client that has gone is its own affair
	default:
		http.NotFound(w, r)
	}
}

func (h *Hub) serveUpload(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	upload, put := uploadPath.FindStringSubmatch(r.URL.Path), hubPath.FindStringSubmatch(r.URL.Path)
	switch {
	case upload != nil && r.Method == http.MethodPost:
		w.Header().Set("Location", "/v2/"+upload[1]+"/blobs/uploads/1?state=begun")
		w.WriteHeader(http.StatusAccepted)
		return
	case upload != nil && upload[2] != "" && r.FormValue("state") == "begun":
		err = h.receive(digest.Digest(r.FormValue("digest")), data)
	case put != nil && put[2] == "manifests" && r.Method == http.MethodPut:
		err = h.receiveManifest(put[1], put[3], r.Header.Get("Content-Type"), data)
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, `{"errors":[{"code":"MANIFEST_INVALID","message":"bad upload"}]}`, http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusCreated)
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
