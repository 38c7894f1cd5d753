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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// stored returns a content store with an image.
func stored(img *image) *blobStore {
	s := newStore()
	for d, data := range img.blobs {
		s.blobs[d] = data
	}
	return s
}

// TestRealPush pushes to Debian's docker-registry and has skopeo read it back.
func TestRealPush(t *testing.T) {
	host := startRegistry(t, "")
	img := newImage("amd64", 300_000, 10, 5000)
	client := New(Options{UserAgent: "davit-test"})
	for round, want := range [][]string{{"Preparing", "Pushing", "Pushed"}, {"Preparing", "Layer already exists"}} {
		var r recorder
		got, err := client.Push(r.context(t.Context()), davit.Push{Reference: host + "/team/app:1"}, img.manifest.descriptor(), stored(img))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(img.manifest.descriptor(), got); diff != "" {
			t.Errorf("pushed (-want +got):\n%s", diff)
		}
		for _, layer := range img.layers {
			if diff := cmp.Diff(want, slices.Compact(r.phases(layer.Digest.Encoded()[:12]))); diff != "" {
				t.Errorf("round %d (-want +got):\n%s", round, diff)
			}
		}
	}
	dir := t.TempDir()
	skopeo(t, "copy", "--src-tls-verify=false", "--preserve-digests", "docker://"+host+"/team/app:1", "dir:"+dir)
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	must(err)
	if got := digest.FromBytes(raw); got != img.manifest.Digest {
		t.Errorf("skopeo finds the manifest %s, want %s", got, img.manifest.Digest)
	}
	store := newStore()
	pulled, err := client.Pull(t.Context(), davit.Pull{Reference: host + "/team/app:1"}, store)
	if err != nil || pulled.Target.Digest != img.manifest.Digest || store.len() != len(img.blobs) {
		t.Errorf("pulled back %+v, %d blobs, %v", pulled, store.len(), err)
	}
}

func TestRealPrivateRegistry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	must(os.WriteFile(file, []byte(htpasswd), 0o600))
	host := startRegistry(t, "auth: {htpasswd: {realm: test, path: "+file+"}}\n")
	img := newImage("amd64", 1000)
	client := New(Options{})
	for name, tt := range map[string]struct {
		auth davit.RegistryAuth
		err  string
	}{
		"none":  {davit.RegistryAuth{}, "no basic auth credentials"},
		"wrong": {davit.RegistryAuth{Username: "davit", Password: "guess"}, "unauthorized"},
		"right": {davit.RegistryAuth{Username: "davit", Password: "secret"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(what string, err error) {
				t.Helper()
				if tt.err == "" && err != nil {
					t.Errorf("%s: %v", what, err)
				}
				if tt.err != "" && (davit.CodeOf(err) != davit.RegistryUnauthorized || !strings.Contains(fmt.Sprint(err), tt.err)) {
					t.Errorf("%s: %s %v", what, davit.CodeOf(err), err)
				}
			}
			_, err := client.Push(t.Context(), davit.Push{Reference: host + "/private:1", Auth: &tt.auth}, img.manifest.descriptor(), stored(img))
			check("push", err)
			login := tt.auth
			login.ServerAddress = host
			_, err = client.Auth(t.Context(), login)
			check("login", err)
		})
	}
	_, err := client.Search(t.Context(), davit.Search{Term: host + "/app", Limit: 5, Auth: &davit.RegistryAuth{Username: "davit", Password: "secret"}})
	if davit.CodeOf(err) != davit.NotSupported || !strings.Contains(fmt.Sprint(err), "cannot be searched") {
		t.Errorf("search of a registry that has none: %v", err)
	}
}

// A registry that is out of breath is asked again; each upload begins anew.
func TestPushIsRetried(t *testing.T) {
	b := fake.Build("amd64", davit.ContainerConfig{}, map[string]string{"f": strings.Repeat("x", 200_000)})
	for _, status := range []int{500, 502, 503, 429} {
		hub := fake.NewHub()
		var mu sync.Mutex
		seen := map[string]int{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			key := r.Method + r.URL.Path + r.URL.RawQuery
			seen[key]++
			first := seen[key] == 1 && r.URL.Path != "/v2/"
			mu.Unlock()
			if first {
				http.Error(w, "{}", status)
				return
			}
			hub.ServeHTTP(w, r)
		}))
		client := New(Options{})
		client.backoff = time.Microsecond
		blobs := fake.NewBlobs()
		must(b.Put(t.Context(), blobs))
		_, err := client.Push(t.Context(), davit.Push{Reference: strings.TrimPrefix(server.URL, "http://") + "/team/app:v1"}, b.Target, blobs)
		if err != nil || hub.Tag("team/app:v1") != b.Target {
			t.Errorf("status %d at first: %v", status, err)
		}
		server.Close()
	}
}

func TestPushGivesUp(t *testing.T) {
	b := fake.Build("amd64", davit.ContainerConfig{}, map[string]string{"f": "x"})
	for status, want := range map[int]struct {
		code  davit.Code
		text  string
		tries int
	}{
		403: {davit.RegistryUnauthorized, "push access denied for 127.0.0.1", 1},
		500: {davit.RegistryUnreachable, "answered with status 500: unknown: out of order", maxRetries + 1},
		413: {davit.RegistryUnreachable, "answered with status 413", 1},
	} {
		var mu sync.Mutex
		tries := 0
		hub := fake.NewHub()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				hub.ServeHTTP(w, r)
				return
			}
			mu.Lock()
			tries++
			mu.Unlock()
			http.Error(w, `{"errors":[{"code":"UNKNOWN","message":"out of order"}]}`, status)
		}))
		client := New(Options{})
		client.backoff = time.Microsecond
		blobs := fake.NewBlobs()
		must(b.Put(t.Context(), blobs))
		_, err := client.Push(t.Context(), davit.Push{Reference: strings.TrimPrefix(server.URL, "http://") + "/team/app:v1"}, b.Target, blobs)
		server.Close()
		if davit.CodeOf(err) != want.code || !strings.Contains(fmt.Sprint(err), want.text) || tries != want.tries {
			t.Errorf("status %d: %d tries, %v", status, tries, err)
		}
	}
}

// TestPushStops ends a push while the registry does not read.
func TestPushStops(t *testing.T) {
	b := fake.Build("amd64", davit.ContainerConfig{}, map[string]string{"f": strings.Repeat("x", 20<<20)})
	hub := fake.NewHub()
	ctx, cancel := context.WithCancelCause(t.Context())
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			cancel(errors.New("enough"))
			<-over
			return
		}
		hub.ServeHTTP(w, r)
	}))
	defer server.Close()
	defer close(over)
	blobs := fake.NewBlobs()
	must(b.Put(t.Context(), blobs))
	_, err := New(Options{}).Push(ctx, davit.Push{Reference: strings.TrimPrefix(server.URL, "http://") + "/a:v1"}, b.Target, blobs)
	if err == nil || err.Error() != "enough" {
		t.Errorf("Push = %v", err)
	}
}

// TestTokenLogin logs in to and pushes to a registry with a token server, and
// refuses one that would have the password without TLS.
func TestTokenLogin(t *testing.T) {
	ca := newAuthority()
	b := fake.Build("amd64", davit.ContainerConfig{}, map[string]string{"f": "x"})
	hub := fake.NewHub()
	var scopes []string
	tokens := func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "secret" {
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}`, http.StatusUnauthorized)
			return
		}
		scopes = append(scopes, r.URL.Query()["scope"]...)
		must(json.NewEncoder(w).Encode(map[string]string{"token": "t0ken"}))
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("asked for a token without TLS: %v", r.Header)
		tokens(w, r)
	}))
	defer plain.Close()
	realm := ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			tokens(w, r)
		case r.Header.Get("Authorization") != "Bearer t0ken":
			scope := ""
			if _, rest, ok := strings.Cut(r.URL.Path, "/v2/"); ok && rest != "" {
				scope = `,scope="repository:team/app:pull,push"`
			}
			w.Header().Set("Www-Authenticate", `Bearer realm="`+realm+`",service="test"`+scope)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		default:
			r.Header.Del("Authorization")
			hub.ServeHTTP(w, r)
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue("reg.example")}}
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	defer server.Close()
	client := New(Options{CertsDir: ca.certsDir(t, "reg.example", map[string][]byte{"ca.crt": ca.certPEM()})})
	client.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == "reg.example:443" {
			addr = server.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	credential := davit.RegistryAuth{Username: "user", Password: "secret", ServerAddress: "https://reg.example/v1/"}

	realm = "https://reg.example/token"
	if r, err := client.Auth(t.Context(), credential); err != nil || r.Status != "Login Succeeded" {
		t.Errorf("login: %+v, %v", r, err)
	}
	wrong := credential
	wrong.Password = "guess"
	_, err := client.Auth(t.Context(), wrong)
	if said := fmt.Sprint(err); davit.CodeOf(err) != davit.RegistryUnauthorized || !strings.Contains(said, "incorrect username or password") || strings.Contains(said, "guess") {
		t.Errorf("login with a wrong password: %s %v", davit.CodeOf(err), err)
	}
	blobs := fake.NewBlobs()
	must(b.Put(t.Context(), blobs))
	if _, err := client.Push(t.Context(), davit.Push{Reference: "reg.example/team/app:v1", Auth: &credential}, b.Target, blobs); err != nil {
		t.Error(err)
	}
	if len(scopes) == 0 || !strings.HasSuffix(scopes[len(scopes)-1], "repository:team/app:pull,push") {
		t.Errorf("tokens were asked for with the scopes %q", scopes)
	}

	realm = plain.URL + "/token"
	if _, err := client.Auth(t.Context(), credential); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("login by a token server without TLS: %v", err)
	}
}

func TestServerName(t *testing.T) {
	for address, want := range map[string]string{
		"": "docker.io", "https://index.docker.io/v1/": "docker.io", "docker.io": "docker.io", "registry-1.docker.io": "docker.io",
		"reg.example": "reg.example", "http://reg.example:5000": "reg.example:5000", "https://reg.example/v2/": "reg.example", "[::1]:5000": "[::1]:5000",
	} {
		if got, err := serverName(address); err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", address, got, err, want)
		}
	}
	for _, bad := range []string{"a b", "user:secret@reg.example", "reg.example?x"} {
		if got, err := serverName(bad); davit.CodeOf(err) != davit.InvalidName || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%q is %q, %v, want it refused", bad, got, err)
		}
	}
}

// A registry that takes no more is given up, not waited for.
func TestStalledPushIsGivenUp(t *testing.T) {
	b := fake.Build("amd64", davit.ContainerConfig{}, map[string]string{"f": strings.Repeat("x", 20<<20)})
	hub := fake.NewHub()
	over := make(chan struct{})
	var mu sync.Mutex
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			mu.Lock()
			tries++
			mu.Unlock()
			<-over
			return
		}
		hub.ServeHTTP(w, r)
	}))
	defer server.Close()
	defer close(over)
	blobs := fake.NewBlobs()
	must(b.Put(t.Context(), blobs))
	client := New(Options{})
	client.backoff, client.stall = time.Microsecond, 50*time.Millisecond
	_, err := client.Push(t.Context(), davit.Push{Reference: strings.TrimPrefix(server.URL, "http://") + "/a:v1"}, b.Target, blobs)
	if davit.CodeOf(err) != davit.RegistryUnreachable || !errors.Is(err, errStalled) {
		t.Errorf("Push = %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if tries != maxRetries+1 {
		t.Errorf("it was tried %d times, want %d", tries, maxRetries+1)
	}
}
