// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/storage"
	"github.com/opencontainers/go-digest"
)

// churnRoot, in the environment, makes TestChurn work on that data root until
// it is killed.
const churnRoot = "DAVIT_TEST_CHURN_ROOT"

func layerTar(t testing.TB, seed int) []byte {
	entries := []tar.Header{tartest.Dir("d")}
	for i := range 50 {
		entries = append(entries, tartest.File(fmt.Sprintf("d/%d-%d", seed, i), strings.Repeat("x", 1000)))
	}
	return tartest.Make(t, entries...)
}

// TestChurn is the process that TestKilledAtAnyTime kills.
func TestChurn(t *testing.T) {
	root := os.Getenv(churnRoot)
	if root == "" {
		t.Skip("runs as a child of TestKilledAtAnyTime")
	}
	s := openStore(t, root)
	fmt.Println("open")
	for i := 0; ; i++ {
		img, err := s.Images().Import(t.Context(), davit.Import{Source: bytes.NewReader(layerTar(t, i%3)), Reference: fmt.Sprintf("churn:%d", i%5)})
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("c-%d-%d", os.Getpid(), i)
		c := &davit.Container{ID: digest.FromString(name).Encoded(), Name: name, ImageID: img.ID}
		if err := errors.Join(s.Rootfs().Create(c.ID, img), s.State().PutContainer(c)); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			fmt.Println(c.ID)
		} else {
			if err := errors.Join(s.State().DeleteContainer(c.ID), s.Rootfs().Remove(c.ID)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Images().Remove(img.ID.String(), true, func(digest.Digest) string { return "" }); err != nil && i%3 == 0 {
			t.Fatal(err)
		}
	}
}

// TestKilledAtAnyTime kills a process at work again and again: what it leaves
// must open, be whole, and have nothing in it that no record names.
func TestKilledAtAnyTime(t *testing.T) {
	testutil.RequireRoot(t)
	root := t.TempDir()
	for range 12 {
		made := churn(t, root, time.Duration(rand.IntN(150))*time.Millisecond)
		s, err := storage.Open(storage.Options{Root: root, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, root, made)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// churn lets a child work for a while and returns the containers, one a line,
// that it said it has made.
func churn(t *testing.T, root string, life time.Duration) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChurn$")
	cmd.Env = append(os.Environ(), churnRoot+"="+root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("open\n"))
	if _, err := io.ReadFull(out, first); err != nil || string(first) != "open\n" {
		t.Fatalf("the child said %q, %v", first, err)
	}
	timer := time.AfterFunc(life, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child ended by itself: %v\n%s", err, rest)
	}
	return string(rest)
}

func check(t *testing.T, s *storage.Store, root, made string) {
	t.Helper()
	containers, err := s.State().Containers()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range containers {
		ids = append(ids, c.ID)
	}
	if err := s.Rootfs().Keep(ids); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"l": true, "tmp": true}
	for _, c := range ids {
		want[c] = true
		dir, release, err := s.Rootfs().Mount(c)
		if err != nil {
			t.Fatalf("a container's layers are gone: %v", err)
		}
		entries, err := os.ReadDir(filepath.Join(dir, "d"))
		if err != nil || len(entries) != 50 {
			t.Errorf("a container has %d files, %v", len(entries), err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
		r, err := s.Rootfs().Rootfs(c)
		if err != nil {
			t.Fatal(err)
		}
		lower, err := os.Readlink(r.Lower[0])
		if err != nil {
			t.Fatal(err)
		}
		want[filepath.Base(filepath.Dir(lower))] = true
	}
	images, err := s.Images().List()
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range images {
		want[img.Layers[0].Encoded()] = true
		if !s.Images().Blobs().Has(img.Manifest) || !s.Images().Blobs().Has(img.ID) {
			t.Errorf("the image %s lacks blobs", img.ID)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !want[e.Name()] {
			t.Errorf("%s is left behind", e.Name())
		}
	}
	for line := range strings.Lines(made) {
		if c, whole := strings.CutSuffix(line, "\n"); whole && !want[c] {
			t.Errorf("the container %s was acknowledged, and is gone", c)
		}
	}
}

// TestManyAtOnce imports, uses and removes images with the same layers from
// many goroutines.
func TestManyAtOnce(t *testing.T) {
	s := openStore(t, t.TempDir())
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 8 {
				if err := useImage(t, s, w, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if all, err := s.Images().List(); err != nil || len(all) > 0 {
		t.Errorf("List = %v, %v", all, err)
	}
}

func useImage(t *testing.T, s *storage.Store, w, i int) error {
	name := fmt.Sprintf("many:%d", w)
	img, err := s.Images().Import(t.Context(), davit.Import{Source: bytes.NewReader(layerTar(t, i%2)), Reference: name})
	if err != nil {
		return err
	}
	c := digest.FromString(fmt.Sprint(w, i)).Encoded()
	if err := s.Rootfs().Create(c, img); err != nil {
		return err
	}
	if _, err := s.Images().Remove(name, true, func(digest.Digest) string { return c }); err != nil {
		return err
	}
	dir, release, err := s.Rootfs().Mount(c)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(dir, "d"))
	if err == nil && len(entries) != 50 {
		err = fmt.Errorf("a container has %d files", len(entries))
	}
	return errors.Join(err, release(), s.Rootfs().Remove(c))
}
