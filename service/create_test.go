// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/google/go-cmp/cmp"
)

func TestCreate(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web", volume("data", "/data"), publish("8080"))
		got := d.inspect("web")
		if got.ID != id || got.Name != "web" || got.State.Status != davit.StatusCreated || got.Path != "/bin/sleep" {
			t.Errorf("the container is %+v", got.Container)
		}
		if got.HostConfig.NetworkMode != "bridge" || got.HostConfig.LogConfig.Type != "json-file" || got.Config.Hostname != id[:12] {
			t.Errorf("the defaults are %+v, host name %s", got.HostConfig, got.Config.Hostname)
		}
		if reserved := h.net.Reserved(); reserved != "" {
			t.Errorf("a container that was only created has an address: %s", reserved)
		}
		if data, err := os.ReadFile(filepath.Join(got.Mounts[0].Source, "seed")); err != nil || string(data) != "from the image" {
			t.Errorf("the new volume has not the image's content: %q, %v", data, err)
		}
		wantActions(t, d, id, "create")
		for _, ref := range []string{"web", "/web", id, id[:12], id[:4]} {
			if d.inspect(ref).ID != id {
				t.Errorf("%s means another container", ref)
			}
		}
		refused(d, davit.ContainerInspect{Container: ""}, davit.NoSuchContainer)
		refused(d, davit.ContainerInspect{Container: "we"}, davit.NoSuchContainer)
	})
}

func TestCreateRefuses(t *testing.T) {
	same := func(*davit.Create) {}
	hostConfig := func(f func(*davit.HostConfig)) func(*davit.Create) {
		return func(q *davit.Create) { f(&q.HostConfig) }
	}
	for _, c := range []struct {
		name   string
		called string
		change func(*davit.Create)
		code   davit.Code
	}{
		{"a name that is taken", "taken", same, davit.NameConflict},
		{"the same with a slash", "/taken", same, davit.NameConflict},
		{"a name of one character", "a", same, davit.InvalidName},
		{"a name with a slash in it", "a/b", same, davit.InvalidName},
		{"a name that begins with a dot", ".hidden", same, davit.InvalidName},
		{"a name with a blank", "a b", same, davit.InvalidName},
		{"a name with a new line", "ab\n", same, davit.InvalidName},
		{"a name that climbs", "../../etc", same, davit.InvalidName},
		{"no such image", "x1", func(q *davit.Create) { q.Config.Image = "nobody" }, davit.NoSuchImage},
		{"no command", "x1", func(q *davit.Create) { q.Config.Entrypoint, q.Config.Cmd = []string{""}, nil }, davit.InvalidConfiguration},
		{"an unknown network", "x1", network("mine"), davit.InvalidConfiguration},
		{"an unknown restart policy", "x1", policy("sometimes"), davit.InvalidConfiguration},
		{"retries of always", "x1", hostConfig(func(h *davit.HostConfig) { h.RestartPolicy = davit.RestartPolicy{Name: "always", MaximumRetryCount: 1} }), davit.InvalidConfiguration},
		{"--rm with a restart policy", "x1", hostConfig(func(h *davit.HostConfig) { h.AutoRemove, h.RestartPolicy.Name = true, "always" }), davit.InvalidConfiguration},
		{"too little memory", "x1", hostConfig(func(h *davit.HostConfig) { h.Memory = 1 << 20 }), davit.InvalidConfiguration},
		{"swap without memory", "x1", hostConfig(func(h *davit.HostConfig) { h.MemorySwap = 1 << 30 }), davit.InvalidConfiguration},
		{"swap below memory", "x1", hostConfig(func(h *davit.HostConfig) { h.Memory, h.MemorySwap = 1<<30, 1<<29 }), davit.InvalidConfiguration},
		{"more CPUs than there are", "x1", hostConfig(func(h *davit.HostConfig) { h.NanoCPUs = 3e9 }), davit.InvalidConfiguration},
		{"two ways to say CPUs", "x1", hostConfig(func(h *davit.HostConfig) { h.NanoCPUs, h.CPUQuota = 1e9, 1000 }), davit.InvalidConfiguration},
		{"another log driver", "x1", hostConfig(func(h *davit.HostConfig) { h.LogConfig.Type = "splunk" }), davit.NotSupported},
		{"a relative working directory", "x1", func(q *davit.Create) { q.Config.WorkingDir = "here" }, davit.InvalidConfiguration},
		{"an unknown stop signal", "x1", func(q *davit.Create) { q.Config.StopSignal = "SIGNOPE" }, davit.InvalidConfiguration},
		{"a bad port", "x1", publish("port"), davit.InvalidConfiguration},
		{"a bad bind", "x1", volume("relative/path", "/x"), davit.InvalidConfiguration},
		{"two mounts on one target", "x1", func(q *davit.Create) { q.HostConfig.Binds = []string{"/a:/x", "/b:/x/"} }, davit.InvalidConfiguration},
	} {
		t.Run(c.name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				d.create("taken")
				before := h.text()
				refused(d, request(c.called, c.change), c.code)
				h.unchanged(before, "after a refusal")
			})
		})
	}
}

func TestCreateMergesConfig(t *testing.T) {
	for _, c := range []struct {
		name        string
		image, user davit.ContainerConfig
		path        string
		args        []string
		check       func(davit.ContainerConfig) any
		want        any
	}{
		{name: "all of the image's", image: davit.ContainerConfig{Entrypoint: []string{"/e"}, Cmd: []string{"c"}}, path: "/e", args: []string{"c"}},
		{name: "the user's command, the image's entrypoint", image: davit.ContainerConfig{Entrypoint: []string{"/e"}, Cmd: []string{"c"}}, user: davit.ContainerConfig{Cmd: []string{"u"}}, path: "/e", args: []string{"u"}},
		{name: "an entrypoint takes the image's command away", image: davit.ContainerConfig{Entrypoint: []string{"/e"}, Cmd: []string{"c"}}, user: davit.ContainerConfig{Entrypoint: []string{"/u"}}, path: "/u"},
		{name: "an entrypoint with a command", image: davit.ContainerConfig{Entrypoint: []string{"/e"}, Cmd: []string{"c"}}, user: davit.ContainerConfig{Entrypoint: []string{"/u"}, Cmd: []string{"x"}}, path: "/u", args: []string{"x"}},
		{name: "an entrypoint that is reset", image: davit.ContainerConfig{Entrypoint: []string{"/e"}, Cmd: []string{"c"}}, user: davit.ContainerConfig{Entrypoint: []string{""}, Cmd: []string{"/u"}}, path: "/u"},
		{
			name: "variables", path: "/c", image: davit.ContainerConfig{Cmd: []string{"/c"}, Env: []string{"A=image", "B=image", "V=1.14"}},
			user: davit.ContainerConfig{Env: []string{"B=user", "C=", "D=1.10"}}, check: func(c davit.ContainerConfig) any { return c.Env },
			want: []string{"B=user", "C=", "D=1.10", "A=image", "V=1.14"},
		},
		{
			name: "labels", path: "/c", image: davit.ContainerConfig{Cmd: []string{"/c"}, Labels: map[string]string{"a": "1", "b": "1"}},
			user: davit.ContainerConfig{Labels: map[string]string{"b": "2.0"}}, check: func(c davit.ContainerConfig) any { return c.Labels },
			want: map[string]string{"a": "1", "b": "2.0"},
		},
		{
			name: "the rest", path: "/c", image: davit.ContainerConfig{Cmd: []string{"/c"}, User: "daemon", WorkingDir: "/srv", StopSignal: "SIGQUIT"},
			user:  davit.ContainerConfig{User: "0"},
			check: func(c davit.ContainerConfig) any { return []string{c.User, c.WorkingDir, c.StopSignal} }, want: []string{"0", "/srv", "SIGQUIT"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				h.images.Add("other", c.image, map[string]string{"f": c.name})
				c.user.Image = "other"
				got := d.inspect(do(d, davit.Create{Config: c.user}).ID)
				if got.Path != c.path || strings.Join(got.Args, " ") != strings.Join(c.args, " ") {
					t.Errorf("it runs %s %q, want %s %q", got.Path, got.Args, c.path, c.args)
				}
				if c.check != nil {
					if diff := cmp.Diff(c.want, c.check(got.Config)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
			})
		})
	}
}

// Env values turning "1.14" into 1 was a fault of Docker 1.2, whose jobs
// passed their arguments as JSON without types.
func TestFault20_ValuesStayText(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		body := `{"Name":"typed","Config":{"Image":"busybox","Env":["V=1.14","N=007"],"Labels":{"v":"1.10","yes":"true"},"Cmd":["/bin/echo","1.0","null"]}}`
		q, err := d.eng.NewRequest("create", func(v any) error { return json.Unmarshal([]byte(body), v) })
		if err != nil {
			t.Fatal(err)
		}
		j, err := d.eng.Submit(outside(t), q)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.kill()
		got := h.boot().inspect("typed") // from the database
		want := []any{[]string{"V=1.14", "N=007", "PATH=/bin", "FROM=image"}, map[string]string{"v": "1.10", "yes": "true", "image": "1.0"}, []string{"1.0", "null"}}
		if diff := cmp.Diff(want, []any{got.Config.Env, got.Config.Labels, got.Args}); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestCreateMakesUpNames(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		names := map[string]bool{}
		for range 50 {
			name := d.inspect(d.create("")).Name
			if name == "" || names[name] {
				t.Errorf("the made-up name %q is empty or taken", name)
			}
			names[name] = true
		}
	})
}

func TestCreateUndoesItself(t *testing.T) {
	for _, c := range []struct {
		point string
		fail  func(*host, error)
	}{
		{"image", func(h *host, err error) { h.images.Fail("Get", err) }},
		{"writable layer", func(h *host, err error) { h.rootfs.Fail("Create", err) }},
		{"looking for volumes", func(h *host, err error) { h.volumes.Fail("Get", err) }},
		{"making volumes", func(h *host, err error) { h.volumes.Fail("Create", err) }},
		{"mounting the root", func(h *host, err error) { h.rootfs.Fail("Mount", err) }},
		{"filling a volume", func(h *host, err error) { h.files.Fail("CopyUp", err) }},
		{"unmounting the root", func(h *host, err error) { h.rootfs.Fail("release", err) }},
		{"record", func(h *host, err error) { h.state.Fail("PutContainer", err) }},
	} {
		t.Run(c.point, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				before := h.text()
				full := request("web", volume("named", "/data"), func(q *davit.Create) {
					q.Config.Volumes = map[string]struct{}{"/anonymous": {}}
				})
				c.fail(h, fake.ErrInjected)
				if _, err := try(d, full); !errors.Is(err, fake.ErrInjected) {
					t.Errorf("create gave %v, want the injected failure", err)
				}
				c.fail(h, nil)
				h.unchanged(before, "after a failure at "+c.point)
				refused(d, davit.ContainerInspect{Container: "web"}, davit.NoSuchContainer)
				do(d, full) // the name is free
			})
		})
	}
}

// A volume that was there before is not the failed container's to remove.
func TestFailedCreateKeepsVolumes(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		do(d, davit.VolumeCreate{Name: "mine"})
		before := h.text()
		h.state.Fail("PutContainer", fake.ErrInjected)
		if _, err := try(d, request("web", volume("mine", "/data"))); err == nil {
			t.Fatal("create succeeded")
		}
		h.unchanged(before, "after a failure")
	})
}

func TestRename(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("old")
		d.create("other")
		refused(d, davit.Rename{Container: "old", Name: "other"}, davit.NameConflict)
		refused(d, davit.Rename{Container: "old", Name: "a/b"}, davit.InvalidName)
		refused(d, davit.Rename{Container: "old", Name: "old"}, davit.InvalidName) // in conflict with nobody
		refused(d, davit.Rename{Container: "nobody", Name: "xy"}, davit.NoSuchContainer)
		h.state.Fail("PutContainer", fake.ErrInjected)
		if _, err := try(d, davit.Rename{Container: "old", Name: "new"}); err == nil {
			t.Error("a renaming that was not written succeeded")
		}
		h.state.Fail("PutContainer", nil)
		if d.inspect(id).Name != "old" {
			t.Error("a failed renaming changed the name")
		}
		refused(d, davit.ContainerInspect{Container: "new"}, davit.NoSuchContainer)
		// Whoever has the database meanwhile, to remove an image, asks for the
		// containers.
		h.state.Then("PutContainer", func() { do(d, davit.Containers{All: true}) })
		do(d, davit.Rename{Container: "old", Name: "/new"})
		if d.inspect("new").ID != id {
			t.Error("the new name means another container")
		}
		refused(d, davit.ContainerInspect{Container: "old"}, davit.NoSuchContainer)
		d.create("old") // it is free
		d.kill()
		if h.boot().inspect("new").ID != id {
			t.Error("the new name was not kept")
		}
	})
}

// Nor is one that another container has come to use meanwhile.
func TestFailedCreateKeepsVolumesOfOthers(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		h.state.Then("PutContainer", func() {
			d.create("other", volume("shared", "/data"))
			h.state.Fail("PutContainer", fake.ErrInjected)
		})
		if _, err := try(d, request("web", volume("shared", "/data"))); err == nil {
			t.Fatal("create succeeded")
		}
		if v := do(d, davit.VolumeInspect{Volume: "shared"}); v.Mountpoint != d.inspect("other").Mounts[0].Source {
			t.Errorf("the volume is %+v", v)
		}
	})
}

// What a daemon killed in the middle of a create left is gone after the next
// start.
func TestRestoreCleansUpCreate(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("kept")
		before := h.text()
		dead := make(chan struct{})
		h.state.Then("PutContainer", func() { <-dead }) // for ever
		j, err := d.eng.Submit(outside(t), request("web"))
		if err != nil {
			t.Fatal(err)
		}
		settle()
		next := h.boot()
		h.unchanged(before, "after a daemon killed while it made a container")
		next.create("web")
		h.state.Fail("PutContainer", fake.ErrInjected)
		close(dead)
		_, _ = j.Wait(t.Context()) // its goroutine ends
	})
}
