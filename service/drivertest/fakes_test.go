// SPDX-License-Identifier: Apache-2.0

package drivertest_test

import (
	"net/netip"
	"os"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/images"
)

func TestFakeState(t *testing.T) {
	disk := map[string]*fake.State{}
	drivertest.TestState(t, func(_ *testing.T, dir string) service.State {
		if disk[dir] == nil {
			disk[dir] = fake.NewState()
		}
		disk[dir].Reopen()
		return disk[dir]
	})
}

func TestFakeVolumes(t *testing.T) {
	drivertest.TestVolumes(t, func(t *testing.T) service.VolumeStore { return fake.NewVolumes(t.TempDir()) })
}

func TestFakeBlobs(t *testing.T) {
	drivertest.TestBlobs(t, func(*testing.T) davit.Blobs { return fake.NewBlobs() })
}

func TestFakeImages(t *testing.T) {
	drivertest.TestImages(t, func(*testing.T) images.Store { return fake.NewImages() })
}

func TestFakeRootfs(t *testing.T) {
	drivertest.TestRootfs(t, func(t *testing.T) (service.RootfsStore, images.Store) {
		images := fake.NewImages()
		return fake.NewRootfs(t.TempDir(), images), images
	})
}

func TestFakeFiles(t *testing.T) {
	drivertest.TestFiles(t, func(*testing.T) service.Files { return &fake.Files{} })
}

func TestFakeNetwork(t *testing.T) {
	n := fake.NewNetwork(netip.MustParsePrefix("172.30.0.0/16"))
	drivertest.TestNetwork(t, drivertest.NetworkHost{
		Open:  func(*testing.T) service.Network { n.Restart(); return n },
		Small: func(*testing.T) service.Network { return fake.NewNetwork(netip.MustParsePrefix("172.30.0.0/29")) },
		Netns: func(t *testing.T) *os.File {
			f, err := os.Open("/proc/self/ns/net")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f
		},
		Text: func(*testing.T) string { return n.Text() },
	})
}

func TestFakeRuntime(t *testing.T) {
	rt := fake.NewRuntime()
	drivertest.TestRuntime(t, drivertest.RuntimeHost{
		Open: func(*testing.T) service.Runtime { return rt },
		Launch: func(t *testing.T, c *davit.Container) davit.Launch {
			return davit.Launch{Container: c, Rootfs: davit.Rootfs{Target: t.TempDir()}}
		},
	})
}

func TestFakeRegistry(t *testing.T) {
	drivertest.TestRegistry(t, func(_ *testing.T, hub *fake.Hub) (images.Registry, string) {
		return fake.NewRegistry(hub), "docker.io/"
	})
}

func TestFakeAuthority(t *testing.T) {
	drivertest.TestAuthority(t, func(*testing.T) drivertest.Polkit {
		a := fake.NewAuthority(davit.ActionPushImages)
		uid := uint32(1000)
		return drivertest.Polkit{
			Authority: a,
			As: func(_ *testing.T, group string) engine.Caller {
				uid++
				a.Join(uid, group)
				return engine.Caller{Transport: engine.REST, UID: uid}
			},
			Gone:   func(*testing.T) engine.Caller { return engine.Caller{Transport: engine.REST, UID: 999} },
			Remove: func(*testing.T) { a.Fail(davit.Errorf(davit.NoAuthority, "there is none")) },
			Hang:   func(*testing.T) { a.Fail(fake.ErrHangs) },
		}
	})
}
