// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// plain stores a layer as a load of a docker-archive does.
func plain(_ testing.TB, data []byte) []byte { return data }

// atFirst returns a context whose first report of the phase runs do.
func atFirst(ctx context.Context, phase string, do func()) context.Context {
	var once sync.Once
	return davit.WithReporter(ctx, func(p davit.Progress) {
		if p.Phase == phase {
			once.Do(do)
		}
	})
}

// finish ends the arrival of an image; when its first layer is ready, it runs
// between.
type finish func(ctx context.Context, between func()) (davit.Image, error)

// arrival is a way by which images arrive.
type arrival struct {
	name  string
	begin func(f fixture, tars ...[]byte) finish
}

var arrivals = []arrival{
	{"pull", func(f fixture, tars ...[]byte) finish {
		p := f.pulledAs(plain, tars...)
		return func(ctx context.Context, between func()) (davit.Image, error) {
			return f.Unpack(atFirst(ctx, "Pull complete", between), p)
		}
	}},
	{"load", func(f fixture, tars ...[]byte) finish {
		archive := dockerArchive(f.t, f, []string{"loaded"}, tars...)
		return func(ctx context.Context, between func()) (davit.Image, error) {
			images, err := f.Load(atFirst(ctx, "Loading layer", between), davit.Load{Source: bytes.NewReader(archive)})
			if err != nil {
				return davit.Image{}, err
			}
			return images[0], nil
		}
	}},
}

// TestHoldsAreTheirHoldersOwn ends the arrival of one image while another
// relies on a blob of it.
func TestHoldsAreTheirHoldersOwn(t *testing.T) {
	ends := map[string]func(t *testing.T, f fixture, finish finish){
		"is removed": func(t *testing.T, f fixture, finish finish) {
			img, err := finish(t.Context(), func() {})
			if err == nil {
				_, err = f.Remove(img.ID.String(), true, unused)
			}
			if err != nil {
				t.Error(err)
			}
		},
		"is cancelled": func(t *testing.T, _ fixture, finish finish) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if _, err := finish(ctx, cancel); !errors.Is(err, context.Canceled) {
				t.Errorf("a cancelled arrival: %v", err)
			}
		},
	}
	base := tartest.Make(t, tartest.File("base", "shared"))
	first, second := tartest.Make(t, tartest.File("first", "1")), tartest.Make(t, tartest.File("second", "2"))
	for _, one := range arrivals {
		for _, other := range arrivals {
			for how, end := range ends {
				t.Run("a "+one.name+" "+how+" before a "+other.name, func(t *testing.T) {
					f := open(t)
					f.checkArrival(func(run func(func())) (davit.Image, error) {
						a, b := one.begin(f, base, first), other.begin(f, second, base)
						run(func() { end(t, f, a) })
						return b(t.Context(), func() {})
					})
				})
				t.Run("a "+one.name+" "+how+" during a "+other.name, func(t *testing.T) {
					f := open(t)
					f.checkArrival(func(run func(func())) (davit.Image, error) {
						a, b := one.begin(f, base, first), other.begin(f, second, base)
						return b(t.Context(), func() { run(func() { end(t, f, a) }) })
					})
				})
			}
		}
	}
}

// checkArrival checks that the image which arrives is whole, that nothing but
// its own is there with it, and that nothing is there after it.
func (f fixture) checkArrival(arrive func(run func(func())) (davit.Image, error)) {
	f.t.Helper()
	ran := false
	img, err := arrive(func(do func()) { ran = true; do() })
	if err != nil {
		f.t.Fatal(err)
	}
	if !ran {
		f.t.Error("nothing was disturbed")
	}
	f.checkWhole(img)
	if _, err := f.Remove(img.ID.String(), true, unused); err != nil {
		f.t.Error(err)
	}
	if left := f.left(); left != nil {
		f.t.Errorf("left behind: %v", left)
	}
}

// checkWhole checks that img, of which every layer has one file, is the only
// image, and that the store has its blobs and layers and no others.
func (f fixture) checkWhole(img davit.Image) {
	f.t.Helper()
	f.checkBlobs(img)
	for _, c := range overlay.ChainIDs(img.Layers) {
		entries, err := os.ReadDir(filepath.Join(f.root, "overlay", c.Encoded(), "diff"))
		if err != nil || len(entries) != 1 {
			f.t.Errorf("the layer %s has %v, %v", c, entries, err)
		}
	}
	if all, err := f.List(); err != nil || len(all) != 1 || all[0].ID != img.ID {
		f.t.Errorf("List = %v, %v, want only %s", all, err, img.ID)
	}
	// Manifest, config and layers; a directory and a link of each layer.
	if left := f.left(); len(left) != 2+3*len(img.Layers) {
		f.t.Errorf("in the store: %v", left)
	}
}

// TestUnpackOfSharedLayersWhileOneIsCancelled unpacks two images with the same
// lower layers at once. When the one that stays is some layers ahead, the other
// one starts, and is cancelled at one of its layers; the one that stays waits
// for its end, or goes on at once.
func TestUnpackOfSharedLayersWhileOneIsCancelled(t *testing.T) {
	for ahead := range 3 {
		for at := range 2 {
			for _, wait := range []bool{true, false} {
				unpackTwo(t, ahead, at, wait)
			}
		}
	}
}

func unpackTwo(t *testing.T, ahead, at int, wait bool) {
	t.Helper()
	f := open(t)
	base, middle := tartest.Make(t, tartest.File("base", random(100_000))), tartest.Make(t, tartest.File("middle", random(100_000)))
	lost := f.pulled(base, middle, tartest.Make(t, tartest.File("top", "lost")))
	kept := f.pulled(base, middle, tartest.Make(t, tartest.File("top", "kept")))
	start, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		<-start
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if _, err := f.Unpack(atLayer(ctx, at, cancel), lost); !errors.Is(err, context.Canceled) {
			t.Errorf("Unpack, cancelled at layer %d: %v", at, err)
		}
	}()
	img, err := f.Unpack(atLayer(t.Context(), ahead, func() {
		close(start)
		if wait {
			<-gone
		}
	}), kept)
	<-gone
	if err != nil {
		t.Fatalf("Unpack, %d layers ahead of one that was cancelled at layer %d: %v", ahead, at, err)
	}
	f.checkWhole(img)
}

// atLayer returns a context that runs do when layer n is ready.
func atLayer(ctx context.Context, n int, do func()) context.Context {
	ready := 0
	return davit.WithReporter(ctx, func(p davit.Progress) {
		if p.Phase == "Pull complete" {
			if ready == n {
				do()
			}
			ready++
		}
	})
}

// TestUnpackNeedsTheBlobsOfUnpackedLayers has a layer in place, which a
// container kept, but not its blob: an image without it could not be pushed.
func TestUnpackNeedsTheBlobsOfUnpackedLayers(t *testing.T) {
	f := open(t)
	base := tartest.Make(t, tartest.File("base", "shared"))
	img, err := f.Unpack(t.Context(), f.pulled(base))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.layers.Create(digest.FromString("container").Encoded(), img); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Remove(img.ID.String(), true, unused); err != nil {
		t.Fatal(err)
	}
	before := f.left()
	p := f.pulled(base, tartest.Make(t, tartest.File("top", "1")))
	if err := os.Remove(filepath.Join(f.root, "content/blobs/sha256", digest.FromBytes(tartest.Gzip(t, base)).Encoded())); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Unpack(t.Context(), p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Unpack without a blob: %v", err)
	}
	if diff := cmp.Diff(before, f.left()); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	if err := f.layers.Remove(digest.FromString("container").Encoded()); err != nil {
		t.Error(err)
	}
}
