// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/google/go-cmp/cmp"
)

func TestPause(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web")
		do(d, davit.Pause{Container: "web"})
		refused(d, davit.Pause{Container: "web"}, davit.ContainerPaused)
		refused(d, davit.Start{Container: "web"}, davit.ContainerPaused)
		refused(d, davit.Delete{Container: "web"}, davit.ContainerPaused)
		refused(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "web", Cmd: []string{"true"}}}, davit.ContainerPaused)
		if i := do(d, davit.Info{}); i.Paused != 1 || i.Running != 0 {
			t.Errorf("%d run, %d are paused", i.Running, i.Paused)
		}

		d.kill()
		d = h.boot()
		if c := d.inspect("web"); c.State.Status != davit.StatusPaused || c.State.Pid == 0 {
			t.Errorf("the next daemon finds it %+v", c.State)
		}
		if got := d.actions(id); len(got) != 0 {
			t.Errorf("finding it paused is told as %v", got)
		}
		do(d, davit.Unpause{Container: "web"})
		refused(d, davit.Unpause{Container: "web"}, davit.ContainerRunning)
		if c := d.inspect("web"); c.State.Status != davit.StatusRunning {
			t.Errorf("after unpause it is %+v", c.State)
		}
		do(d, davit.Pause{Container: "web"})
		do(d, davit.Stop{Container: "web"})
		// That it goes on, and that a signal was sent, is told in any order.
		got, want := slices.Sorted(slices.Values(d.actions(id))), []string{"die", "kill", "pause", "stop", "unpause", "unpause"}
		if !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
		for _, q := range []string{"web", "nobody"} {
			code := map[string]davit.Code{"web": davit.ContainerNotRunning, "nobody": davit.NoSuchContainer}[q]
			refused(d, davit.Pause{Container: q}, code)
			refused(d, davit.Unpause{Container: q}, code)
		}

		do(d, davit.Start{Container: "web"})
		do(d, davit.Pause{Container: "web"})
		do(d, davit.Delete{Container: "web", Force: true})
		refused(d, davit.ContainerInspect{Container: "web"}, davit.NoSuchContainer)
	})
}

// TestPauseOfExec has a session that was made before the pause started during it.
func TestPauseOfExec(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.run("web")
		x := do(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "web", Cmd: []string{"sleep"}}})
		do(d, davit.Pause{Container: "web"})
		refused(d, davit.ExecStart{ID: x, Detach: true}, davit.ContainerPaused)
		do(d, davit.Unpause{Container: "web"})
		do(d, davit.ExecStart{ID: x, Detach: true})
		refused(d, davit.ExecKill{ID: x, Signal: "NOPE"}, davit.InvalidConfiguration)
		do(d, davit.ExecKill{ID: x, Signal: "TERM"})
		settle()
		if got := do(d, davit.ExecInspect{ID: x}); got.Running || got.Exit == nil || got.Exit.Code != 143 {
			t.Errorf("the session is %+v %+v", got, got.Exit)
		}
		refused(d, davit.ExecKill{ID: x}, davit.ContainerNotRunning)
		refused(d, davit.ExecKill{ID: "nobody"}, davit.NoSuchExec)
	})
}

// TestPauseThatIsUndone has somebody let the container go on before its pause
// was recorded.
func TestPauseThatIsUndone(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf)
		h.rt.Fail("Freeze", errors.New("a process does not stop"))
		if _, err := try(d, davit.Pause{Container: id}); err == nil || d.inspect(id).State.Status != davit.StatusRunning {
			t.Errorf("a pause that failed: %v, the container is %s", err, d.inspect(id).State.Status)
		}
		h.rt.Fail("Freeze", nil)
		h.state.Fail("PutContainer", fake.ErrInjected)
		if _, err := try(d, davit.Pause{Container: id}); err == nil || d.inspect(id).State.Status != davit.StatusRunning {
			t.Errorf("a pause that was not recorded: %v, the container is %s", err, d.inspect(id).State.Status)
		}
	})
}

func TestStats(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.build(func(o *service.Options) { o.Facts.MemTotal = 1 << 30 })
		if err := d.svc.Boot(d.context(), nil, func(string) {}); err != nil {
			t.Fatal(err)
		}
		id := d.run("web")
		var got []davit.ContainerStats
		emit := func(s davit.ContainerStats) error { got = append(got, s); return t.Context().Err() }
		do(d, davit.Stats{Container: "web", Once: true, Emit: emit})
		if len(got) != 1 || got[0].ID != id || got[0].Name != "web" || got[0].Memory.Limit != 1<<30 || got[0].Networks["eth0"].RxBytes == 0 {
			t.Fatalf("once: %+v", got)
		}
		d.run("hosted", network("host"))
		do(d, davit.Stats{Container: "hosted", Once: true, Emit: emit})
		if len(got) != 2 || len(got[1].Networks) != 0 {
			t.Errorf("on the host's network: %+v", got[1])
		}

		got = nil
		began := time.Now()
		ended := make(chan error, 1)
		go func() {
			_, err := try(d, davit.Stats{Container: "web", Interval: 2 * time.Second, Emit: emit})
			ended <- err
		}()
		<-time.After(5 * time.Second)
		do(d, davit.Stop{Container: "web"})
		<-time.After(4 * time.Second)
		do(d, davit.Delete{Container: "web"})
		if err := <-ended; err != nil || time.Since(began) > 11*time.Second {
			t.Errorf("the end of the stream: %v, after %v", err, time.Since(began))
		}
		if len(got) != 5 || got[2].CPU.Usage <= got[1].CPU.Usage {
			t.Fatalf("%d records: %+v", len(got), got)
		}
		for _, s := range got[3:] {
			if d := cmp.Diff(davit.ContainerStats{ID: id, Name: "web"}, s); d != "" {
				t.Errorf("of a container that has ended (-want +got):\n%s", d)
			}
		}

		gone := errors.New("the client has gone")
		if _, err := try(d, davit.Stats{Container: "hosted", Emit: func(davit.ContainerStats) error { return gone }}); !errors.Is(err, gone) {
			t.Errorf("a reader that is gone: %v", err)
		}
		refused(d, davit.Stats{Container: "nobody", Emit: emit}, davit.NoSuchContainer)
		refused(d, davit.Stats{Container: "hosted", Interval: -1, Emit: emit}, davit.InvalidConfiguration)
		refused(d, davit.Stats{Container: "hosted", Interval: time.Microsecond, Emit: emit}, davit.InvalidConfiguration)
	})
}

func TestChanges(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("web", volume("data", "/place/of/volume"))
		do(d, davit.ContainerExtract{Container: "web", Path: "/", Source: bytes.NewReader(fake.Tar(map[string]string{
			"data/seed": "another", "etc/hosts": "made for the mount", "place/of/volume/": "", "new": "x",
		}))})
		want := []davit.FileChange{{Path: "/data/seed", Kind: davit.FileModified}, {Path: "/new", Kind: davit.FileAdded}}
		if diff := cmp.Diff(want, do(d, davit.ContainerChanges{Container: "web"})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		refused(d, davit.ContainerChanges{Container: "nobody"}, davit.NoSuchContainer)
	})
}

func TestExport(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web")
		export := func() map[string]string {
			t.Helper()
			var out bytes.Buffer
			do(d, davit.Export{Container: "web", Open: func() (io.Writer, error) { return &out, nil }})
			files, err := fake.Untar(&out)
			if err != nil {
				t.Fatal(err)
			}
			return files
		}
		for _, state := range []string{"made", "running", "paused"} {
			switch state {
			case "running":
				do(d, davit.Start{Container: "web"})
			case "paused":
				do(d, davit.Pause{Container: "web"})
			}
			if files := export(); files["data/seed"] != "from the image" || files["bin/sleep"] != "#!" {
				t.Errorf("%s: the archive has %q", state, files)
			}
		}
		if n := h.rootfs.Mounts(); n != 0 {
			t.Errorf("%d mounts of roots were not released", n)
		}
		if got := d.actions(id); strings.Count(strings.Join(got, " "), "export") != 3 {
			t.Errorf("the events are %v", got)
		}
		gone := errors.New("the client has gone")
		if _, err := try(d, davit.Export{Container: "web", Open: func() (io.Writer, error) { return nil, gone }}); !errors.Is(err, gone) {
			t.Errorf("an answer that cannot be begun: %v", err)
		}
		refused(d, davit.Export{Container: "nobody", Open: func() (io.Writer, error) { t.Error("begun"); return nil, nil }}, davit.NoSuchContainer)
	})
}

func TestOSRelease(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		h.images.Add("debian", davit.ContainerConfig{Cmd: []string{"sh"}}, map[string]string{"usr/lib/os-release": "ID=debian\nNAME=\"Debian GNU/Linux\"\n"})
		d.create("web", func(q *davit.Create) { q.Config.Image = "debian" })
		before := h.text()
		for _, q := range []davit.OSRelease{{Container: "web"}, {Image: "debian"}} {
			if got := do(d, q); got["ID"] != "debian" || got["NAME"] != "Debian GNU/Linux" {
				t.Errorf("%+v: %v", q, got)
			}
		}
		do(d, davit.ContainerExtract{Container: "web", Path: "/", Source: bytes.NewReader(fake.Tar(map[string]string{"etc/os-release": "ID=mine"}))})
		if got := do(d, davit.OSRelease{Container: "web"}); got["ID"] != "mine" {
			t.Errorf("its own: %v", got)
		}
		refused(d, davit.OSRelease{Image: "busybox"}, davit.NoSuchFile)
		refused(d, davit.OSRelease{Image: "nobody"}, davit.NoSuchImage)
		refused(d, davit.OSRelease{Container: "nobody"}, davit.NoSuchContainer)
		refused(d, davit.OSRelease{}, davit.InvalidConfiguration)
		refused(d, davit.OSRelease{Container: "web", Image: "debian"}, davit.InvalidConfiguration)
		h.unchanged(before, "reading os-release")
	})
}

func TestContainerByPID(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web")
		pid := d.inspect("web").State.Pid
		if got := do(d, davit.ContainerByPID{PID: pid}); got.ID != id || got.Image == nil {
			t.Errorf("process %d is of %+v", pid, got)
		}
		refused(d, davit.ContainerByPID{PID: 1}, davit.NoSuchContainer)
		refused(d, davit.ContainerByPID{PID: -1}, davit.InvalidConfiguration)
	})
}

func TestDirectories(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		do(d, davit.VolumeCreate{Name: "data"})
		f := do(d, davit.VolumeDirectory{Volume: "data"})
		defer f.Close()
		opened, err := f.Stat()
		if err != nil || !opened.IsDir() {
			t.Fatal(opened, err)
		}
		if there, err := os.Stat(do(d, davit.VolumeInspect{Volume: "data"}).Mountpoint); err != nil || !os.SameFile(opened, there) {
			t.Errorf("another directory was opened: %v", err)
		}
		refused(d, davit.VolumeDirectory{Volume: "nobody"}, davit.NoSuchVolume)
		d.create("web")
		refused(d, davit.RootDirectory{Container: "web"}, davit.ContainerNotRunning)
		refused(d, davit.RootDirectory{Container: "nobody"}, davit.NoSuchContainer)

		user := engine.WithCaller(t.Context(), engine.Caller{Transport: engine.Bus, UID: 1000})
		for _, q := range []engine.Request{davit.RootDirectory{Container: "web"}, davit.VolumeDirectory{Volume: "data"}} {
			if _, err := d.eng.Submit(user, q); davit.KindOf(err) != davit.Denied {
				t.Errorf("%s for a user: %v, want it denied", q.JobType(), err)
			}
		}
	})
}

func TestPrune(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		labelled := func(kv string) func(*davit.Create) {
			return func(q *davit.Create) { q.Config.Labels = map[string]string{kv: ""} }
		}
		d.create("old")
		do(d, davit.ContainerExtract{Container: "old", Path: "/", Source: bytes.NewReader(fake.Tar(map[string]string{"new": "content"}))})
		d.create("kept", labelled("keep"))
		d.run("running")
		d.run("paused")
		do(d, davit.Pause{Container: "paused"})
		<-time.After(time.Hour)
		d.create("young")
		prune := func(class string, filters map[string][]string) davit.Pruned {
			t.Helper()
			return do(d, davit.Prune{Class: class, Filters: filters})
		}
		old := d.inspect("old").ID
		got := prune("container", map[string][]string{"until": {"30m"}, "label!": {"keep"}})
		if diff := cmp.Diff(davit.Pruned{Containers: []string{old}, Reclaimed: 7}, got); diff != "" {
			t.Errorf("containers (-want +got):\n%s", diff)
		}
		if got := prune("container", nil); len(got.Containers) != 2 {
			t.Errorf("the rest of the containers: %+v", got)
		}
		if left := do(d, davit.Containers{All: true}); len(left) != 2 {
			t.Errorf("%d containers are left, want those that run", len(left))
		}

		do(d, davit.VolumeCreate{Name: "named"})
		anon := do(d, davit.VolumeCreate{Labels: map[string]string{"a": "b"}})
		other := do(d, davit.VolumeCreate{})
		d.create("user", volume("used", "/data"))
		if got := prune("volume", map[string][]string{"label": {"a=b"}}); !slices.Equal(got.Volumes, []string{anon.Name}) {
			t.Errorf("volumes with a label: %+v", got)
		}
		if got := prune("volume", nil); !slices.Equal(got.Volumes, []string{other.Name}) {
			t.Errorf("anonymous volumes: %+v", got)
		}
		if got := prune("volume", map[string][]string{"all": {"true"}}); !slices.Equal(got.Volumes, []string{"named"}) {
			t.Errorf("all volumes: %+v", got)
		}
		if got := prune("network", nil); len(got.Networks) != 0 || len(do(d, davit.Networks{})) != 3 {
			t.Errorf("networks: %+v", got)
		}
		h.images.Add("unused", davit.ContainerConfig{}, map[string]string{"f": "x"})
		if got := prune("image", map[string][]string{"dangling": {"false"}}); len(got.Images) == 0 {
			t.Errorf("images: %+v", got)
		}
		for class, filters := range map[string]map[string][]string{
			"": nil, "secret": nil, "container": {"until": {"1h", "2h"}}, "network": {"until": {"yesterday"}}, "volume": {"until": {"1h"}},
		} {
			refused(d, davit.Prune{Class: class, Filters: filters}, davit.InvalidConfiguration)
		}
		if got := d.past(map[string][]string{"event": {"prune"}}); len(got) != 7 {
			t.Errorf("the events are %v", got)
		}
	})
}

// TestPruneMeetsOthers has containers removed and started while they are to be
// pruned.
func TestPruneMeetsOthers(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("one")
		d.create("two")
		h.rootfs.Then("Usage", func() {
			for _, name := range []string{"one", "two"} { // whichever comes next
				_, _ = try(d, davit.Start{Container: name})
			}
		})
		if got := do(d, davit.Prune{Class: "container"}); len(got.Containers) != 0 {
			t.Errorf("removed %v, which run", got.Containers)
		}
	})
}

// TestPruneMeetsCreate leaves a container what it is being made with.
func TestPruneMeetsCreate(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		do(d, davit.VolumeCreate{Name: "old"})
		for _, when := range []struct {
			faults *fake.Faults
			method string
		}{{&h.files.Faults, "CopyUp"}, {&h.state.Faults, "PutContainer"}} {
			when.faults.Then(when.method, func() {
				got := do(d, davit.Prune{Class: "volume", Filters: map[string][]string{"all": {"true"}}})
				if len(got.Volumes) != 0 {
					t.Errorf("in the middle of %s: removed %v", when.method, got.Volumes)
				}
				refused(d, davit.VolumeDelete{Volume: "old"}, davit.VolumeInUse)
			})
			id := d.create("web", volume("old", "/old"), volume("new", "/data"))
			for _, m := range d.inspect(id).Mounts {
				if _, err := os.Stat(m.Source); err != nil {
					t.Errorf("after %s: %v", when.method, err)
				}
			}
			do(d, davit.Delete{Container: id})
			do(d, davit.VolumeDelete{Volume: "new"})
		}
		if got := do(d, davit.Prune{Class: "volume", Filters: map[string][]string{"all": {"true"}}}); len(got.Volumes) != 1 {
			t.Errorf("when nobody has it any more: removed %v", got.Volumes)
		}
	})
}

func TestDiskUsage(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("web", volume("data", "/data"))
		do(d, davit.ContainerExtract{Container: "web", Path: "/", Source: bytes.NewReader(fake.Tar(map[string]string{"new": "content"}))})
		if err := os.WriteFile(do(d, davit.VolumeInspect{Volume: "data"}).Mountpoint+"/f", make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
		do(d, davit.VolumeCreate{Name: "free"})
		u := do(d, davit.DiskUsage{})
		if len(u.Images) != 1 || u.Images[0].Containers != 1 || u.LayersSize == 0 {
			t.Errorf("images: %+v of %d bytes", u.Images, u.LayersSize)
		}
		if len(u.Containers) != 1 || u.Containers[0].SizeRw != 7 {
			t.Errorf("containers: %+v", u.Containers)
		}
		if len(u.Volumes) != 2 || u.Volumes[0].Size != 100+14 || u.Volumes[0].RefCount != 1 || u.Volumes[1].Size != 0 || u.Volumes[1].RefCount != 0 {
			t.Errorf("volumes: %+v", u.Volumes) // 14: what the volume took from the image
		}
	})
}

func TestJobCancel(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.run("web", deaf)
		forEver := time.Duration(-1)
		j, err := d.eng.Submit(outside(t), davit.Stop{Container: "web", Timeout: &forEver})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		user := func(uid uint32) context.Context {
			return engine.WithCaller(t.Context(), engine.Caller{Transport: engine.REST, UID: uid})
		}
		if _, err := engine.Do(user(1000), d.eng, davit.JobCancel{ID: j.ID()}); davit.KindOf(err) != davit.Denied {
			t.Errorf("another user cancels: %v, want it denied", err)
		}
		do(d, davit.JobCancel{ID: j.ID()})
		if _, err := j.Wait(t.Context()); davit.CodeOf(err) != davit.JobCanceled {
			t.Errorf("the job ended with %v", err)
		}
		refused(d, davit.JobCancel{ID: 4711}, davit.NoSuchJob)
		own, err := d.eng.Submit(t.Context(), davit.Events{Emit: func(davit.Event) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		refused(d, davit.JobCancel{ID: own.ID()}, davit.JobNotCancellable)
	})
}

// TestAnonymousVolumeGoes removes a container with the volume that nobody named.
func TestAnonymousVolumeGoes(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("web", func(q *davit.Create) { q.Config.Volumes = map[string]struct{}{"/data": {}} })
		name := d.inspect("web").Mounts[0].Name
		do(d, davit.Delete{Container: "web", Volumes: true})
		if got, want := d.past(map[string][]string{"type": {"volume"}}), []string{"volume create " + name, "volume destroy " + name}; !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
	})
}
