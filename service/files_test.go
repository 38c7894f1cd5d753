// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

func TestCopy(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("web")
		if st := do(d, davit.ContainerStatPath{Container: "web", Path: "/bin/sleep"}); st.Name != "sleep" || st.Size != 2 {
			t.Errorf("the path is %+v", st)
		}
		err := refused(d, davit.ContainerStatPath{Container: "web", Path: "/nothing"}, davit.NoSuchFile)
		if err == nil || err.Error() != "Could not find the file /nothing in container web" {
			t.Errorf("a missing path gives %v", err)
		}
		refused(d, davit.ContainerStatPath{Container: "nobody", Path: "/"}, davit.NoSuchContainer)

		never := func(davit.FileStat) (io.Writer, error) {
			t.Error("the answer was begun for a path that does not exist")
			return io.Discard, nil
		}
		refused(d, davit.ContainerCopy{Container: "web", Path: "/nothing", Open: never}, davit.NoSuchFile)
		var out bytes.Buffer
		do(d, davit.ContainerCopy{Container: "web", Path: "/data", Open: func(st davit.FileStat) (io.Writer, error) {
			if st.Name != "data" {
				t.Errorf("copied is %+v", st)
			}
			return &out, nil
		}})
		if files, err := fake.Untar(&out); err != nil || files["data/seed"] != "from the image" {
			t.Errorf("the archive has %q, %v", files, err)
		}

		archive := fake.Tar(map[string]string{"new": "content"})
		do(d, davit.ContainerExtract{Container: "web", Path: "/data", Source: bytes.NewReader(archive)})
		if st := do(d, davit.ContainerStatPath{Container: "web", Path: "/data/new"}); st.Size != 7 {
			t.Errorf("the new file is %+v", st)
		}
		refused(d, davit.ContainerExtract{Container: "web", Path: "/nothing", Source: bytes.NewReader(archive)}, davit.NoSuchFile)
		refused(d, davit.ContainerExtract{Container: "web", Path: "/data", Source: bytes.NewReader([]byte("no archive at all, but long enough"))}, davit.InvalidArchive)
		d.create("fixed", func(q *davit.Create) { q.HostConfig.ReadonlyRootfs = true })
		refused(d, davit.ContainerExtract{Container: "fixed", Path: "/data", Source: bytes.NewReader(archive)}, davit.AccessDenied)

		gone := errors.New("the client has gone")
		_, err = try(d, davit.ContainerCopy{Container: "web", Path: "/data", Open: func(davit.FileStat) (io.Writer, error) { return nil, gone }})
		if !errors.Is(err, gone) {
			t.Errorf("an answer that cannot be begun gives %v", err)
		}
		if n := h.rootfs.Mounts(); n != 0 {
			t.Errorf("%d mounts of roots were not released", n)
		}
	})
}

func TestSizes(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("web")
		do(d, davit.ContainerExtract{Container: "web", Path: "/", Source: bytes.NewReader(fake.Tar(map[string]string{"new": "content"}))})
		if i := d.inspect("web"); i.SizeRw != -1 || i.SizeRootFs != -1 {
			t.Errorf("sizes that nobody asked for: %d, %d", i.SizeRw, i.SizeRootFs)
		}
		if i := do(d, davit.ContainerInspect{Container: "web", Size: true}); i.SizeRw != 7 || i.SizeRootFs != 7+i.Image.Size {
			t.Errorf("the sizes are %d and %d", i.SizeRw, i.SizeRootFs)
		}
		if all := do(d, davit.Containers{All: true, Size: true}); all[0].SizeRw != 7 {
			t.Errorf("listed with the size %d", all[0].SizeRw)
		}
	})
}

func TestImportAndLoad(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		img := do(d, davit.Import{
			Reference: "mine:v1", Source: bytes.NewReader(fake.Tar(map[string]string{"app": "x"})), Changes: []string{`CMD ["/app"]`},
		})
		built := fake.Build("", davit.ContainerConfig{Cmd: []string{"/other"}}, map[string]string{"other": "x"})
		loaded := do(d, davit.Load{Source: bytes.NewReader(built.Archive("theirs:v1"))})
		if len(loaded) != 1 || loaded[0].ID != built.Config {
			t.Errorf("loaded %+v", loaded)
		}
		id := d.create("web", func(q *davit.Create) { q.Config.Image = "mine:v1" })
		if got := d.inspect(id); got.Path != "/app" || got.ImageID != img.ID || got.ImageRef != "mine:v1" {
			t.Errorf("the container of it is %+v", got.Container)
		}
		refused(d, davit.Import{Source: bytes.NewReader([]byte("no archive at all, but long enough"))}, davit.InvalidArchive)
		refused(d, davit.Load{Source: bytes.NewReader([]byte("no archive at all, but long enough"))}, davit.InvalidArchive)
		refused(d, davit.History{Image: "nobody"}, davit.NoSuchImage)
		do(d, davit.History{Image: "mine:v1"})
		want := []string{"image tag mine:v1", "image import " + img.ID.String(), "image load " + built.Config.String()}
		if got := d.past(map[string][]string{"type": {"image"}}); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		for name, n := range map[string]int{"mine": 1, "*:v1": 2, "theirs:v2": 0} {
			if list := do(d, davit.Images{Filters: map[string][]string{"reference": {name}}}); len(list) != n {
				t.Errorf("%d images match %s, want %d", len(list), name, n)
			}
		}
	})
}

// The watchdog's self-check goes through the queue.
func TestNoop(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) { do(h.boot(), davit.Noop{}) })
}

// Who keeps the restart policy is the monitor: when it is killed, the daemon
// does once what it would have done.
func TestLostMonitorIsReplaced(t *testing.T) {
	for name, up := range map[string]bool{"no": false, "always": true, "unless-stopped": true, "on-failure": true} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.run("web", policy(name), publish("8080"))
				h.rt.Monitor(id).Lose()
				settle()
				if s := d.inspect(id).State.Status; (s == davit.StatusRunning) != up {
					t.Errorf("it is %s", s)
				}
			})
		})
	}
}

// The same for a monitor that was killed while there was no daemon.
func TestLostMonitorIsReplacedByResume(t *testing.T) {
	for name, up := range map[string]bool{"no": false, "always": true, "unless-stopped": true, "on-failure": true} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.run("web", policy(name))
				d.kill()
				h.rt.Monitor(id).Lose()
				d = h.boot()
				if err := d.svc.Resume(); err != nil {
					t.Error(err)
				}
				settle()
				if s := d.inspect(id).State.Status; (s == davit.StatusRunning) != up {
					t.Errorf("it is %s", s)
				}
			})
		})
	}
}
