// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// faulty is a registry of one image, with faults.
type faulty struct {
	img  *image
	tags map[string]content
	// fault may answer a request itself, and then returns true.
	fault    func(w http.ResponseWriter, r *http.Request) bool
	mu       sync.Mutex
	requests []string // path and Range
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
	f.mu.Unlock()
	if f.fault != nil && f.fault(w, r) {
		return
	}
	dir, name := filepath.Split(r.URL.Path)
	c, ok := f.tags[name]
	if !ok {
		c.Digest = digest.Digest(name)
	}
	data, ok := f.img.blobs[c.Digest]
	if !ok {
		http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}`, http.StatusNotFound)
		return
	}
	if strings.HasSuffix(dir, "manifests/") {
		var m manifest
		must(json.Unmarshal(data, &m))
		w.Header().Set("Content-Type", m.MediaType)
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
}

// blobRequests are the requests of one blob.
func (f *faulty) blobRequests(d digest.Digest) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var got []string
	for _, r := range f.requests {
		if rest, ok := strings.CutPrefix(r, "/v2/a/blobs/"+d.String()); ok {
			got = append(got, strings.TrimSpace(rest))
		}
	}
	return got
}

func newFaulty(t *testing.T) (f *faulty, server *httptest.Server, pull func(ctx context.Context) (davit.Pulled, *blobStore, error)) {
	t.Helper()
	img := newImage("amd64", 400_000, 1000)
	f = &faulty{img: img, tags: map[string]content{"1": img.manifest}}
	server = httptest.NewServer(f)
	t.Cleanup(server.Close)
	client := New(Options{})
	client.backoff, client.stall = time.Millisecond, 200*time.Millisecond
	host := strings.TrimPrefix(server.URL, "http://")
	return f, server, func(ctx context.Context) (davit.Pulled, *blobStore, error) {
		store := newStore()
		pulled, err := client.Pull(ctx, davit.Pull{Reference: host + "/a:1"}, store)
		return pulled, store, err
	}
}

// cut answers with the first n bytes of what is to come and then cuts the
// connection.
func cut(w http.ResponseWriter, data []byte, status, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data[:n])
	must(http.NewResponseController(w).Flush())
	panic(http.ErrAbortHandler)
}

func TestCutConnectionIsResumed(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprint(ranges), func(t *testing.T) {
			f, _, pull := newFaulty(t)
			layer := f.img.layers[0]
			data := f.img.blobs[layer.Digest]
			var mu sync.Mutex
			cuts := 0
			f.fault = func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
					return false
				}
				if !ranges {
					r.Header.Del("Range")
				}
				if cuts++; cuts > 1 {
					return false
				}
				cut(w, data, http.StatusOK, 100_000)
				return true
			}
			if _, store, err := pull(t.Context()); err != nil || !store.Has(layer.Digest) {
				t.Fatal(err)
			}
			requests := f.blobRequests(layer.Digest)
			if len(requests) != 2 || requests[0] != "" || !strings.HasPrefix(requests[1], "bytes=") {
				t.Errorf("requests %q", requests)
			}
			var from int
			if _, err := fmt.Sscanf(requests[1], "bytes=%d-", &from); err != nil || from == 0 || from > 100_000 {
				t.Errorf("resumed at %d: %v", from, err)
			}
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	f, _, pull := newFaulty(t)
	layer := f.img.layers[0]
	f.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
			return false
		}
		panic(http.ErrAbortHandler)
	}
	_, store, err := pull(t.Context())
	if davit.CodeOf(err) != davit.RegistryUnreachable || store.Has(layer.Digest) {
		t.Errorf("error is %s %v", davit.CodeOf(err), err)
	}
	// The first of each may be repeated by net/http on a fresh connection.
	if n := len(f.blobRequests(layer.Digest)); n < maxRetries+1 || n > 2*(maxRetries+1) {
		t.Errorf("%d requests", n)
	}
}

type faultTest struct {
	name  string
	on    string // in the path; LAYER is the first layer's
	do    func(w http.ResponseWriter, r *http.Request)
	code  davit.Code
	words string
}

// faults is long because it is a table.
func faults() []faultTest {
	type answer = func(w http.ResponseWriter, r *http.Request)
	status := func(code int, body string) answer {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, code) }
	}
	text := func(mediaType, body string) answer {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			fmt.Fprint(w, body)
		}
	}
	const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	layerless := func(config, layer string) string {
		return `{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":` + config + `,"layers":[` + layer + `]}`
	}
	return []faultTest{
		{"manifest 401", "manifests/", status(401, ""), davit.RegistryUnauthorized, "pull access denied"},
		{
			"manifest 403", "manifests/", status(403, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`),
			davit.RegistryUnauthorized, "denied: requested access to the resource is denied",
		},
		{
			"manifest 404", "manifests/", status(404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}}]}`),
			davit.NoSuchImage, "a:1 not found: manifest unknown: manifest unknown",
		},
		{
			"name 404", "manifests/", status(404, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}`),
			davit.NoSuchImage, "/a not found: name unknown: repository name not known to registry",
		},
		{"404 of a web server", "manifests/", status(404, "<html>"), davit.NoSuchImage, "not found"},
		{"500", "manifests/", status(500, ""), davit.RegistryUnreachable, "status 500"},
		{
			"429", "manifests/", status(429, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow\u001b[31m down"}]}`),
			davit.RegistryUnreachable, "toomanyrequests: slow [31m down",
		},
		{"418", "manifests/", status(418, ""), davit.RegistryUnreachable, "status 418"},
		{"not JSON", "manifests/", text(ociManifest, "<html>"), davit.DigestMismatch, "not JSON"},
		{"huge manifest", "manifests/", text(ociManifest, strings.Repeat(" ", maxManifest+1)), davit.DigestMismatch, "larger than"},
		{"schema 1", "manifests/", text(dockerSigned1, `{"schemaVersion":1,"fsLayers":[]}`), davit.NotSupported, "schema 1"},
		{"schema 1 by body", "manifests/", text("text/plain", `{"schemaVersion":1,"fsLayers":[]}`), davit.NotSupported, "schema 1"},
		{"not an image", "manifests/", text(ociManifest, layerless(`{"mediaType":"application/vnd.cncf.helm.config.v1+json"}`, "")), davit.NotSupported, "helm"},
		{"some type", "manifests/", text("text/html", `{"schemaVersion":2}`), davit.NotSupported, "text/html"},
		{"ambiguous", "manifests/", text(ociIndex, `{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}`), davit.DigestMismatch, "does not look like it"},
		{"empty index", "manifests/", text(ociIndex, `{"schemaVersion":2,"manifests":[]}`), davit.NoSuchImage, "no matching manifest"},
		{"no digest", "manifests/", text(ociManifest, layerless(`{"mediaType":"`+ociConfig+`","size":1,"digest":"../../etc"}`, "")), davit.DigestMismatch, "../../etc"},
		{"no size", "manifests/", text(ociManifest, layerless(`{"mediaType":"`+ociConfig+`","digest":"sha256:`+hex+`"}`, "")), davit.DigestMismatch, "0 bytes"},
		{"huge config", "manifests/", text(ociManifest, layerless(`{"mediaType":"`+ociConfig+`","size":99999999,"digest":"sha256:`+hex+`"}`, "")), davit.DigestMismatch, "99999999"},
		{"strange layer", "manifests/", text(ociManifest, layerless(`{"mediaType":"`+ociConfig+`","size":1,"digest":"sha256:`+hex+`"}`,
			`{"mediaType":"application/x-thing","size":1,"digest":"sha256:`+hex+`"}`)), davit.NotSupported, "application/x-thing"},
		{"layer 404", "LAYER", status(404, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}`), davit.RegistryUnreachable, "does not have blob"},
		{"layer 401", "LAYER", status(401, ""), davit.RegistryUnauthorized, "pull access denied"},
		{"short layer", "LAYER", text("", "abc"), davit.DigestMismatch, "3 bytes are to come"},
		{"corrupt layer", "LAYER", nil, davit.DigestMismatch, ""},
		{"long layer, no length", "LAYER", func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				fmt.Fprint(w, strings.Repeat("x", 1000))
			}
		}, davit.DigestMismatch, "longer than"},
		{"redirect to itself", "LAYER", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, davit.RegistryUnreachable, "redirects"},
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range faults() {
		t.Run(tt.name, func(t *testing.T) {
			f, _, pull := newFaulty(t)
			layer := f.img.layers[0].Digest
			on := strings.ReplaceAll(tt.on, "LAYER", "blobs/"+layer.String())
			if tt.do == nil {
				data := []byte(strings.Clone(string(f.img.blobs[layer])))
				data[len(data)/2] ^= 1
				f.img.blobs[layer] = data
			}
			f.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if tt.do == nil || !strings.Contains(r.URL.Path, on) {
					return false
				}
				tt.do(w, r)
				return true
			}
			_, store, err := pull(t.Context())
			if err == nil || davit.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("error is %s: %v", davit.CodeOf(err), err)
			}
			if store.Has(f.img.manifest.Digest) || store.Has(layer) {
				t.Error("the store has what it must not")
			}
		})
	}
}

func TestChildManifestMustBeWhatTheIndexSays(t *testing.T) {
	f, _, pull := newFaulty(t)
	all := join(f.img)
	f.img.blobs[all.index.Digest] = all.blobs[all.index.Digest]
	f.tags["1"] = all.index
	if pulled, _, err := pull(t.Context()); err != nil || pulled.Target.Digest != all.index.Digest {
		t.Fatal(err)
	}
	other := newImage("amd64", 7)
	f.img.blobs[f.img.manifest.Digest] = other.blobs[other.manifest.Digest]
	if _, store, err := pull(t.Context()); davit.CodeOf(err) != davit.DigestMismatch || store.len() > 0 {
		t.Errorf("error is %v, %d blobs stored", err, store.len())
	}
}

func TestTemporaryFailureIsRetried(t *testing.T) {
	f, _, pull := newFaulty(t)
	var mu sync.Mutex
	seen := map[string]int{}
	f.fault = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if seen[r.URL.Path]++; seen[r.URL.Path] > 2 || r.URL.Path == "/v2/" {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	if _, _, err := pull(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStalledConnectionIsGivenUp(t *testing.T) {
	f, _, pull := newFaulty(t)
	layer := f.img.layers[0]
	var once sync.Once
	f.fault = func(w http.ResponseWriter, r *http.Request) (stalled bool) {
		if strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
			once.Do(func() {
				stalled = true
				w.Header().Set("Content-Length", strconv.FormatInt(layer.Size, 10))
				_, _ = w.Write(f.img.blobs[layer.Digest][:1000])
				must(http.NewResponseController(w).Flush())
				<-r.Context().Done() // the client leaves
			})
		}
		return stalled
	}
	if _, store, err := pull(t.Context()); err != nil || !store.Has(layer.Digest) {
		t.Error(err)
	}
	if requests := f.blobRequests(layer.Digest); len(requests) != 2 || requests[1] != "bytes=1000-" {
		t.Errorf("requests %q", requests)
	}
}

func TestCancelStopsAtOnce(t *testing.T) {
	f, _, pull := newFaulty(t)
	layer := f.img.layers[0]
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the user said so")
	f.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
			return false
		}
		cancel(reason)
		<-r.Context().Done()
		return true
	}
	began := time.Now()
	_, store, err := pull(ctx)
	if !errors.Is(err, reason) || store.Has(layer.Digest) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// The token is asked for with the scope of the pull, goes to the registry, and
// not to where the registry redirects.
func TestBearerAuthAndRedirect(t *testing.T) {
	f, server, _ := newFaulty(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token went to another host")
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(f.img.blobs[digest.Digest(filepath.Base(r.URL.Path))])))
	}))
	defer elsewhere.Close()
	var mu sync.Mutex
	var scopes []string
	handler := func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/token" {
			scopes = append(scopes, r.URL.Query().Get("scope"))
			if user, password, _ := r.BasicAuth(); user != "davit" || password != "secret" {
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}`, http.StatusUnauthorized)
				return true
			}
			fmt.Fprint(w, `{"token":"t0ken"}`)
			return true
		}
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			w.Header().Set("Www-Authenticate", `Bearer realm="`+server.URL+`/token",service="test",scope="repository:a:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if strings.Contains(r.URL.Path, "blobs/") {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path+"?signature=hidden", http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handler(w, r) {
			(&faulty{img: f.img, tags: f.tags}).ServeHTTP(w, r)
		}
	}))
	defer front.Close()
	server = front
	ref := strings.TrimPrefix(front.URL, "http://") + "/a:1"
	client := New(Options{})
	if _, err := client.Pull(t.Context(), davit.Pull{Reference: ref, Auth: &davit.RegistryAuth{Username: "davit", Password: "secret"}}, newStore()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"repository:a:pull"}, scopes); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
	_, err := client.Pull(t.Context(), davit.Pull{Reference: ref, Auth: &davit.RegistryAuth{Username: "davit", Password: "guess"}}, newStore())
	if davit.CodeOf(err) != davit.RegistryUnauthorized || !strings.Contains(err.Error(), "incorrect username or password") {
		t.Errorf("error is %s: %v", davit.CodeOf(err), err)
	}
	if _, err := client.Pull(t.Context(), davit.Pull{Reference: ref, Auth: &davit.RegistryAuth{RegistryToken: "t0ken"}}, newStore()); err != nil {
		t.Error(err)
	}
}

// named has a client reach address under the name of a host that is not
// loopback, and counts what came.
func named(client *Client, address string) {
	client.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	client.backoff = time.Millisecond
}

// TestFault18_LayersAreVerified changes one bit of a layer: 1.2 took whatever
// it was sent.
func TestFault18_LayersAreVerified(t *testing.T) {
	f, _, pull := newFaulty(t)
	layer := f.img.layers[0].Digest
	sound := f.img.blobs[layer]
	changed := []byte(strings.Clone(string(sound)))
	changed[len(changed)-1] ^= 1
	f.img.blobs[layer] = changed
	_, store, err := pull(t.Context())
	if davit.CodeOf(err) != davit.DigestMismatch || store.Has(layer) {
		t.Errorf("a layer with a wrong bit: %v, stored %v", err, store.Has(layer))
	}
	f.img.blobs[layer] = sound
	if _, store, err = pull(t.Context()); err != nil || !store.Has(layer) {
		t.Errorf("the layer as it was: %v, stored %v", err, store.Has(layer))
	}
}

func TestFault19_NoSilentFallBack(t *testing.T) {
	f, server, _ := newFaulty(t)
	address := strings.TrimPrefix(server.URL, "http://")
	for _, tt := range []struct {
		insecure []string
		ok       bool
	}{
		{nil, false},
		{[]string{"other.example"}, false},
		{[]string{"registry.example"}, true},
		{[]string{"registry.example:5000"}, true},
		{[]string{"registry.example:5001"}, false},
	} {
		t.Run(fmt.Sprint(tt.insecure), func(t *testing.T) {
			f.requests = nil
			client := New(Options{Insecure: tt.insecure})
			named(client, address)
			_, err := client.Pull(t.Context(), davit.Pull{Reference: "registry.example:5000/a:1"}, newStore())
			if tt.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if davit.CodeOf(err) != davit.RegistryUnreachable || !strings.Contains(err.Error(), "insecure-registries") {
				t.Errorf("error is %s: %v", davit.CodeOf(err), err)
			}
			if len(f.requests) > 0 {
				t.Errorf("requests without TLS: %q", f.requests)
			}
		})
	}
}

func TestInsecure(t *testing.T) {
	client := New(Options{Insecure: []string{"Reg.Example:5000", "10.1.0.0/16"}})
	for domain, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.9.9.9": true, "[::1]:5000": true,
		"reg.example:5000": true, "reg.example": false, "10.1.2.3:443": true, "10.2.0.1": false, "docker.io": false, "localhost.example": false,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // names are not looked up here
		if got := client.isInsecure(ctx, domain); got != want {
			t.Errorf("%s: %v", domain, got)
		}
	}
	if err := CheckInsecure([]string{"http://x", "a b", ""}); davit.CodeOf(err) != davit.InvalidConfiguration {
		t.Errorf("error is %v", err)
	}
	if err := CheckInsecure([]string{"x:1", "::1/64"}); err != nil {
		t.Error(err)
	}
	// A reload replaces the list, good entries though one is bad.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := client.SetInsecure([]string{"other.example", "not/one"})
	if davit.CodeOf(err) != davit.InvalidConfiguration {
		t.Errorf("a bad entry gave %v", err)
	}
	for domain, want := range map[string]bool{"reg.example:5000": false, "other.example": true, "localhost:5000": true} {
		if got := client.isInsecure(ctx, domain); got != want {
			t.Errorf("after the change %s: %v", domain, got)
		}
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	address := listener.Addr().String()
	must(listener.Close())
	began := time.Now()
	_, err = New(Options{}).Pull(t.Context(), davit.Pull{Reference: address + "/a:1"}, newStore())
	if davit.CodeOf(err) != davit.RegistryUnreachable || !strings.Contains(err.Error(), "connection refused") || time.Since(began) > 2*time.Second {
		t.Errorf("after %v: %s: %v", time.Since(began), davit.CodeOf(err), err)
	}
}

// tlsServer serves f for registry.example with a certificate of its own
// authority, and asks its clients for one of theirs.
func tlsServer(t *testing.T, f *faulty, ca *authority, clients bool) string {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue("registry.example")}}
	if clients {
		server.TLS.ClientAuth, server.TLS.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool()
	}
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestCertificates(t *testing.T) {
	f, _, _ := newFaulty(t)
	ca := newAuthority()
	open, guarded := tlsServer(t, f, ca, false), tlsServer(t, f, ca, true)
	with := func(files map[string][]byte) string { return ca.certsDir(t, "registry.example:5000", files) }
	cert, key := ca.pem("client")
	tests := []struct {
		name     string
		address  string
		dir      string
		insecure []string
		code     davit.Code
		words    string
	}{
		{"unknown authority", open, "", nil, davit.RegistryUnreachable, "insecure-registries"},
		{"no such directory", open, t.TempDir(), nil, davit.RegistryUnreachable, "certificate"},
		{"known authority", open, with(map[string][]byte{"ca.crt": ca.certPEM()}), nil, "", ""},
		{"insecure", open, "", []string{"registry.example:5000"}, "", ""},
		{"no client certificate", guarded, with(map[string][]byte{"ca.crt": ca.certPEM()}), nil, davit.RegistryUnreachable, ""},
		{"client certificate", guarded, with(map[string][]byte{"ca.crt": ca.certPEM(), "c.cert": cert, "c.key": key}), nil, "", ""},
		{"no key", guarded, with(map[string][]byte{"c.cert": cert}), nil, davit.InvalidConfiguration, "missing key c.key"},
		{"no certificate", guarded, with(map[string][]byte{"c.key": key}), nil, davit.InvalidConfiguration, "missing client certificate c.cert"},
		{"nonsense", open, with(map[string][]byte{"ca.crt": []byte("x")}), nil, davit.InvalidConfiguration, "holds no certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := New(Options{CertsDir: tt.dir, Insecure: tt.insecure})
			named(client, tt.address)
			_, err := client.Pull(t.Context(), davit.Pull{Reference: "registry.example:5000/a:1"}, newStore())
			if tt.code == "" && err != nil {
				t.Error(err)
			}
			if tt.code != "" && (davit.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.words)) {
				t.Errorf("error is %s: %v", davit.CodeOf(err), err)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	list := func(names ...string) (all []content) {
		for _, name := range names {
			p := strings.Split(name+"//", "/")
			all = append(all, content{MediaType: name, Platform: &platform{OS: p[0], Architecture: p[1], Variant: p[2]}})
		}
		return append(all, content{MediaType: "none"})
	}
	tests := []struct {
		want davit.Platform
		list []content
		got  string
	}{
		{davit.Platform{Architecture: "arm64"}, list("linux/amd64", "linux/arm64/v8"), "linux/arm64/v8"},
		{davit.Platform{Architecture: "arm64", Variant: "v8"}, list("linux/arm64"), "linux/arm64"},
		{davit.Platform{Architecture: "arm"}, list("linux/arm/v5", "linux/arm/v7", "linux/arm/v6"), "linux/arm/v7"},
		{davit.Platform{Architecture: "arm", Variant: "v6"}, list("linux/arm/v5", "linux/arm/v7", "linux/arm/v6"), "linux/arm/v6"},
		{davit.Platform{Architecture: "armel"}, list("linux/arm/v7", "linux/arm/v5"), "linux/arm/v5"},
		{davit.Platform{Architecture: "amd64"}, list("linux/amd64/v3", "unknown/unknown", "linux/amd64"), "linux/amd64"},
		{davit.Platform{Architecture: "amd64", Variant: "v3"}, list("linux/amd64", "linux/amd64/v2", "linux/amd64/v4"), "linux/amd64/v2"},
		{davit.Platform{Architecture: "s390x"}, list("windows/s390x", "linux/s390x"), "linux/s390x"},
		{davit.Platform{Architecture: "amd64"}, list("windows/amd64", "linux/386"), ""},
	}
	for _, tt := range tests {
		want, err := wanted(tt.want)
		must(err)
		got, err := choose(tt.list, want)
		if got.MediaType != tt.got || (err != nil) != (tt.got == "") {
			t.Errorf("%v: chose %q, want %q: %v", tt.want, got.MediaType, tt.got, err)
		}
	}
}
