// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/google/go-cmp/cmp"
)

func TestSaveImages(t *testing.T) {
	d := openDoor(t)
	asked := make(chan davit.Save, 1)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Save) (davit.Nothing, error) {
		open := q.Open
		q.Open = nil
		asked <- q
		if q.Images[0] == "nobody" {
			return davit.Nothing{}, davit.Errorf(davit.NoSuchImage, "No such image: nobody")
		}
		w, err := open()
		if err == nil {
			_, err = io.WriteString(w, "an archive")
		}
		if q.Images[0] == "torn" {
			err = errors.New("a blob cannot be read")
		}
		return davit.Nothing{}, err
	})
	for path, want := range map[string]davit.Save{
		"/images/get?names=a&names=example.org/b:v1":                   {Images: []string{"a", "example.org/b:v1"}},
		"/images/example.org/b:v1/get":                                 {Images: []string{"example.org/b:v1"}},
		"/images/a/get?platform=linux/arm64":                           {Images: []string{"a"}, Platform: davit.Platform{OS: "linux", Architecture: "arm64"}},
		`/images/a/get?platform={"os":"linux","architecture":"arm64"}`: {Images: []string{"a"}, Platform: davit.Platform{OS: "linux", Architecture: "arm64"}},
	} {
		r := d.do("GET", path, "")
		if r.status != 200 || r.body != "an archive" || r.header.Get("Content-Type") != "application/x-tar" || r.header.Get("Davit-Job") == "" {
			t.Errorf("%s: %+v", path, r)
		}
		if diff := cmp.Diff(want, <-asked); diff != "" {
			t.Errorf("%s asked for (-want +got):\n%s", path, diff)
		}
	}
	if r := d.do("GET", "/images/get?names=nobody", ""); r.status != 404 || r.message() != "No such image: nobody" {
		t.Errorf("an unknown image: %d %s", r.status, r.body)
	}
	<-asked
	for path, status := range map[string]int{"/images/a/get?platform={": 400, "/images/a/get?platform=a&platform=b": 501} {
		if r := d.do("GET", path, ""); r.status != status {
			t.Errorf("%s: %d %s, want %d", path, r.status, r.body, status)
		}
	}
	_, br := d.dial("GET /images/torn/get HTTP/1.1\r\nHost: d\r\n\r\n")
	if b, err := io.ReadAll(br); err == nil && strings.HasSuffix(string(b), "0\r\n\r\n") {
		t.Errorf("a torn archive ends like a whole one: %q", b)
	}
	<-asked
	out := filepath.Join(t.TempDir(), "a.tar")
	if _, errs, code := docker(t, d, "", "save", "-o", out, "a", "b"); code != 0 {
		t.Fatalf("docker save: exit %d %s", code, errs)
	}
	if data, err := os.ReadFile(out); err != nil || string(data) != "an archive" {
		t.Errorf("docker save wrote %q, %v", data, err)
	}
	if diff := cmp.Diff(davit.Save{Images: []string{"a", "b"}}, <-asked); diff != "" {
		t.Errorf("docker save asked for (-want +got):\n%s", diff)
	}
}

func TestPruneImages(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Prune) (davit.Pruned, error) {
		if diff := cmp.Diff(davit.Prune{Class: "image", Filters: map[string][]string{"dangling": {"false"}, "label!": {"keep"}, "until": {"24h"}}}, q); diff != "" {
			t.Errorf("asked for (-want +got):\n%s", diff)
		}
		return davit.Pruned{Images: []davit.ImageDeletion{{Untagged: "a:v1"}, {Deleted: "sha256:aa"}}, Reclaimed: 2_000_000}, nil
	})
	out, errs, code := docker(t, d, "", "image", "prune", "-af", "--filter", "label!=keep", "--filter", "until=24h")
	if want := "Deleted Images:\nuntagged: a:v1\ndeleted: sha256:aa\n\nTotal reclaimed space: 2MB\n"; out != want || code != 0 {
		t.Errorf("docker image prune: exit %d %s\n%s", code, errs, out)
	}
	if r := d.do("POST", `/images/prune?filters={"nonsense":["x"]}`, ""); r.status != 400 {
		t.Errorf("an unknown filter: %d %s", r.status, r.body)
	}
}
