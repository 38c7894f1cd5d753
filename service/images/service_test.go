// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/images"
)

// house is the service over fakes.
type house struct {
	t          *testing.T
	eng        *engine.Engine
	svc        *images.Service
	store      *fake.Images
	hub        *fake.Hub
	registry   *fake.Registry
	containers []davit.Container
	events     []string // "type action name"
}

// with runs a test on a house of its own.
func with(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hub := fake.NewHub()
		h := &house{t: t, eng: engine.New(slog.New(slog.DiscardHandler)), store: fake.NewImages(), hub: hub, registry: fake.NewRegistry(hub)}
		var err error
		h.svc, err = images.New(images.Options{
			Engine: h.eng, Store: h.store, Registry: h.registry,
			Containers: func() []davit.Container { return h.containers },
			Emit: func(ev davit.Event) {
				h.events = append(h.events, strings.TrimSpace(ev.Type+" "+ev.Action+" "+ev.Attributes["name"]))
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		test(t, h)
	})
}

// try runs a job.
func try[Q engine.Typed[R], R any](h *house, q Q) (R, error) {
	return engine.Do(h.t.Context(), h.eng, q)
}

// do is try for what must succeed.
func do[Q engine.Typed[R], R any](h *house, q Q) R {
	h.t.Helper()
	r, err := try(h, q)
	if err != nil {
		h.t.Fatalf("%s: %v", q.JobType(), err)
	}
	return r
}

// refused runs a job that must fail with the code.
func refused[Q engine.Typed[R], R any](h *house, q Q, code davit.Code) {
	h.t.Helper()
	if _, err := try(h, q); davit.CodeOf(err) != code {
		h.t.Errorf("%s %+v: %v, want code %s", q.JobType(), q, err, code)
	}
}

func (h *house) wantEvents(want ...string) {
	h.t.Helper()
	if !slices.Equal(h.events, want) {
		h.t.Errorf("the events were %q, want %q", h.events, want)
	}
	h.events = nil
}

func TestSave(t *testing.T) {
	with(t, func(t *testing.T, h *house) {
		img := h.store.Add("busybox", davit.ContainerConfig{}, map[string]string{"bin/sh": "x"})
		var archive bytes.Buffer
		open := func() (io.Writer, error) { return &archive, nil }
		refused(h, davit.Save{Open: open}, davit.InvalidConfiguration)
		refused(h, davit.Save{Images: []string{"busybox"}, Format: "zip", Open: open}, davit.InvalidConfiguration)
		refused(h, davit.Save{Images: []string{"busybox", "nobody"}, Open: open}, davit.NoSuchImage)
		if archive.Len() > 0 {
			t.Error("what was refused has begun an archive")
		}
		h.wantEvents()
		do(h, davit.Save{Images: []string{"busybox"}, Open: open})
		h.wantEvents("image save " + img.ID.String())
		do(h, davit.ImageDelete{Image: "busybox"})
		if back := do(h, davit.Load{Source: &archive}); len(back) != 1 || back[0].ID != img.ID || !slices.Equal(back[0].Tags, []string{"busybox:latest"}) {
			t.Errorf("it came back as %+v", back)
		}
		h.events = nil
		_, err := try(h, davit.Save{Images: []string{"busybox"}, Open: func() (io.Writer, error) { return nil, fake.ErrInjected }})
		if !errors.Is(err, fake.ErrInjected) {
			t.Errorf("without a writer: %v", err)
		}
		h.wantEvents()
	})
}

func TestPrune(t *testing.T) {
	add := func(h *house, tag string, labels map[string]string, file string) davit.Image {
		return h.store.Add(tag, davit.ContainerConfig{Labels: labels}, map[string]string{"f": file})
	}
	for _, c := range []struct {
		name    string
		filters map[string][]string
		left    []string // tags; "" is the image without one
	}{
		{"nothing is said", nil, []string{"base:v1", "free:v1", "old:v1", "used:v1"}},
		{"dangling", map[string][]string{"dangling": {"true"}}, []string{"base:v1", "free:v1", "old:v1", "used:v1"}},
		{"all", map[string][]string{"dangling": {"false"}}, []string{"used:v1"}},
		{"a label", map[string][]string{"dangling": {"false"}, "label": {"keep=no"}}, []string{"", "base:v1", "old:v1", "used:v1"}},
		{"not a label", map[string][]string{"dangling": {"false"}, "label!": {"keep"}}, []string{"free:v1", "used:v1"}},
		{"until", map[string][]string{"dangling": {"false"}, "until": {"2030-01-01"}}, []string{"used:v1"}},
		{"until before them", map[string][]string{"dangling": {"false"}, "until": {"24h"}}, // by the clock of the test, which begins in 2000
			[]string{"", "base:v1", "free:v1", "old:v1", "used:v1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			with(t, func(t *testing.T, h *house) {
				add(h, "base:v1", nil, "base")
				add(h, "free:v1", map[string]string{"keep": "no"}, "free")
				used := add(h, "used:v1", nil, "used")
				add(h, "old:v1", nil, "first")
				lost := add(h, "older:v1", nil, "lost")
				if err := h.store.Tag("old:v1", "older:v1"); err != nil { // takes the name away
					t.Fatal(err)
				}
				h.containers = []davit.Container{{ID: fake.ID("c"), ImageID: used.ID}}
				before, err := h.store.Size()
				if err != nil {
					t.Fatal(err)
				}
				pruned, err := h.svc.Prune(t.Context(), c.filters)
				if err != nil {
					t.Fatal(err)
				}
				var left []string
				for _, i := range do(h, davit.Images{}) {
					if len(i.Tags) == 0 && i.ID != lost.ID {
						t.Errorf("%s has lost its name", i.ID)
					}
					left = append(left, strings.Split(strings.Join(i.Tags, " "), " ")[0])
				}
				slices.Sort(left)
				if !slices.Equal(left, c.left) {
					t.Errorf("left are %q, want %q; pruned were %+v", left, c.left, pruned.Images)
				}
				after, err := h.store.Size()
				if err != nil || pruned.Reclaimed != before-after {
					t.Errorf("%d bytes were reclaimed, want %d; %v", pruned.Reclaimed, before-after, err)
				}
				if n := len(h.events); h.events[n-1] != "image prune" {
					t.Errorf("the events were %q", h.events)
				}
			})
		})
	}
}

func TestPruneRefuses(t *testing.T) {
	with(t, func(t *testing.T, h *house) {
		h.store.Add("busybox", davit.ContainerConfig{}, nil)
		for _, filters := range []map[string][]string{
			{"nonsense": {"x"}}, {"until": {"yesterday"}}, {"until": {"1h", "2h"}},
		} {
			if _, err := h.svc.Prune(t.Context(), filters); davit.CodeOf(err) != davit.InvalidConfiguration {
				t.Errorf("%v: %v, want it refused", filters, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.svc.Prune(ctx, map[string][]string{"dangling": {"false"}}); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
		if list := do(h, davit.Images{}); len(list) != 1 {
			t.Errorf("left are %+v", list)
		}
	})
}

func TestPush(t *testing.T) {
	with(t, func(t *testing.T, h *house) {
		img := h.store.Add("example.org/team/app:v1", davit.ContainerConfig{}, map[string]string{"app": "x"})
		pushed := do(h, davit.Push{Reference: "example.org/team/app:v1"})
		if got := h.hub.Tag("team/app:v1"); got != pushed || pushed.Digest == "" {
			t.Errorf("pushed %+v, the registry has %+v", pushed, got)
		}
		h.wantEvents("image push example.org/team/app:v1")
		want := []string{"example.org/team/app@" + pushed.Digest.String()}
		if got := do(h, davit.ImageInspect{Image: img.ID.String()}); !slices.Equal(got.Digests, want) {
			t.Errorf("its digests are %q, want %q", got.Digests, want)
		}
		refused(h, davit.Push{Reference: "example.org/team/app:v2"}, davit.NoSuchImage)
		refused(h, davit.Push{Reference: img.ID.Encoded()[:12]}, davit.NoSuchImage) // that is a name
		refused(h, davit.Push{Reference: "UPPER"}, davit.InvalidName)
		refused(h, davit.Push{Reference: "example.org/team/app:v1", Platform: davit.Platform{Architecture: "vax"}}, davit.NoSuchImage)
		h.hub.SetPrivate()
		refused(h, davit.Push{Reference: "example.org/team/app:v1"}, davit.RegistryUnauthorized)
		h.wantEvents()
		do(h, davit.Push{Reference: "example.org/team/app:v1", Auth: &davit.RegistryAuth{Username: "user", Password: "secret"}})
	})
}

// The name goes to another image while it is pushed: the digest is of that which
// was pushed.
func TestPushWhileTagged(t *testing.T) {
	with(t, func(t *testing.T, h *house) {
		one := h.store.Add("app:v1", davit.ContainerConfig{}, map[string]string{"app": "1"})
		two := h.store.Add("app:v2", davit.ContainerConfig{}, map[string]string{"app": "2"})
		h.duringPush(func() {
			do(h, davit.Tag{Image: "app:v1", Reference: "app:keep"})
			do(h, davit.Tag{Image: "app:v2", Reference: "app:v1"})
		})
		pushed := do(h, davit.Push{Reference: "app:v1"})
		if got := do(h, davit.ImageInspect{Image: "app@" + pushed.Digest.String()}); got.ID != one.ID {
			t.Errorf("the digest is of %s, want %s", got.ID, one.ID)
		}
		h.duringPush(func() {
			do(h, davit.ImageDelete{Image: two.ID.String(), Force: true})
		})
		do(h, davit.Push{Reference: "app:v2"})
	})
}

// busyRegistry does something before it pushes.
type busyRegistry struct {
	images.Registry
	before func()
}

func (r *busyRegistry) Push(ctx context.Context, q davit.Push, m davit.Descriptor, b davit.Blobs) (davit.Descriptor, error) {
	r.before()
	return r.Registry.Push(ctx, q, m, b)
}

func (h *house) duringPush(do func()) { h.svc.Registry = &busyRegistry{h.registry, do} }

func TestAuth(t *testing.T) {
	with(t, func(t *testing.T, h *house) {
		h.hub.SetPrivate()
		if r := do(h, davit.Auth{Auth: davit.RegistryAuth{Username: "user", Password: "secret"}}); r.Status != "Login Succeeded" {
			t.Errorf("the answer is %+v", r)
		}
		refused(h, davit.Auth{Auth: davit.RegistryAuth{Username: "user", Password: "guess"}}, davit.RegistryUnauthorized)
	})
}

func TestSearch(t *testing.T) {
	with(t, func(t *testing.T, h *house) {
		built := fake.Build("", davit.ContainerConfig{}, map[string]string{"app": "x"})
		for _, name := range []string{"app:v1", "team/app:v1", "team/application:v1"} {
			h.hub.Push(name, built)
		}
		for _, c := range []struct {
			filters map[string][]string
			limit   int
			want    []string
		}{
			{nil, 0, []string{"app", "team/app", "team/application"}},
			{nil, 2, []string{"app", "team/app"}},
			{map[string][]string{"is-official": {"true"}}, 0, []string{"app"}},
			{map[string][]string{"is-official": {"false"}}, 0, []string{"team/app", "team/application"}},
			{map[string][]string{"stars": {"8"}}, 0, []string{"team/app", "team/application"}},
			{map[string][]string{"is-automated": {"true"}}, 0, nil},
		} {
			var got []string
			for _, r := range do(h, davit.Search{Term: "app", Limit: c.limit, Filters: c.filters}) {
				got = append(got, r.Name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, at most %d: %q, want %q", c.filters, c.limit, got, c.want)
			}
		}
		for _, q := range []davit.Search{
			{},
			{Term: "app", Limit: 101},
			{Term: "app", Limit: -1},
			{Term: "app", Filters: map[string][]string{"stars": {"many"}}},
			{Term: "app", Filters: map[string][]string{"nonsense": {"x"}}},
		} {
			refused(h, q, davit.InvalidConfiguration)
		}
	})
}

func TestListFilters(t *testing.T) {
	with(t, func(t *testing.T, h *house) {
		old := h.store.Add("old:v1", davit.ContainerConfig{Labels: map[string]string{"v": "1"}}, map[string]string{"f": "1"})
		importing := davit.Import{Reference: "new:v1", Source: bytes.NewReader(fake.Tar(map[string]string{"f": "2"}))}
		h.store.Age(old.ID, -time.Hour)
		do(h, importing)
		for _, c := range []struct {
			filters map[string][]string
			want    []string
		}{
			{map[string][]string{"before": {"new:v1"}}, []string{"old:v1"}},
			{map[string][]string{"since": {old.ID.String()}}, []string{"new:v1"}},
			{map[string][]string{"before": {"old:v1"}}, nil},
			{map[string][]string{"until": {"2030-01-01"}}, []string{"new:v1", "old:v1"}},
			{map[string][]string{"until": {"24h"}}, nil}, // by the clock of the test, which begins in 2000
			{map[string][]string{"label": {"v=1"}, "dangling": {"false"}}, []string{"old:v1"}},
		} {
			var got []string
			for _, i := range do(h, davit.Images{Filters: c.filters}) {
				got = append(got, i.Tags...)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v: %q, want %q", c.filters, got, c.want)
			}
		}
		refused(h, davit.Images{Filters: map[string][]string{"since": {"nobody"}}}, davit.NoSuchImage)
		refused(h, davit.Images{Filters: map[string][]string{"until": {"tomorrow"}}}, davit.InvalidConfiguration)
	})
}
