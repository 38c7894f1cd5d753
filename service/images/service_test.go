// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

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
