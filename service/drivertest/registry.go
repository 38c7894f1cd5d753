// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/images"
	"github.com/opencontainers/go-digest"
)

// TestRegistry checks an [images.Registry]. open returns one that pulls from
// the hub what is called prefix + name.
func TestRegistry(t *testing.T, open func(t *testing.T, hub *fake.Hub) (r images.Registry, prefix string)) {
	for name, test := range map[string]func(*testing.T, pulls){
		"tag": testPullTag, "digest": testPullDigest, "index": testPullIndex, "what is there": testPullAgain,
		"not found": testPullNothing, "damaged blobs": testPullDamaged, "lost blobs": testPullLost,
		"credentials": testPullPrivate, "ended context": testPullCanceled,
		"push": testPush, "push again": testPushAgain, "push refuses": testPushRefusals, "auth": testAuth, "search": testSearch,
	} {
		t.Run(name, func(t *testing.T) {
			hub := fake.NewHub()
			r, prefix := open(t, hub)
			test(t, pulls{r, hub, prefix, fake.NewBlobs()})
		})
	}
}

// pulls is what one test of the suite works with.
type pulls struct {
	images.Registry
	hub    *fake.Hub
	prefix string
	blobs  *fake.Blobs
}

func (p pulls) pull(ctx context.Context, name string, auth *davit.RegistryAuth) (davit.Pulled, error) {
	return p.Pull(ctx, davit.Pull{Reference: p.prefix + name, Auth: auth}, p.blobs)
}

func (p pulls) wantBlobs(t *testing.T, b fake.Built) {
	t.Helper()
	for dgst, data := range b.Blobs {
		if back, err := fake.ReadBlob(t.Context(), p.blobs, dgst); err != nil || string(back) != string(data) {
			t.Errorf("the blob %s is not there as it should be: %v", dgst, err)
		}
	}
}

func example() fake.Built {
	return fake.Build(runtime.GOARCH, davit.ContainerConfig{Cmd: []string{"/app"}}, map[string]string{"app": "1"}, map[string]string{"lib": "2"})
}

func testPullTag(t *testing.T, p pulls) {
	b := example()
	p.hub.Push("team/app:1.14", b)
	p.hub.Push("team/app:latest", b)
	got := result(p.pull(t.Context(), "team/app:1.14", nil))(t)
	if got.Target.Digest != b.Target.Digest || got.Manifest.Digest != b.Target.Digest || got.Manifest.MediaType != "application/vnd.oci.image.manifest.v1+json" {
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
	p.blobs = fake.NewBlobs()
	if _, err := p.pull(t.Context(), "team/app@"+b.Target.Digest.String(), nil); err == nil {
		t.Error("a manifest with another digest than was asked for was believed")
	}
	if p.blobs.Has(b.Target.Digest) {
		t.Error("a damaged manifest is in the store")
	}
}

func testPullIndex(t *testing.T, p pulls) {
	here := example()
	there := fake.Build("s390x", davit.ContainerConfig{}, map[string]string{"app": "other"})
	index := fake.Index(map[string]fake.Built{runtime.GOARCH: here, "s390x": there})
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
	for name, pick := range map[string]func(fake.Built) digest.Digest{
		"a layer":    func(b fake.Built) digest.Digest { return b.Layers[1] },
		"the config": func(b fake.Built) digest.Digest { return b.Config },
	} {
		b := example()
		bad := pick(b)
		p.hub.Push("team/app:v1", b)
		p.hub.Damage(bad)
		p.blobs = fake.NewBlobs()
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
		if said := fmt.Sprint(err); strings.Contains(said, "guess") {
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
