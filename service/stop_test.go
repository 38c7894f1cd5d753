// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"slices"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

func seconds(n int) *time.Duration {
	d := time.Duration(n) * time.Second
	return &d
}

// "stop without t kills at once" was a fault of Docker 1.2.
func TestStop(t *testing.T) {
	five := 5
	for _, c := range []struct {
		name    string
		change  func(*davit.Create)
		q       davit.Stop
		signals []int
		took    time.Duration
		code    int
	}{
		{"obeys TERM", func(*davit.Create) {}, davit.Stop{}, []int{15}, 0, 143},
		{"deaf, without a timeout", deaf, davit.Stop{}, []int{15, 9}, 10 * time.Second, 137},
		{"deaf, with a timeout", deaf, davit.Stop{Timeout: seconds(3)}, []int{15, 9}, 3 * time.Second, 137},
		{"deaf, at once", deaf, davit.Stop{Timeout: seconds(0)}, []int{15, 9}, 0, 137},
		{"deaf, with its own timeout", func(q *davit.Create) { deaf(q); q.Config.StopTimeout = &five }, davit.Stop{}, []int{15, 9}, 5 * time.Second, 137},
		{"the request's timeout over its own", func(q *davit.Create) { deaf(q); q.Config.StopTimeout = &five }, davit.Stop{Timeout: seconds(2)}, []int{15, 9}, 2 * time.Second, 137},
		{"its own signal", func(q *davit.Create) { deaf(q); q.Config.StopSignal = "SIGQUIT" }, davit.Stop{Timeout: seconds(1)}, []int{3, 9}, time.Second, 137},
		{"the request's signal", func(q *davit.Create) { deaf(q); q.Config.StopSignal = "SIGQUIT" }, davit.Stop{Signal: "INT", Timeout: seconds(1)}, []int{2, 9}, time.Second, 137},
		{"an exit code of its own", script("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"), davit.Stop{}, []int{15}, 0, 7},
		{"with a restart policy", policy("always"), davit.Stop{}, []int{15}, 0, 143},
	} {
		t.Run(c.name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.run("web", publish("8080"), c.change)
				m := h.rt.Monitor(id)
				begin := time.Now()
				c.q.Container = "web"
				do(d, c.q)
				if took := time.Since(begin); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				if !slices.Equal(m.Signals(), c.signals) {
					t.Errorf("the signals were %v, want %v", m.Signals(), c.signals)
				}
				got := d.inspect(id)
				if got.State.Status != davit.StatusExited || got.State.ExitCode != c.code || !got.State.StoppedByAPI {
					t.Errorf("it is %+v, want exited with %d", got.State, c.code)
				}
				if text := h.net.Text() + h.net.Reserved(); text != "" {
					t.Errorf("the network still has %s", text)
				}
				refused(d, davit.Stop{Container: "web"}, davit.AlreadySo)
				do(d, davit.Start{Container: "web"})
			})
		})
	}
}

func TestStopForEver(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf)
		j, err := d.eng.Submit(outside(t), davit.Stop{Container: id, Timeout: seconds(-1)})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(24 * time.Hour)
		if s := j.Snapshot().State; s != engine.Running {
			t.Fatalf("a day later the stop is %s", s)
		}
		do(d, davit.Kill{Container: id}) // does not queue behind the stop
		if _, err := j.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestStopOf(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		refused(d, davit.Stop{Container: "nobody"}, davit.NoSuchContainer)
		d.create("web")
		refused(d, davit.Stop{Container: "web"}, davit.AlreadySo)
		do(d, davit.Start{Container: "web"})
		refused(d, davit.Stop{Container: "web", Signal: "NOPE"}, davit.InvalidConfiguration)
		if d.inspect("web").State.StoppedByAPI {
			t.Error("a refused stop marks the container")
		}
	})
}

// A cancelled stop has sent its signal, and no more.
func TestStopCancelled(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf)
		j, err := d.eng.Submit(outside(t), davit.Stop{Container: id})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if err := j.Cancel(); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Wait(t.Context()); davit.CodeOf(err) != davit.JobCanceled {
			t.Errorf("the stop gave %v", err)
		}
		<-time.After(time.Minute)
		if s := h.rt.Monitor(id).Signals(); !slices.Equal(s, []int{15}) || d.inspect(id).State.Status != davit.StatusRunning {
			t.Errorf("after the cancel came the signals %v", s)
		}
	})
}

func TestKill(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		refused(d, davit.Kill{Container: "nobody"}, davit.NoSuchContainer)
		id := d.create("web", deaf, policy("always"))
		refused(d, davit.Kill{Container: "web"}, davit.ContainerNotRunning)
		do(d, davit.Start{Container: "web"})
		for _, bad := range []string{"NOPE", "0", "65", "-1", "9x", "SIG"} {
			refused(d, davit.Kill{Container: "web", Signal: bad}, davit.InvalidConfiguration)
		}
		for _, s := range []string{"HUP", "SIGHUP", "1", "hup"} {
			do(d, davit.Kill{Container: "web", Signal: s})
		}
		m := h.rt.Monitor(id)
		if got := m.Signals(); !slices.Equal(got, []int{1, 1, 1, 1}) {
			t.Errorf("the signals were %v", got)
		}
		if d.inspect(id).State.StoppedByAPI {
			t.Error("a signal that does not stop the container marks it as stopped")
		}
		do(d, davit.Kill{Container: "web"}) // and not again by its policy
		if got := d.inspect(id).State; got.Status != davit.StatusExited || got.ExitCode != 137 || !got.StoppedByAPI {
			t.Errorf("it is %+v", got)
		}
	})
}

// TestKillOfPaused holds what Docker does: who is sent a signal goes on, and sees
// it.
func TestKillOfPaused(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf)
		do(d, davit.Pause{Container: "web"})
		do(d, davit.Kill{Container: "web", Signal: "HUP"})
		if got := d.inspect(id).State.Status; got != davit.StatusRunning || !slices.Equal(h.rt.Monitor(id).Signals(), []int{1}) {
			t.Errorf("it is %s, and was sent %v", got, h.rt.Monitor(id).Signals())
		}
		wantActions(t, d, id, "create", "start", "pause", "kill", "unpause")
		do(d, davit.Pause{Container: "web", Brief: true}) // the engine's own ends by itself
		do(d, davit.Kill{Container: "web", Signal: "HUP"})
		if got := d.inspect(id).State.Status; got != davit.StatusPaused {
			t.Errorf("a brief pause was ended: it is %s", got)
		}
	})
}

func TestRestart(t *testing.T) {
	for name, rm := range map[string]bool{"kept": false, "with --rm": true} {
		t.Run(name, func(t *testing.T) { testRestart(t, rm) })
	}
}

func testRestart(t *testing.T, rm bool) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web", publish("8080"), func(q *davit.Create) { q.HostConfig.AutoRemove = rm })
		do(d, davit.Restart{Container: "web"}) // starts what does not run
		first := d.inspect(id).State
		do(d, davit.Restart{Container: "web"})
		<-time.After(time.Minute)
		second := d.inspect(id)
		if second.State.Status != davit.StatusRunning || second.State.Pid == first.Pid || second.State.StoppedByAPI {
			t.Errorf("restarted (--rm %v), %+v became %+v", rm, first, second.State)
		}
		wantActions(t, d, id, "create", "start", "restart", "kill", "die", "stop", "start", "restart")
		refused(d, davit.Restart{Container: "nobody"}, davit.NoSuchContainer)
		do(d, davit.Stop{Container: "web"})
		settle()
		if rm {
			refused(d, davit.ContainerInspect{Container: "web"}, davit.NoSuchContainer)
		}
	})
}

func TestDelete(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		do(d, davit.VolumeCreate{Name: "named"})
		before := h.text()
		refused(d, davit.Delete{Container: "nobody"}, davit.NoSuchContainer)
		full := func(q *davit.Create) {
			volume("named", "/named")(q)
			publish("8080")(q)
			q.Config.Volumes = map[string]struct{}{"/anonymous": {}}
		}
		id := d.run("web", full)
		refused(d, davit.Delete{Container: "web"}, davit.ContainerRunning)
		refused(d, davit.VolumeDelete{Volume: "named"}, davit.VolumeInUse)
		refused(d, davit.VolumeDelete{Volume: "named", Force: true}, davit.VolumeInUse)
		if s := d.inspect(id).State.Status; s != davit.StatusRunning {
			t.Errorf("refusals made it %s", s)
		}
		do(d, davit.Delete{Container: "web", Force: true, Volumes: true})
		h.unchanged(before, "after a forced removal with volumes")
		refused(d, davit.Delete{Container: "web"}, davit.NoSuchContainer)
		wantActions(t, d, id, "create", "start", "kill", "die", "destroy")

		id = d.create("web", full)
		do(d, davit.Delete{Container: id})
		if volumes := do(d, davit.Volumes{}); len(volumes) != 2 {
			t.Errorf("removed without volumes it leaves %+v", volumes)
		}
		do(d, davit.VolumeDelete{Volume: "named"})
		refused(d, davit.VolumeDelete{Volume: "named"}, davit.NoSuchVolume)
		do(d, davit.VolumeDelete{Volume: "named", Force: true})
	})
}

// An anonymous volume that another container uses stays.
func TestDeleteKeepsSharedVolumes(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		one := d.create("one", func(q *davit.Create) { q.Config.Volumes = map[string]struct{}{"/v": {}} })
		name := d.inspect(one).Mounts[0].Name
		d.create("two", volume(name, "/v"))
		do(d, davit.Delete{Container: "one", Volumes: true})
		if got := do(d, davit.VolumeInspect{Volume: name}); !got.Anonymous {
			t.Errorf("the volume is %+v", got)
		}
		do(d, davit.Delete{Container: "two", Volumes: true})
		refused(d, davit.VolumeInspect{Volume: name}, davit.NoSuchVolume)
	})
}

func TestDeleteThatCannotBeWritten(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("web")
		before := h.text()
		h.state.Fail("DeleteContainer", fake.ErrInjected)
		if _, err := try(d, davit.Delete{Container: "web"}); err == nil {
			t.Error("a removal that was not written succeeded")
		}
		h.unchanged(before, "after a removal that was not written")
		h.state.Fail("DeleteContainer", nil)
		do(d, davit.Delete{Container: "web"})
	})
}

func TestAutoRemove(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		before := h.text()
		id := d.run("web", autoRemove, func(q *davit.Create) { q.Config.Volumes = map[string]struct{}{"/v": {}} })
		removed := make(chan davit.Exit, 1)
		go func() {
			x, _ := try(d, davit.Wait{Container: id, Condition: "removed"})
			removed <- x
		}()
		settle()
		h.rt.Monitor(id).Exit(5)
		if x := <-removed; x.Code != 5 {
			t.Errorf("who waits for the removal is told %+v, want 5", x)
		}
		settle()
		h.unchanged(before, "after the end of a container with --rm")
	})
}

func TestConcurrentStopsAndDeletes(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		before := h.text()
		id := d.run("web", publish("8080"), deaf, autoRemove)
		var jobs []*engine.Job
		for range 3 {
			for _, q := range []engine.Request{
				davit.Stop{Container: id, Timeout: seconds(1)}, davit.Kill{Container: id}, davit.Delete{Container: id, Force: true},
			} {
				j, err := d.eng.Submit(outside(t), q)
				if err != nil {
					t.Fatal(err)
				}
				jobs = append(jobs, j)
			}
		}
		for _, j := range jobs {
			_, err := j.Wait(t.Context())
			switch davit.KindOf(err) {
			case davit.Internal:
				if err != nil {
					t.Errorf("%s: %v", j.Type(), err)
				}
			case davit.NotFound, davit.NotModified, davit.Conflict:
			default:
				t.Errorf("%s: %v", j.Type(), err)
			}
		}
		settle()
		h.unchanged(before, "after many had ended the same container")
	})
}
