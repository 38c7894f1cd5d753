// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davit-engine/davit"
)

// bootList returns the names of the containers that are listed to come back.
func (d *daemon) bootList() string {
	d.t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.config.DataRoot, "boot.d"))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if c, err := try(d, davit.ContainerInspect{Container: e.Name()}); err == nil {
			names = append(names, c.Name)
		} else {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestBootList(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		policy := func(name string) func(*davit.Create) {
			return func(q *davit.Create) { q.HostConfig.RestartPolicy.Name = name }
		}
		is := func(when, want string) {
			t.Helper()
			synctest.Wait()
			if got := d.bootList(); got != want {
				t.Errorf("%s: listed are %q, want %q", when, got, want)
			}
		}
		is("at first", "")
		d.create("never", policy("always"))
		is("created and not started", "")
		ids := map[string]string{}
		for _, name := range []string{"always", "unless-stopped", "on-failure", "no"} {
			ids[name] = d.run(name, policy(name))
		}
		is("running", "always on-failure unless-stopped")
		zero := time.Duration(0)
		for _, name := range []string{"always", "unless-stopped", "on-failure", "no"} {
			do(d, davit.Stop{Container: name, Timeout: &zero})
		}
		is("stopped by somebody", "always")
		do(d, davit.Start{Container: "unless-stopped"})
		is("started again", "always unless-stopped")
		do(d, davit.Rename{Container: "unless-stopped", Name: "renamed"})
		is("renamed", "always renamed")
		do(d, davit.Delete{Container: "renamed", Force: true})
		do(d, davit.Delete{Container: "always"})
		is("removed", "")

		d.create("cut", policy("always"))
		h.state.Then("PutContainer", func() {
			if got := d.bootList(); got != "cut" {
				t.Errorf("while the record of a start is written: listed are %q", got)
			}
		})
		do(d, davit.Start{Container: "cut"})
		h.state.Then("PutContainer", func() {
			if got := d.bootList(); got != "cut" {
				t.Errorf("while the record of a stop is written: listed are %q", got)
			}
		})
		do(d, davit.Delete{Container: "cut", Force: true})
		is("removed", "")

		do(d, davit.Start{Container: "no"})
		back := d.run("back", policy("unless-stopped"))
		d.kill()
		dir := filepath.Join(h.config.DataRoot, "boot.d")
		if err := os.Remove(filepath.Join(dir, back)); err != nil {
			t.Fatal(err)
		}
		for _, stray := range []string{ids["no"], strings.Repeat("0", 64)} {
			if err := os.WriteFile(filepath.Join(dir, stray), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d = h.boot()
		is("after a crash that left it wrong", "back")
	})
}
