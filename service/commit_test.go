// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

func TestCommit(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", func(q *davit.Create) { q.Config.Env = []string{"A=1"} })
		dir, release, err := h.rootfs.Mount(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data/new"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
		img := do(d, davit.ContainerCommit{Container: "web", Reference: "mine:v1", Message: "why", Author: "me", Pause: true, Changes: []string{`CMD ["/app"]`}})
		if img.Comment != "why" || img.Author != "me" || !slices.Equal(img.Config.Cmd, []string{"/app"}) || !slices.Contains(img.Config.Env, "A=1") {
			t.Errorf("made was %+v", img)
		}
		if s := d.inspect("web").State.Status; s != davit.StatusRunning {
			t.Errorf("after the commit the container is %s", s)
		}
		if got := d.actions(id); !slices.Equal(got, []string{"create", "start", "pause", "commit", "unpause"}) {
			t.Errorf("the events were %q", got)
		}
		two := d.create("two", func(q *davit.Create) { q.Config.Image = "mine:v1" })
		if got := d.inspect(two); got.Path != "/app" || got.ImageID != img.ID {
			t.Errorf("a container of it is %+v", got.Container)
		}

		config := davit.ContainerConfig{Cmd: []string{"/other"}}
		img = do(d, davit.ContainerCommit{Container: "web", Config: &config})
		if len(img.Tags) != 0 || !slices.Equal(img.Config.Cmd, config.Cmd) || !slices.Contains(img.Config.Env, "A=1") {
			t.Errorf("with a configuration of its own it is %+v", img)
		}
		do(d, davit.Pause{Container: "web"})
		do(d, davit.ContainerCommit{Container: "web", Pause: true})
		if s := d.inspect("web").State.Status; s != davit.StatusPaused {
			t.Errorf("a container that was paused before the commit is %s after it", s)
		}
		do(d, davit.Unpause{Container: "web"})
		refused(d, davit.ContainerCommit{Container: "nobody"}, davit.NoSuchContainer)
		refused(d, davit.ContainerCommit{Container: "web", Reference: "UPPER", Pause: true}, davit.InvalidName)
		h.images.Then("Commit", func() {
			d.kill()
			d = h.boot()
			if s := d.inspect("web").State.Status; s != davit.StatusPaused {
				t.Errorf("a daemon that died in a commit left the container %s", s)
			}
			if err := d.svc.Resume(); err != nil {
				t.Error(err)
			}
			settle()
			if s := d.inspect("web").State.Status; s != davit.StatusRunning {
				t.Errorf("after the next daemon's start it is %s", s)
			}
		})
		_, _ = try(d, davit.ContainerCommit{Container: "web", Pause: true}) // nobody heard how it went
		h.images.Fail("Commit", fake.ErrInjected)
		if _, err := try(d, davit.ContainerCommit{Container: "web", Pause: true}); err == nil {
			t.Error("a commit that fails has succeeded")
		}
		if s := d.inspect("web").State.Status; s != davit.StatusRunning {
			t.Errorf("after commits that failed the container is %s", s)
		}
	})
}
