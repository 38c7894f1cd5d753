// SPDX-License-Identifier: Apache-2.0

package system_test

import (
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/system"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestShared(t *testing.T) {
	image := func(id string, sizes []int64, layers ...string) davit.Image {
		img := davit.Image{ID: digest.Digest(id), History: []davit.HistoryEntry{{EmptyLayer: true}}}
		for i, l := range layers {
			img.Layers = append(img.Layers, digest.Digest(l))
			img.History = append(img.History, davit.HistoryEntry{Size: sizes[i]}, davit.HistoryEntry{EmptyLayer: true})
		}
		return img
	}
	got := system.Shared([]davit.Image{
		image("base", []int64{100}, "a"), image("one", []int64{100, 10, 1}, "a", "b", "c"), image("two", []int64{100, 10, 2}, "a", "b", "d"),
		image("alone", []int64{50}, "x"), image("other order", []int64{10, 100}, "b", "a"),
	})
	want := map[digest.Digest]int64{"base": 100, "one": 110, "two": 110}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
