// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/google/go-cmp/cmp"
)

// declaredJobs are the names that the root package gives to its requests.
func declaredJobs(t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile("../job.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile(`\) JobType\(\) string +\{ return "(\w+)" \}`).FindAllStringSubmatch(string(source), -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return out
}

func TestChecklist07_CommandsListsEveryJob(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		want := declaredJobs(t)
		if len(want) < 50 {
			t.Fatalf("only %d jobs were found in the source", len(want))
		}
		if diff := cmp.Diff(want, do(h.boot(), davit.Commands{})); diff != "" {
			t.Errorf("(-declared +listed):\n%s", diff)
		}
	})
}

// What the daemon gives itself cannot be asked for from outside, by either
// door, even by its name.
func TestInternalJobsAreOutOfReach(t *testing.T) {
	internal := []string{
		"serveapi", "servebus", "restore", "init_networkdriver", "acceptconnections", "allocate_interface", "destroy", "release_interface", "exited",
	}
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", publish("8080"))
		before := h.text()
		var marked []string
		for _, typ := range d.eng.Types() {
			if typ.Internal {
				marked = append(marked, typ.Name)
			}
		}
		slices.Sort(internal)
		if diff := cmp.Diff(internal, marked); diff != "" {
			t.Errorf("internal jobs (-want +marked):\n%s", diff)
		}
		for _, name := range internal {
			for _, transport := range []string{engine.REST, engine.Bus} {
				q, err := d.eng.NewRequest(name, func(v any) error {
					if x, ok := v.(*davit.Exited); ok {
						x.Container = id
					}
					if x, ok := v.(*davit.ReleaseInterface); ok {
						x.Container = id
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				_, err = d.eng.Submit(engine.WithCaller(t.Context(), engine.Caller{Transport: transport, UID: 0}), q)
				if davit.CodeOf(err) != davit.NoSuchJobType {
					t.Errorf("%s over %s gave %v", name, transport, err)
				}
			}
		}
		settle()
		h.unchanged(before, "after asking for internal jobs")
	})
}

// Unknown job is 127, but its error text was empty: a fault of Docker 1.2.
func TestUnknownJob(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		_, err := d.eng.NewRequest("frobnicate", func(any) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "frobnicate") {
			t.Errorf("an unknown job gave %v", err)
		}
	})
}

func TestReload(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		dns := func() string {
			t.Helper()
			id := d.run("")
			defer do(d, davit.Delete{Container: id, Force: true})
			for _, f := range h.rt.Monitor(id).Launch.Files {
				if f.Target == "/etc/resolv.conf" {
					return string(f.Content)
				}
			}
			return ""
		}
		before := dns()

		d.bad = errors.New("cannot read the configuration: line 3")
		if _, err := try(d, davit.Reload{}); !errors.Is(err, d.bad) {
			t.Errorf("a file that cannot be read gave %v", err)
		}
		d.bad = nil

		d.next.DNS, d.next.DataRoot, d.next.Bridge = []string{"9.9.9.9"}, "/elsewhere", "br7"
		err := refused(d, davit.Reload{}, davit.InvalidConfiguration)
		for _, key := range []string{"data-root", "bridge"} {
			if err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("the refusal does not name %s: %v", key, err)
			}
		}
		if strings.Contains(err.Error(), "dns") {
			t.Errorf("the refusal names what can change: %v", err)
		}
		if now := dns(); now != before {
			t.Errorf("a refused reload changed %q to %q", before, now)
		}

		d.next = h.config
		d.next.DNS, d.next.Labels, d.next.Debug = []string{"9.9.9.9"}, []string{"a=b"}, true
		do(d, davit.Reload{})
		if now := dns(); !strings.Contains(now, "9.9.9.9") {
			t.Errorf("after the reload it is %q", now)
		}
		if i := do(d, davit.Info{}); !i.Debug || !slices.Equal(i.Labels, []string{"a=b"}) {
			t.Errorf("info is %+v", i)
		}
		if got := d.past(map[string][]string{"type": {"daemon"}}); !slices.Equal(got, []string{"daemon reload host"}) {
			t.Errorf("the events are %q", got)
		}
		do(d, davit.Reload{}) // nothing new
		d.unfit = errors.New("a part cannot follow")
		d.next.DNS = []string{"8.8.8.8"}
		if _, err := try(d, davit.Reload{}); !errors.Is(err, d.unfit) {
			t.Errorf("a configuration that a part cannot follow gave %v", err)
		}
		if now := dns(); strings.Contains(now, "8.8.8.8") {
			t.Errorf("after a reload that failed it is %q", now)
		}
		if len(d.applied) != 2 || d.applied[0].DNS[0] != "9.9.9.9" {
			t.Errorf("applied was %+v", d.applied)
		}
		want := []string{"begun", "failed", "begun", "failed", "begun", "done", "begun", "done", "begun", "failed"}
		if diff := cmp.Diff(want, d.reloads); diff != "" {
			t.Errorf("init was told (-want +got):\n%s", diff)
		}
	})
}

// TestReloadIsLive changes each key that may change, and looks for what follows.
func TestReloadIsLive(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.next.DefaultUlimits = map[string]davit.Ulimit{"nofile": {Name: "nofile", Soft: 10, Hard: 20}, "core": {Name: "core"}}
		d.next.LogDriver, d.next.LogOpts = "json-file", map[string]string{"max-size": "1m"}
		d.next.LogLevel, d.next.Debug = "warn", false
		d.next.Labels, d.next.InsecureRegistries = []string{"x=y"}, []string{"registry.test"}
		d.next.ShutdownTimeout, d.next.IdleExit = 9, davit.Span(time.Minute)
		do(d, davit.Reload{})
		id := d.create("limited", func(q *davit.Create) {
			q.HostConfig.Ulimits = []davit.Ulimit{{Name: "NOFILE", Soft: 1, Hard: 2}}
		})
		c := do(d, davit.ContainerInspect{Container: id})
		if diff := cmp.Diff([]davit.Ulimit{{Name: "NOFILE", Soft: 1, Hard: 2}, {Name: "core"}}, c.HostConfig.Ulimits); diff != "" {
			t.Errorf("limits (-want +got):\n%s", diff)
		}
		if c.HostConfig.LogConfig.Config["max-size"] != "1m" {
			t.Errorf("log options are %v", c.HostConfig.LogConfig)
		}
		if diff := cmp.Diff(d.next, d.applied[0], cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("applied was (-want +got):\n%s", diff)
		}
	})
}

// TestReloadPutsTheFirewallBack: a reload of firewalld is passed on to the
// engine because it flushes the engine's rules.
func TestReloadPutsTheFirewallBack(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		h.net.Fail("Reapply", fake.ErrInjected)
		if _, err := try(d, davit.Reload{}); !errors.Is(err, fake.ErrInjected) || !strings.Contains(err.Error(), "was reloaded, but") {
			t.Errorf("got %v", err)
		}
		h.net.Fail("Reapply", nil)
		do(d, davit.Reload{})
	})
}

func TestEvents(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		one := d.create("one", func(q *davit.Create) { q.Config.Labels = map[string]string{"team": "red", "v": "1.14"} })
		two := d.run("two")
		do(d, davit.VolumeCreate{Name: "data"})
		do(d, davit.Tag{Image: "busybox", Reference: "other:v1"})
		for _, c := range []struct {
			name    string
			filters map[string][]string
			want    []string
		}{
			{"all", nil, []string{"container create one", "container create two", "network connect bridge", "container start two", "volume create data", "image tag other:v1"}},
			{"a type", map[string][]string{"type": {"volume"}}, []string{"volume create data"}},
			{"two types", map[string][]string{"type": {"volume", "image"}}, []string{"volume create data", "image tag other:v1"}},
			{"a container by name", map[string][]string{"container": {"two"}}, []string{"container create two", "container start two"}},
			{"a container by id", map[string][]string{"container": {one}}, []string{"container create one"}},
			{"two containers by prefix", map[string][]string{"container": {one[:12], two[:12]}}, []string{"container create one", "container create two", "container start two"}},
			{"an event of a container", map[string][]string{"container": {"two"}, "event": {"start"}}, []string{"container start two"}},
			{"a label", map[string][]string{"label": {"team"}}, []string{"container create one"}},
			{"a label's value", map[string][]string{"label": {"v=1.14"}}, []string{"container create one"}},
			{"another value", map[string][]string{"label": {"v=1"}}, nil},
			{"a volume", map[string][]string{"volume": {"data"}}, []string{"volume create data"}},
			{"an empty name", map[string][]string{"container": {""}}, nil},
			{"two labels", map[string][]string{"label": {"team=red", "v"}}, []string{"container create one"}},
			{"two labels of which it has one", map[string][]string{"label": {"team=red", "w"}}, nil},
			{"an image's containers and its own", map[string][]string{"image": {"busybox", "other"}}, []string{"container create one", "container create two", "container start two", "image tag other:v1"}},
			{"an image by its whole name", map[string][]string{"image": {"other:v1"}}, []string{"image tag other:v1"}},
			{"here", map[string][]string{"scope": {"local"}, "type": {"image"}}, []string{"image tag other:v1"}},
			{"elsewhere", map[string][]string{"scope": {"swarm"}}, nil},
			{"of a swarm", map[string][]string{"service": {"x"}}, nil},
		} {
			if diff := cmp.Diff(c.want, d.past(c.filters)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
		}
		for _, bad := range []map[string][]string{{"nonsense": {"x"}}, {"type": {"vessel"}}, {"scope": {"x"}}} {
			refused(d, davit.Events{Filters: bad, Emit: func(davit.Event) error { return nil }}, davit.InvalidConfiguration)
		}
	})
}

func TestEventsSinceUntil(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("first")
		<-time.After(time.Minute)
		since := time.Now()
		d.create("second")
		<-time.After(time.Minute)
		until := time.Now()
		<-time.After(time.Minute)
		d.create("third")

		collect := func(q davit.Events) []string {
			t.Helper()
			var got []string
			q.Emit = func(ev davit.Event) error { got = append(got, ev.Attributes["name"]); return nil }
			do(d, q)
			return got
		}
		if got := collect(davit.Events{Since: since, Until: until}); !slices.Equal(got, []string{"second"}) {
			t.Errorf("between the two: %q", got)
		}
		if got := collect(davit.Events{Since: since, Until: time.Now()}); !slices.Equal(got, []string{"second", "third"}) {
			t.Errorf("since: %q", got)
		}
		if got := collect(davit.Events{Until: until}); !slices.Equal(got, []string{"first", "second"}) {
			t.Errorf("until: %q", got)
		}
		// In the future: those that come until then, once, in order.
		end := time.Now().Add(time.Hour)
		go func() {
			for i := range 5 {
				<-time.After(10 * time.Minute)
				_, _ = try(d, request(fmt.Sprint("later", i)))
			}
		}()
		got := collect(davit.Events{Since: time.Now().Add(1), Until: end})
		if want := []string{"later0", "later1", "later2", "later3", "later4"}; !slices.Equal(got, want) || !time.Now().Equal(end) {
			t.Errorf("until %v (it is %v): %q, want %q", end, time.Now(), got, want)
		}
		// An event at the very moment of the end is not lost.
		for range 20 {
			end = time.Now().Add(time.Minute)
			go func() {
				<-time.After(time.Minute)
				_, _ = try(d, davit.VolumeCreate{})
			}()
			_ = collect(davit.Events{Since: time.Now().Add(1), Until: end}) // must end
		}
	})
}

// A listener that fails ends its job, and nobody else's; a slow one holds
// nobody up.
func TestEventListeners(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		gone := errors.New("the client has gone")
		block := make(chan struct{})
		var fast int
		listen := func(emit func(davit.Event) error) *engine.Job {
			j, err := d.eng.Submit(outside(t), davit.Events{Emit: emit})
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		broken := listen(func(davit.Event) error { return gone })
		slow := listen(func(davit.Event) error { <-block; return nil })
		quick := listen(func(davit.Event) error { fast++; return nil })
		settle()
		if n := do(d, davit.Info{}).EventsListeners; n != 3 {
			t.Errorf("there are %d listeners, want 3", n)
		}
		for range 10 {
			d.create("")
		}
		settle()
		if _, err := broken.Wait(t.Context()); !errors.Is(err, gone) {
			t.Errorf("the broken listener's job gave %v", err)
		}
		if fast != 10 {
			t.Errorf("the quick one got %d of 10 events", fast)
		}
		close(block)
		for _, j := range []*engine.Job{slow, quick} {
			if err := j.Cancel(); err != nil {
				t.Error(err)
			}
		}
		settle()
		if n := do(d, davit.Info{}).EventsListeners; n != 0 {
			t.Errorf("there are %d listeners left", n)
		}
	})
}

func TestListContainers(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("created", func(q *davit.Create) { q.Config.Labels = map[string]string{"a": "1", "b": "2"} })
		<-time.After(time.Second)
		d.run("running", volume("data", "/data"), publish("8080"), func(q *davit.Create) { q.Config.Labels = map[string]string{"a": "1"} })
		<-time.After(time.Second)
		ended := d.run("ended", network("none"), func(q *davit.Create) { q.HostConfig.Annotations = map[string]string{"k": "v", "l": ""} })
		h.rt.Monitor(ended).Exit(3)
		settle()
		for _, c := range []struct {
			name string
			q    davit.Containers
			want []string
		}{
			{"those that run", davit.Containers{}, []string{"running"}},
			{"all", davit.Containers{All: true}, []string{"ended", "running", "created"}},
			{"the newest two", davit.Containers{Limit: 2}, []string{"ended", "running"}},
			{"by status", davit.Containers{Filters: map[string][]string{"status": {"created", "exited"}}}, []string{"ended", "created"}},
			{"by exit code", davit.Containers{All: true, Filters: map[string][]string{"exited": {"3"}}}, []string{"ended"}},
			{"by another", davit.Containers{All: true, Filters: map[string][]string{"exited": {"0"}}}, nil},
			{"by name", davit.Containers{All: true, Filters: map[string][]string{"name": {"ed"}}}, []string{"ended", "created"}},
			{"by both labels", davit.Containers{All: true, Filters: map[string][]string{"label": {"a=1", "b"}}}, []string{"created"}},
			{"by image", davit.Containers{All: true, Filters: map[string][]string{"ancestor": {"busybox"}}}, []string{"ended", "running", "created"}},
			{"by network", davit.Containers{All: true, Filters: map[string][]string{"network": {"none"}}}, []string{"ended"}},
			{"by volume", davit.Containers{All: true, Filters: map[string][]string{"volume": {"data"}}}, []string{"running"}},
			{"by exit code, of those that run", davit.Containers{Filters: map[string][]string{"exited": {"3"}}}, nil},
			{"by part of a name", davit.Containers{All: true, Filters: map[string][]string{"name": {"^/run"}}}, []string{"running"}},
			{"by what is no expression", davit.Containers{All: true, Filters: map[string][]string{"name": {"[run"}}}, nil},
			{"by id", davit.Containers{All: true, Filters: map[string][]string{"id": {ended[:12]}}}, []string{"ended"}},
			{"by what it is not made of", davit.Containers{All: true, Filters: map[string][]string{"ancestor": {"other"}}}, nil},
			{"before", davit.Containers{All: true, Filters: map[string][]string{"before": {"ended"}}}, []string{"running", "created"}},
			{"since", davit.Containers{All: true, Filters: map[string][]string{"since": {"created"}}}, []string{"ended", "running"}},
			{"by health", davit.Containers{All: true, Filters: map[string][]string{"health": {"none"}}}, []string{"ended", "running", "created"}},
			{"by another health", davit.Containers{All: true, Filters: map[string][]string{"health": {"healthy", "starting"}}}, nil},
			{"by port of the host", davit.Containers{Filters: map[string][]string{"publish": {"8080"}}}, []string{"running"}},
			{"by another protocol", davit.Containers{Filters: map[string][]string{"publish": {"8080/udp"}}}, nil},
			{"by port of the container", davit.Containers{Filters: map[string][]string{"expose": {"70-90/tcp"}}}, []string{"running"}},
			{"by port of neither", davit.Containers{All: true, Filters: map[string][]string{"publish": {"1-79"}}}, nil},
			{"tasks", davit.Containers{All: true, Filters: map[string][]string{"is-task": {"true"}}}, nil},
			{"no tasks", davit.Containers{Filters: map[string][]string{"is-task": {"false"}}}, []string{"running"}},
			{"by isolation", davit.Containers{Filters: map[string][]string{"isolation": {"default"}}}, []string{"running"}},
			{"by annotation", davit.Containers{All: true, Filters: map[string][]string{"annotation": {"k=v", "l"}}}, []string{"ended"}},
			{"by another annotation", davit.Containers{All: true, Filters: map[string][]string{"annotation": {"k=w"}}}, nil},
			{"by two", davit.Containers{All: true, Filters: map[string][]string{"label": {"a"}, "status": {"running"}}}, []string{"running"}},
		} {
			var got []string
			for _, i := range do(d, c.q) {
				got = append(got, i.Name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
		for key, value := range map[string]string{"nonsense": "x", "exited": "x", "health": "x", "status": "x", "is-task": "x", "isolation": "x", "publish": "x", "expose": "90-80", "annotations": "x"} {
			refused(d, davit.Containers{Filters: map[string][]string{key: {value}}}, davit.InvalidConfiguration)
		}
		refused(d, davit.Containers{Filters: map[string][]string{"before": {"none"}}}, davit.NoSuchContainer)
		byID := do(d, davit.Containers{Filters: map[string][]string{"network": {do(d, davit.NetworkInspect{Network: "bridge"}).ID[:12]}}})
		if len(byID) != 1 || byID[0].Name != "running" {
			t.Errorf("by the network's id: %+v", byID)
		}
		i := do(d, davit.Info{})
		if i.Containers != 3 || i.Running != 1 || i.Stopped != 2 || i.Paused != 0 || i.Images != 1 {
			t.Errorf("info counts %+v", i)
		}
	})
}

// /info answering 200 on failure was a fault of Docker 1.2.
func TestFault12_InfoFailsWhenItFails(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		h.images.Fail("List", fake.ErrInjected)
		if _, err := try(d, davit.Info{}); !errors.Is(err, fake.ErrInjected) {
			t.Errorf("info gave %v", err)
		}
	})
}

func TestImages(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web")
		refused(d, davit.ImageDelete{Image: "busybox"}, davit.ImageInUse)
		refused(d, davit.ImageInspect{Image: "nobody"}, davit.NoSuchImage)
		refused(d, davit.Images{Filters: map[string][]string{"nonsense": {"x"}}}, davit.InvalidConfiguration)
		if list := do(d, davit.Images{}); len(list) != 1 || list[0].Containers != 1 {
			t.Errorf("the images are %+v", list)
		}
		do(d, davit.Delete{Container: id})
		do(d, davit.ImageDelete{Image: "busybox"})
		refused(d, request("web"), davit.NoSuchImage)

		built := fake.Build("", davit.ContainerConfig{Cmd: []string{"/app"}}, map[string]string{"app": "x"})
		h.hub.Push("hub/app:v1", built)
		img := do(d, davit.Pull{Reference: "hub/app:v1"})
		if img.ID != built.Config || do(d, davit.ImageInspect{Image: "hub/app:v1"}).ID != img.ID {
			t.Errorf("pulled %+v", img)
		}
		refused(d, davit.Pull{Reference: "hub/nobody"}, davit.NoSuchImage)
		want := []string{"image untag busybox:latest"}
		if got := d.past(map[string][]string{"type": {"image"}, "event": {"untag"}}); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// Identical pulls join: one work, two who wait, and the last one to leave
// cancels it.
func TestPullsJoin(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		h.hub.Push("hub/app:v1", fake.Build("", davit.ContainerConfig{}, map[string]string{"app": "x"}))
		submit := func(q davit.Pull) *engine.Job {
			j, err := d.eng.Submit(outside(t), q)
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		come := h.pulls.Hang("Pull")
		one := submit(davit.Pull{Reference: "hub/app:v1"})
		<-come
		two := submit(davit.Pull{Reference: "hub/app:v1"})
		other := submit(davit.Pull{Reference: "hub/app:v1", Auth: &davit.RegistryAuth{Username: "x"}})
		if one != two || one == other {
			t.Errorf("the jobs are %d, %d and %d", one.ID(), two.ID(), other.ID())
		}
		one.Leave()
		settle()
		if s := two.Snapshot().State; s != engine.Running {
			t.Errorf("one of two has left: the pull is %s", s)
		}
		two.Leave()
		if _, err := two.Wait(t.Context()); davit.CodeOf(err) != davit.JobCanceled {
			t.Errorf("both have left: the pull gave %v", err)
		}
		if _, err := other.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestNetworks(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web")
		d.run("host", network("host"))
		ids := map[string]string{}
		for _, n := range do(d, davit.Networks{}) {
			ids[n.Name] = n.ID
		}
		if len(ids) != 3 || ids["bridge"] == "" || ids["host"] == "" || ids["none"] == "" {
			t.Errorf("the networks are %v", ids)
		}
		bridge := do(d, davit.NetworkInspect{Network: ids["bridge"][:12]})
		if len(bridge.Endpoints) != 1 || bridge.Names[id] != "web" {
			t.Errorf("the bridge is %+v", bridge)
		}
		if host := do(d, davit.NetworkInspect{Network: "host"}); len(host.Endpoints) != 1 {
			t.Errorf("the host's network is %+v", host)
		}
		refused(d, davit.NetworkInspect{Network: "nobody"}, davit.NoSuchNetwork)
		refused(d, davit.NetworkInspect{Network: ""}, davit.NoSuchNetwork)
		refused(d, davit.Networks{Filters: map[string][]string{"nonsense": {"x"}}}, davit.InvalidConfiguration)
		do(d, davit.ReapplyNetworks{})
		if calls := h.net.Calls("Reapply"); !slices.Equal(calls, []string{"Reapply 1"}) {
			t.Errorf("reapplied were %v", calls)
		}
		d = d.boots()
		for _, n := range do(d, davit.Networks{}) {
			if ids[n.Name] != n.ID {
				t.Errorf("the id of %s changed from %s to %s", n.Name, ids[n.Name], n.ID)
			}
		}
	})
}

func TestVolumes(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		v := do(d, davit.VolumeCreate{Name: "data", Labels: map[string]string{"v": "1.14"}})
		if again := do(d, davit.VolumeCreate{Name: "data"}); again.Labels["v"] != "1.14" {
			t.Errorf("created again it is %+v", again)
		}
		anonymous := do(d, davit.VolumeCreate{})
		if !anonymous.Anonymous || len(anonymous.Name) != 64 {
			t.Errorf("a volume without a name is %+v", anonymous)
		}
		refused(d, davit.VolumeCreate{Name: "x y"}, davit.InvalidName)
		refused(d, davit.VolumeCreate{Name: "nfs", Driver: "nfs"}, davit.InvalidConfiguration)
		refused(d, davit.VolumeInspect{Volume: "nobody"}, davit.NoSuchVolume)
		refused(d, davit.Volumes{Filters: map[string][]string{"nonsense": {"x"}}}, davit.InvalidConfiguration)
		d.create("web", volume("data", "/data"))
		for value, want := range map[string][]string{"true": {anonymous.Name}, "false": {"data"}} {
			var got []string
			for _, v := range do(d, davit.Volumes{Filters: map[string][]string{"dangling": {value}}}) {
				got = append(got, v.Name)
			}
			if !slices.Equal(got, want) {
				t.Errorf("dangling=%s: %q, want %q", value, got, want)
			}
		}
		if got := d.past(map[string][]string{"volume": {"data"}}); !slices.Equal(got, []string{"volume create data"}) {
			t.Errorf("events %q: %s was made once", got, v.Name)
		}
	})
}

func TestTop(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		refused(d, davit.Top{Container: "nobody"}, davit.NoSuchContainer)
		id := d.create("web")
		refused(d, davit.Top{Container: "web"}, davit.ContainerNotRunning)
		do(d, davit.Start{Container: "web"})
		if table := do(d, davit.Top{Container: "web"}); len(table.Processes) != 1 {
			t.Errorf("the table is %+v", table)
		}
		if calls := h.rt.Calls("Top"); !slices.Equal(calls, []string{"Top " + id + "[-ef]"}) {
			t.Errorf("the calls were %q", calls)
		}
	})
}

func TestVersion(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		v := do(h.boot(), davit.Version{})
		if v.Version != davit.Release || v.APIVersion != davit.APIVersion || v.MinAPIVersion != davit.MinAPIVersion || v.GoVersion == "" {
			t.Errorf("the version is %+v", v)
		}
	})
}
