// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest"
	"github.com/davit-engine/davit/service/images"
	"github.com/davit-engine/davit/storage"
)

// open opens a store, as root: layers need overlayfs.
func open(t *testing.T, dir string) *storage.Store {
	t.Helper()
	testutil.RequireRoot(t)
	s, err := storage.Open(storage.Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openUntilEnd(t *testing.T) *storage.Store {
	s := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStateConforms(t *testing.T) {
	drivertest.TestState(t, func(t *testing.T, dir string) service.State { return open(t, dir).State() })
}

func TestVolumesConform(t *testing.T) {
	drivertest.TestVolumes(t, func(t *testing.T) service.VolumeStore { return openUntilEnd(t).Volumes() })
}

func TestBlobsConform(t *testing.T) {
	drivertest.TestBlobs(t, func(t *testing.T) davit.Blobs { return openUntilEnd(t).Images().Blobs() })
}

func TestImagesConform(t *testing.T) {
	drivertest.TestImages(t, func(t *testing.T) images.Store { return openUntilEnd(t).Images() })
}

func TestRootfsConforms(t *testing.T) {
	drivertest.TestRootfs(t, func(t *testing.T) (service.RootfsStore, images.Store) {
		s := openUntilEnd(t)
		return s.Rootfs(), s.Images()
	})
}

func TestFilesConform(t *testing.T) {
	drivertest.TestFiles(t, func(*testing.T) service.Files { return &storage.Files{} })
}
