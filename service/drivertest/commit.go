// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/images"
	"github.com/opencontainers/go-digest"
)

func testCommit(t *testing.T, s service.RootfsStore, images images.Store) {
	img := importImage(t, images, "base", map[string]string{"etc/motd": "hello", "etc/gone": "x", "data/old": "1"})
	id := fake.ID("one")
	must(t, s.Create(id, img))
	inRoot(t, s, id, func(dir string) {
		must(t, os.WriteFile(filepath.Join(dir, "etc/motd"), []byte("changed"), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "data/new"), []byte("2"), 0o600))
		must(t, os.Remove(filepath.Join(dir, "etc/gone")))
	})
	made := result(images.Commit(t.Context(), davit.Snapshot{
		Container: id, Parent: img.ID, Reference: "team/app:v1", Author: "somebody", Message: "why", CreatedBy: "/app --once",
		Config: davit.ContainerConfig{Cmd: []string{"/app"}, Env: []string{"A=1"}}, Changes: []string{"ENV B=2"},
	}))(t)
	if !slices.Equal(made.Tags, []string{"team/app:v1"}) || made.Parent != img.ID || made.Author != "somebody" || made.Comment != "why" {
		t.Errorf("made was %+v", made)
	}
	if len(made.Layers) != len(img.Layers)+1 || !slices.Equal(made.Layers[:len(img.Layers)], img.Layers) {
		t.Errorf("its layers %v are not one more than %v", made.Layers, img.Layers)
	}
	if h := made.History; len(h) != len(img.History)+1 || h[len(h)-1].CreatedBy != "/app --once" {
		t.Errorf("its history is %+v", h)
	}
	if !slices.Equal(made.Config.Cmd, []string{"/app"}) || !slices.Equal(made.Config.Env, []string{"A=1", "B=2"}) {
		t.Errorf("its configuration is %+v", made.Config)
	}
	if d := diff(made, result(images.Get("team/app:v1"))(t)); d != "" {
		t.Errorf("what commit returned is not what is there (-want +got):\n%s", d)
	}
	if o := result(images.Original(t.Context(), "team/app:v1"))(t); o.Manifest.Digest == "" {
		t.Error("it has no manifest")
	} else {
		must(t, o.Release())
	}
	two := fake.ID("two")
	must(t, s.Create(two, made))
	inRoot(t, s, two, func(dir string) {
		for name, want := range map[string]string{"etc/motd": "changed", "data/new": "2", "data/old": "1"} {
			if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != want {
				t.Errorf("in a container of it %s reads %q, %v, want %q", name, data, err, want)
			}
		}
		if _, err := os.Lstat(filepath.Join(dir, "etc/gone")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what was removed is there: %v", err)
		}
	})
}

func testCommitRefusals(t *testing.T, s service.RootfsStore, images images.Store) {
	img := importImage(t, images, "base", map[string]string{"f": "x"})
	id := fake.ID("one")
	must(t, s.Create(id, img))
	for name, c := range map[string]struct {
		q    davit.Snapshot
		code davit.Code
	}{
		"a bad name":              {davit.Snapshot{Container: id, Parent: img.ID, Reference: "UPPER"}, davit.InvalidName},
		"an unknown change":       {davit.Snapshot{Container: id, Parent: img.ID, Changes: []string{"FROBNICATE x"}}, davit.InvalidConfiguration},
		"a parent that is gone":   {davit.Snapshot{Container: id, Parent: digest.FromString("no")}, davit.NoSuchImage},
		"a container that is not": {davit.Snapshot{Container: fake.ID("nobody"), Parent: img.ID}, davit.NoSuchContainer},
	} {
		_, err := images.Commit(t.Context(), c.q)
		wantCode(t, err, c.code, "committing with "+name)
		wantImages(t, images, 1, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := images.Commit(ctx, davit.Snapshot{Container: id, Parent: img.ID}); err == nil {
		t.Error("a commit with an ended context succeeded")
	}
	wantImages(t, images, 1, "an ended context")
}
