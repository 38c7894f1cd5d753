// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

func (p pulls) push(ctx context.Context, name string, b fake.Built, auth *davit.RegistryAuth) (davit.Descriptor, error) {
	return p.Push(ctx, davit.Push{Reference: p.prefix + name, Auth: auth}, b.Target, p.blobs)
}

func testPush(t *testing.T, p pulls) {
	b := example()
	must(t, b.Put(t.Context(), p.blobs))
	got := result(p.push(t.Context(), "team/app:1.14", b, nil))(t)
	if d := diff(b.Target, got); d != "" {
		t.Errorf("pushed (-want +got):\n%s", d)
	}
	if d := diff(b.Target, p.hub.Tag("team/app:1.14")); d != "" {
		t.Errorf("in the registry is (-want +got):\n%s", d)
	}
	for dgst, data := range b.Blobs {
		if !bytes.Equal(p.hub.Blob(dgst), data) {
			t.Errorf("the blob %s is not in the registry as it is here", dgst)
		}
	}
	result(p.push(t.Context(), "team/app", b, nil))(t)
	if p.hub.Tag("team/app:latest").Digest != b.Target.Digest {
		t.Error("a push without a tag is not one of latest")
	}
	p.blobs = fake.NewBlobs()
	back := result(p.pull(t.Context(), "team/app:1.14", nil))(t)
	if back.Manifest.Digest != b.Target.Digest {
		t.Errorf("pulled back was %s, not %s", back.Manifest.Digest, b.Target.Digest)
	}
	p.wantBlobs(t, b)
}

// A layer that the repository has is not sent again.
func testPushAgain(t *testing.T, p pulls) {
	one := fake.Build(runtime.GOARCH, davit.ContainerConfig{}, map[string]string{"base": "1"}, map[string]string{"app": "1"})
	two := fake.Build(runtime.GOARCH, davit.ContainerConfig{}, map[string]string{"base": "1"}, map[string]string{"app": "2"})
	for _, b := range []fake.Built{one, two, one} {
		must(t, b.Put(t.Context(), p.blobs))
		result(p.push(t.Context(), "team/app:v1", b, nil))(t)
	}
	for dgst := range one.Blobs {
		if n := p.hub.Sent(dgst); n > 1 {
			t.Errorf("the blob %s was sent %d times", dgst, n)
		}
	}
	if p.hub.Tag("team/app:v1").Digest != one.Target.Digest {
		t.Error("the tag does not mean what was pushed last")
	}
}

func testPushRefusals(t *testing.T, p pulls) {
	b := example()
	must(t, b.Put(t.Context(), p.blobs))
	for _, name := range []string{"team/UPPER:v1", "", "team/app@" + b.Target.Digest.String()} {
		_, err := p.push(t.Context(), name, b, nil)
		wantCode(t, err, davit.InvalidName, "pushing "+name)
	}
	if _, err := p.push(t.Context(), "team/app:v1", fake.Built{Target: fake.Describe("nowhere")}, nil); err == nil {
		t.Error("a manifest that is not there was pushed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.push(ctx, "team/app:v1", b, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	p.hub.SetPrivate()
	for name, auth := range map[string]*davit.RegistryAuth{
		"no credentials": nil, "a wrong password": {Username: "user", Password: "guess"},
	} {
		_, err := p.push(t.Context(), "team/app:v1", b, auth)
		wantCode(t, err, davit.RegistryUnauthorized, "pushing with "+name)
		if said := fmt.Sprint(err); strings.Contains(said, "guess") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	if p.hub.Tag("team/app:v1") != (davit.Descriptor{}) {
		t.Error("what was refused is there")
	}
	result(p.push(t.Context(), "team/app:v1", b, &davit.RegistryAuth{Username: "user", Password: "secret"}))(t)
}

func testAuth(t *testing.T, p pulls) {
	host, _, _ := strings.Cut(p.prefix, "/")
	p.hub.SetPrivate()
	for _, address := range []string{host, "http://" + host, "https://" + host + "/v2/"} {
		got := result(p.Auth(t.Context(), davit.RegistryAuth{Username: "user", Password: "secret", ServerAddress: address}))(t)
		if got.Status != "Login Succeeded" {
			t.Errorf("%s answered %+v", address, got)
		}
	}
	for name, auth := range map[string]davit.RegistryAuth{
		"no credentials": {}, "a wrong password": {Username: "user", Password: "guess"}, "another user": {Username: "other", Password: "secret"},
	} {
		auth.ServerAddress = host
		_, err := p.Auth(t.Context(), auth)
		wantCode(t, err, davit.RegistryUnauthorized, "logging in with "+name)
		if said := fmt.Sprint(err); strings.Contains(said, "guess") || strings.Contains(said, "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func testSearch(t *testing.T, p pulls) {
	host, _, _ := strings.Cut(p.prefix, "/")
	p.hub.Push("team/app:v1", example())
	p.hub.Push("other:v1", example())
	got := result(p.Search(t.Context(), davit.Search{Term: host + "/app", Limit: 25}))(t)
	want := []davit.SearchResult{{Name: "team/app", Description: "about team/app", Stars: 8}}
	if d := diff(want, got); d != "" {
		t.Errorf("found (-want +got):\n%s", d)
	}
	if got := result(p.Search(t.Context(), davit.Search{Term: host + "/nothing", Limit: 25}))(t); len(got) != 0 {
		t.Errorf("found %+v", got)
	}
}
