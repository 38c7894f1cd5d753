// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
)

// htpasswd is user davit with password secret, by bcrypt.
const htpasswd = "davit:$2b$04$J6DgEtrwYXX7M9hs0xdU.OYWiAkoaSNFkw5mAK.1S0DlYFo4JUf.6\n"

// startRegistry runs Debian's docker-registry on a port of loopback and returns
// its address.
func startRegistry(t *testing.T, config string) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs docker-registry")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yml")
	text := "version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: " + dir + "/data}}\nhttp: {addr: '127.0.0.1:0'}\n" + config
	must(os.WriteFile(file, []byte(text), 0o600))
	cmd := exec.Command(program, "serve", file)
	out, err := cmd.StderrPipe()
	must(err)
	must(cmd.Start())
	address := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		pattern := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := pattern.FindStringSubmatch(lines.Text()); m != nil {
				address <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		must(cmd.Process.Kill())
		<-drained
		_ = cmd.Wait() // killed
	})
	select {
	case a := <-address:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("docker-registry does not listen")
		return ""
	}
}

func skopeo(t *testing.T, args ...string) {
	t.Helper()
	program, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("needs skopeo")
	}
	if out, err := exec.Command(program, append([]string{"--insecure-policy"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("skopeo %q: %v\n%s", args, err, out)
	}
}

func TestRealRegistry(t *testing.T) {
	host := startRegistry(t, "")
	amd, arm := newImage("amd64", 300_000, 10, 5000), newImage("arm64", 2000)
	both := join(amd, arm)
	layout := filepath.Join(t.TempDir(), "oci")
	both.writeLayout(t, layout, both.index)
	skopeo(t, "copy", "--all", "--dest-tls-verify=false", "oci:"+layout+":latest", "docker://"+host+"/team/multi:1")
	single := filepath.Join(t.TempDir(), "oci")
	amd.writeLayout(t, single, amd.manifest)
	skopeo(t, "copy", "--format=v2s2", "--dest-tls-verify=false", "oci:"+single+":latest", "docker://"+host+"/docker:1")

	linux := func(arch string) davit.Platform { return davit.Platform{OS: "linux", Architecture: arch} }
	tests := []struct {
		ref      string
		platform davit.Platform
		manifest content // expected; zero: not known before
		target   content
		blobs    int
		code     davit.Code
		err      string
	}{
		{ref: "/team/multi:1", platform: linux("amd64"), manifest: amd.manifest, target: both.index, blobs: 6},
		{ref: "/team/multi:1", platform: linux("arm64"), manifest: arm.manifest, target: both.index, blobs: 4},
		{ref: "/team/multi:1", platform: linux("aarch64"), manifest: arm.manifest, target: both.index, blobs: 4},
		{ref: "/team/multi@" + both.index.Digest.String(), platform: linux("amd64"), manifest: amd.manifest, target: both.index, blobs: 6},
		{ref: "/team/multi:ignored@" + arm.manifest.Digest.String(), manifest: arm.manifest, target: arm.manifest, blobs: 3},
		{ref: "/docker:1", platform: linux("amd64"), blobs: 5},
		{ref: "/docker:1", blobs: 5},
		{ref: "/team/multi:1", platform: linux("riscv64"), code: davit.NoSuchImage, err: "no matching manifest for linux/riscv64 in the manifest list entries"},
		{ref: "/docker:1", platform: linux("riscv64"), code: davit.NoSuchImage, err: "does not provide the specified platform (linux/riscv64)"},
		{ref: "/docker:1", platform: davit.Platform{OS: "windows"}, code: davit.NotSupported, err: "windows"},
		{ref: "/docker:nope", code: davit.NoSuchImage, err: "manifest for " + host + "/docker:nope not found: manifest unknown: manifest unknown"},
		{ref: "/docker", code: davit.NoSuchImage, err: "manifest for " + host + "/docker:latest not found: manifest unknown: manifest unknown"},
		{ref: "/nobody/nothing:1", code: davit.NoSuchImage, err: "not found: "},
		{ref: "/Upper:1", code: davit.InvalidName, err: "Upper"},
		{ref: "", code: davit.InvalidName, err: "invalid reference"},
	}
	client := New(Options{UserAgent: "davit-test"})
	for _, tt := range tests {
		t.Run(strings.TrimPrefix(tt.ref, "/")+" "+tt.platform.Architecture, func(t *testing.T) {
			store := newStore()
			ref := tt.ref
			if ref != "" {
				ref = host + ref
			}
			pulled, err := client.Pull(t.Context(), davit.Pull{Reference: ref, Platform: tt.platform}, store)
			if tt.code != "" {
				if davit.CodeOf(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.err) {
					t.Errorf("error is %s %v", davit.CodeOf(err), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.manifest.Size != 0 {
				want := davit.Pulled{Target: tt.target.descriptor(), Manifest: tt.manifest.descriptor(), Reference: pulled.Reference}
				if diff := cmp.Diff(want, pulled); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if wantRef := strings.Replace(ref, ":ignored", "", 1); pulled.Reference != wantRef {
				t.Errorf("reference %q, want %q", pulled.Reference, wantRef)
			}
			if store.len() != tt.blobs || !store.Has(pulled.Target.Digest) || !store.Has(pulled.Manifest.Digest) {
				t.Errorf("%d blobs, want %d", store.len(), tt.blobs)
			}
			if last := store.order[len(store.order)-1]; last != pulled.Target.Digest {
				t.Error("the target was not the last to be stored")
			}
		})
	}
}

func TestProgress(t *testing.T) {
	host := startRegistry(t, "")
	img := newImage("amd64", 300_000, 300_000)
	layout := filepath.Join(t.TempDir(), "oci")
	img.writeLayout(t, layout, img.manifest)
	skopeo(t, "copy", "--dest-tls-verify=false", "oci:"+layout+":latest", "docker://"+host+"/a:1")
	client, store := New(Options{}), newStore()
	req := davit.Pull{Reference: host + "/a:1"}
	for round, want := range [][]string{
		{"Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete"},
		{"Already exists"},
	} {
		var r recorder
		if _, err := client.Pull(r.context(t.Context()), req, store); err != nil {
			t.Fatal(err)
		}
		for _, layer := range img.layers {
			if diff := cmp.Diff(want, r.phases(layer.Digest.Encoded()[:12])); diff != "" {
				t.Errorf("round %d (-want +got):\n%s", round, diff)
			}
		}
		for _, p := range r.all {
			if p.Current > p.Total {
				t.Errorf("%+v", p)
			}
		}
	}
}

func TestBasicAuth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	must(os.WriteFile(file, []byte(htpasswd), 0o600))
	host := startRegistry(t, "auth: {htpasswd: {realm: test, path: "+file+"}}\n")
	img := newImage("amd64", 1000)
	layout := filepath.Join(t.TempDir(), "oci")
	img.writeLayout(t, layout, img.manifest)
	skopeo(t, "copy", "--dest-tls-verify=false", "--dest-creds=davit:secret", "oci:"+layout+":latest", "docker://"+host+"/private:1")
	tests := map[string]struct {
		auth *davit.RegistryAuth
		err  string
	}{
		"none":     {nil, "pull access denied for " + host + "/private"},
		"empty":    {&davit.RegistryAuth{}, "docker login"},
		"wrong":    {&davit.RegistryAuth{Username: "davit", Password: "guess"}, "unauthorized: authentication required"},
		"nonsense": {&davit.RegistryAuth{Auth: "%%"}, "base64"},
		"right":    {&davit.RegistryAuth{Username: "davit", Password: "secret"}, ""},
		"encoded":  {&davit.RegistryAuth{Auth: base64.StdEncoding.EncodeToString([]byte("davit:secret"))}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{}).Pull(t.Context(), davit.Pull{Reference: host + "/private:1", Auth: tt.auth}, newStore())
			if tt.err == "" && err != nil {
				t.Error(err)
			}
			if tt.err != "" && (davit.CodeOf(err) != davit.RegistryUnauthorized || !strings.Contains(fmt.Sprint(err), tt.err)) {
				t.Errorf("error is %s %v", davit.CodeOf(err), err)
			}
		})
	}
}
