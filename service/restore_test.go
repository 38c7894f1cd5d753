// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// boots boots a second daemon after the first was killed, and waits until
// nothing happens any more.
func (d *daemon) boots() *daemon {
	d.t.Helper()
	d.kill()
	next := d.boot()
	settle()
	return next
}

func TestRestoreAdopts(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", publish("8080"))
		before, text := d.inspect(id), h.text()
		d = d.boots()
		after := d.inspect("web")
		if after.State.Status != davit.StatusRunning || after.State.Pid != before.State.Pid || !after.State.StartedAt.Equal(before.State.StartedAt) {
			t.Errorf("it was %+v and is %+v", before.State, after.State)
		}
		if len(after.Endpoints) != 1 || after.Endpoints[0].Address != before.Endpoints[0].Address {
			t.Errorf("its endpoints were %+v and are %+v", before.Endpoints, after.Endpoints)
		}
		h.unchanged(text, "after a daemon that was killed")
		if signals := h.rt.Monitor(id).Signals(); len(signals) > 0 {
			t.Errorf("it was sent %v", signals)
		}
		refused(d, davit.Start{Container: "web"}, davit.AlreadySo)
		refused(d, request("web"), davit.NameConflict)
		other := d.create("other", publish("8080"))
		refused(d, davit.Start{Container: other}, davit.PortInUse)
		w := d.wait("web", "")
		h.rt.Monitor(id).Exit(4)
		w.want(t, 4)
		wantActions(t, d, id, "die")
		do(d, davit.Start{Container: other})
	})
}

func TestRestoreRecordsExits(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", publish("8080"))
		started := d.inspect(id).State.StartedAt
		d.kill()
		<-time.After(time.Hour)
		h.rt.Monitor(id).Exit(7)
		ended := time.Now()
		<-time.After(time.Hour)
		d = h.boot()
		settle()
		got := d.inspect("web")
		if s := got.State; s.Status != davit.StatusExited || s.ExitCode != 7 || s.Pid != 0 || !s.FinishedAt.Equal(ended) || !s.StartedAt.Equal(started) {
			t.Errorf("it is %+v, want exit code 7, from %v to %v", s, started, ended)
		}
		if text := h.net.Text() + h.net.Reserved(); text != "" || len(got.Endpoints) != 0 {
			t.Errorf("it still has %s%+v", text, got.Endpoints)
		}
		if known, _ := h.rt.Known(); len(known) != 0 {
			t.Errorf("the runtime still keeps %v", known)
		}
		wantActions(t, d, id, "die")
		d.wait("web", "").want(t, 7)
		d = d.boots()
		if s := d.inspect("web").State; s.ExitCode != 7 || s.Status != davit.StatusExited {
			t.Errorf("after another restart it is %+v", s)
		}
	})
}

// A crash between writing the exit and forgetting it must find it again, and
// one before it was written must not lose it.
func TestRestoreAfterExitThatWasNotWritten(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web")
		h.state.Fail("PutContainer", fake.ErrInjected) // a full disk
		h.rt.Monitor(id).Exit(7)
		settle()
		if s := d.inspect(id).State; s.Status != davit.StatusExited || s.ExitCode != 7 {
			t.Errorf("on a full disk it is %+v", s)
		}
		h.state.Fail("PutContainer", nil)
		d = d.boots()
		if s := d.inspect(id).State; s.Status != davit.StatusExited || s.ExitCode != 7 {
			t.Errorf("after a restart it is %+v", s)
		}
	})
}

// "exit code 0 for a ghost" was a fault of Docker 1.2: on-failure containers
// stayed down when the host had been.
func TestFault16_GhostsHaveFailed(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		for _, p := range []string{"", "no", "on-failure", "always", "unless-stopped"} {
			d.run("ghost-"+p, policy(p))
		}
		lost := d.run("lost")
		d.kill()
		h.rt.Monitor(lost).Lose()
		h.rt.Reboot()
		d = h.boot()
		for _, c := range do(d, davit.Containers{All: true}) {
			if c.State.Status != davit.StatusExited || c.State.ExitCode != 255 || c.State.Pid != 0 {
				t.Errorf("%s is %+v, want exited with 255", c.Name, c.State)
			}
		}
		if err := d.svc.Resume(); err != nil {
			t.Fatal(err)
		}
		settle()
		for _, c := range do(d, davit.Containers{All: true}) {
			up := c.State.Status == davit.StatusRunning
			want := slices.Contains([]string{"on-failure", "always", "unless-stopped"}, c.HostConfig.RestartPolicy.Name)
			if up != want {
				t.Errorf("%s is %s", c.Name, c.State.Status)
			}
		}
	})
}

func TestRestoreOfLostMonitor(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id, other := d.run("web", publish("8080")), d.run("other")
		h.rt.Monitor(id).Lose() // while the daemon looks on
		settle()
		if s := d.inspect(id).State; s.Status != davit.StatusExited || s.ExitCode != 137 {
			t.Errorf("it is %+v", s)
		}
		d.kill()
		h.rt.Monitor(other).Lose() // while it does not
		d = h.boot()
		settle()
		if s := d.inspect(other).State; s.Status != davit.StatusExited || s.ExitCode != 137 {
			t.Errorf("the other is %+v", s)
		}
		if text := h.net.Text() + h.net.Reserved(); text != "" {
			t.Errorf("the network still has %s", text)
		}
	})
}

// A daemon that was killed in the middle of a start leaves a monitor whose
// container waits.
func TestRestoreEndsWhatWasNotStarted(t *testing.T) {
	for _, point := range []string{"Netns", "Start"} {
		t.Run(point, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.create("web", publish("8080"))
				come := h.rt.Hang(point)
				j, err := d.eng.Submit(outside(t), davit.Start{Container: id})
				if err != nil {
					t.Fatal(err)
				}
				<-come
				m := h.rt.Monitor(id)
				next := h.boot() // the first was killed: it does nothing any more
				settle()
				if known, _ := h.rt.Known(); len(known) != 0 || m.Pid() != 0 {
					t.Errorf("the monitor lives: %v", known)
				}
				if text := h.net.Text() + h.net.Reserved(); text != "" {
					t.Errorf("the network still has %s", text)
				}
				if s := next.inspect(id).State.Status; s == davit.StatusRunning {
					t.Errorf("it is %s", s)
				}
				do(next, davit.Start{Container: id})
				h.rt.Free() // so that the dead daemon's goroutines end
				_, _ = j.Wait(t.Context())
				d.kill()
			})
		})
	}
}

func TestRestoreEndsOrphans(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		kept := d.run("kept")
		text := h.text()
		orphan := d.run("orphan", publish("8080"), policy("always"))
		over := d.run("over")
		m := h.rt.Monitor(orphan)
		d.kill()
		h.rt.Monitor(over).Exit(0)
		h.state.Reopen()
		for _, id := range []string{orphan, over} {
			if err := h.state.DeleteContainer(id); err != nil { // as a removal that was killed half way
				t.Fatal(err)
			}
		}
		stray := filepath.Join(h.config.DataRoot, "containers", strings.Repeat("f", 64))
		if err := os.MkdirAll(filepath.Join(stray, "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
		d = h.boot()
		settle()
		h.unchanged(text, "after orphans")
		if !slices.Equal(m.Signals(), []int{9}) {
			t.Errorf("the orphan was sent %v", m.Signals())
		}
		if len(h.rt.Monitor(kept).Signals()) != 0 || d.inspect(kept).State.Status != davit.StatusRunning {
			t.Error("a container with a record was ended, too")
		}
		refused(d, davit.ContainerInspect{Container: orphan}, davit.NoSuchContainer)
	})
}

// A monitor that does not answer does not keep the daemon from coming up. Its
// container is not given up: it runs, and is taken over once the monitor answers.
func TestRestoreFailsOneByOne(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.run("web")
		d.kill()
		h.rt.Fail("Adopt", fake.ErrInjected)
		d = h.boot()
		if s := d.inspect("web").State; s.Status != davit.StatusRunning {
			t.Errorf("it is %+v", s)
		}
		d.create("another")
		h.rt.Fail("Adopt", nil)
		<-time.After(2 * time.Second)
		settle()
		if s := d.inspect("web").State; s.Status != davit.StatusRunning || s.Pid == 0 {
			t.Errorf("it was not taken over: %+v", s)
		}
		do(d, davit.Stop{Container: "web"})
	})
}

func TestResume(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy string
		rm     bool
		before func(d *daemon, id string) // the daemon is killed
		status davit.Status               // "" is removed
	}{
		{"never started", "always", false, func(*daemon, string) {}, davit.StatusCreated},
		{"without a policy", "no", false, func(d *daemon, id string) { do(d, davit.Start{Container: id}) }, davit.StatusExited},
		{"always", "always", false, func(d *daemon, id string) { do(d, davit.Start{Container: id}) }, davit.StatusRunning},
		{"unless-stopped", "unless-stopped", false, func(d *daemon, id string) { do(d, davit.Start{Container: id}) }, davit.StatusRunning},
		{"unless-stopped, and it was", "unless-stopped", false, func(d *daemon, id string) {
			do(d, davit.Start{Container: id})
			do(d, davit.Stop{Container: id})
		}, davit.StatusExited},
		{"unless-stopped, and it was killed", "unless-stopped", false, func(d *daemon, id string) {
			do(d, davit.Start{Container: id})
			do(d, davit.Kill{Container: id})
		}, davit.StatusExited},
		{"on-failure, and it had succeeded", "on-failure", false, func(d *daemon, id string) {
			do(d, davit.Start{Container: id})
			d.rt.Monitor(id).Exit(0)
			settle()
		}, davit.StatusExited},
		{"on-failure, a ghost", "on-failure", false, func(d *daemon, id string) { do(d, davit.Start{Container: id}) }, davit.StatusRunning},
		{"--rm that ended meanwhile", "no", true, func(d *daemon, id string) { do(d, davit.Start{Container: id}) }, ""},
		{"--rm, never started", "no", true, func(*daemon, string) {}, davit.StatusCreated},
	} {
		t.Run(c.name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				before := h.text()
				id := d.create("web", policy(c.policy), func(q *davit.Create) { q.HostConfig.AutoRemove = c.rm })
				c.before(d, id)
				d.kill()
				h.rt.Reboot()
				d = h.boot()
				if err := d.svc.Resume(); err != nil {
					t.Error(err)
				}
				settle()
				if c.status == "" {
					h.unchanged(before, "after Resume")
				} else if s := d.inspect(id).State.Status; s != c.status {
					t.Errorf("it is %s, want %s", s, c.status)
				}
			})
		})
	}
}

// A container that a user stops while the daemon is away, by its unit, stays
// as its monitor says.
func TestResumeLeavesRunning(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", policy("always"))
		d = d.boots()
		if err := d.svc.Resume(); err != nil {
			t.Error(err)
		}
		settle()
		if calls := h.rt.Calls("Create"); len(calls) != 1 || d.inspect(id).State.Status != davit.StatusRunning {
			t.Errorf("it was created again: %v", calls)
		}
	})
}

// A stop whose daemon was killed before the container ended is still a stop.
func TestStopIsRememberedAcrossCrash(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf, policy("unless-stopped"))
		j, err := d.eng.Submit(outside(t), davit.Stop{Container: id})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if err := j.Cancel(); err != nil { // as good as dead
			t.Fatal(err)
		}
		d.kill()
		h.rt.Monitor(id).Exit(0) // it took its time
		d = h.boot()
		if err := d.svc.Resume(); err != nil {
			t.Error(err)
		}
		settle()
		if s := d.inspect(id).State.Status; s != davit.StatusExited {
			t.Errorf("the stopped container is %s", s)
		}
	})
}

func TestBootFails(t *testing.T) {
	for name, change := range map[string]func(*host, *daemon){
		"state":    func(h *host, _ *daemon) { h.state.Fail("Containers", fake.ErrInjected) },
		"identity": func(h *host, _ *daemon) { h.state.Fail("EngineID", fake.ErrInjected) },
		"network":  func(h *host, _ *daemon) { h.net.Fail("Init", fake.ErrInjected) },
		"runtime":  func(h *host, _ *daemon) { h.rt.Fail("Known", fake.ErrInjected) },
		"roots":    func(h *host, _ *daemon) { h.rootfs.Fail("Keep", fake.ErrInjected) },
		"door":     func(_ *host, d *daemon) { d.rest.Fail("Serve", fake.ErrInjected) },
	} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.build(nil)
				change(h, d)
				if err := d.svc.Boot(d.context(), nil, func(string) {}); !errors.Is(err, fake.ErrInjected) {
					t.Errorf("boot gave %v", err)
				}
				if d.gate.Opened() {
					t.Error("the gate was opened")
				}
				if err := d.eng.Shutdown(t.Context(), time.Second); err != nil && name != "door" {
					t.Errorf("the orderly end of a failed boot: %v", err)
				}
				if d.rest.Serving.Load() {
					t.Error("the door is still open")
				}
			})
		})
	}
}

// The acceptconnections-before-serveapi race, which hung every request for
// ever, was a fault of Docker 1.2.
func TestBootOrder(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.build(nil)
		h.net.Then("Init", func() {
			if !d.rest.Serving.Load() || d.gate.Opened() {
				t.Error("while the network comes up the door must be open and the gate closed")
			}
		})
		var said []string
		if err := d.svc.Boot(d.context(), nil, func(s string) { said = append(said, s) }); err != nil {
			t.Fatal(err)
		}
		if !d.gate.Opened() || len(said) < 3 {
			t.Errorf("the gate is open: %v; the status was %q", d.gate.Opened(), said)
		}
		var types []string
		for _, j := range d.eng.Jobs() {
			types = append(types, j.Type())
		}
		if want := []string{"serveapi", "restore", "init_networkdriver", "acceptconnections"}; !slices.Equal(types, want) {
			t.Errorf("the boot's jobs were %v, want %v", types, want)
		}
	})
}

func TestChecklist11_BrokenDoorIsTold(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.rest.Break(fake.ErrInjected)
		if err := <-d.svc.Failed(); !errors.Is(err, fake.ErrInjected) {
			t.Errorf("told was %v", err)
		}
	})
}

// Internal jobs refused at shutdown, leaking FORWARD rules, was a fault of
// Docker 1.2: what a running job needs still runs.
func TestShutdownWithRunningJobs(t *testing.T) {
	t.Run("a start that hangs is undone", func(t *testing.T) {
		onHost(t, func(t *testing.T, h *host) {
			d := h.boot()
			d.create("web", publish("8080"))
			before := h.text()
			come := h.rt.Hang("Create")
			j, err := d.eng.Submit(outside(t), davit.Start{Container: "web"})
			if err != nil {
				t.Fatal(err)
			}
			<-come
			begin := time.Now()
			if err := d.eng.Shutdown(t.Context(), 5*time.Second); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took != 5*time.Second {
				t.Errorf("the shutdown took %v", took)
			}
			if _, err := j.Wait(t.Context()); davit.CodeOf(err) != davit.JobCanceled {
				t.Errorf("the start gave %v", err)
			}
			h.unchanged(before, "after a shutdown in the middle of a start")
		})
	})
	t.Run("a stop is finished", func(t *testing.T) {
		onHost(t, func(t *testing.T, h *host) {
			d := h.boot()
			id := d.run("web", publish("8080"), deaf)
			j, err := d.eng.Submit(outside(t), davit.Stop{Container: "web", Timeout: seconds(3)})
			if err != nil {
				t.Fatal(err)
			}
			settle()
			done := make(chan error, 1)
			go func() { done <- d.eng.Shutdown(t.Context(), 5*time.Second) }()
			settle()
			refused(d, davit.Noop{}, davit.ShuttingDown)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if _, err := j.Wait(t.Context()); err != nil {
				t.Errorf("the stop gave %v", err)
			}
			if text := h.net.Text() + h.net.Reserved(); text != "" {
				t.Errorf("the network still has %s", text)
			}
			recs, err := h.state.Containers()
			if err != nil || recs[0].State.Status != davit.StatusExited || recs[0].State.ExitCode != 137 {
				t.Errorf("the record of %s says %+v, %v", id, recs[0].State, err)
			}
		})
	})
	t.Run("containers go on", func(t *testing.T) {
		onHost(t, func(t *testing.T, h *host) {
			d := h.boot()
			id := d.run("web", publish("8080"))
			before := h.text()
			if err := d.eng.Shutdown(t.Context(), 5*time.Second); err != nil {
				t.Error(err)
			}
			if d.rest.Serving.Load() {
				t.Error("the door is still open")
			}
			h.unchanged(before, "after a shutdown")
			if s := h.rt.Monitor(id).Signals(); len(s) > 0 {
				t.Errorf("it was sent %v", s)
			}
		})
	})
}

// Two daemons with networks of their own, or none, in one process.
func TestWithoutNetwork(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.build(func(o *service.Options) { o.Network = nil })
		if err := d.svc.Boot(d.context(), nil, func(string) {}); err != nil {
			t.Fatal(err)
		}
		refused(d, request("web"), davit.NotSupported)
		d.run("web", network("none"))
		refused(d, davit.ReapplyNetworks{}, davit.AlreadySo)
		if i := do(d, davit.Info{}); i.FirewallBackend != "" || i.Running != 1 {
			t.Errorf("info is %+v", i)
		}
		for _, n := range do(d, davit.Networks{}) {
			if n.Name == "bridge" {
				t.Error("there is a bridge")
			}
		}
	})
}

// An exit that comes while something else writes the record is not written
// over by what was true before it.
func TestExitIsNotOverwritten(t *testing.T) {
	for name, q := range map[string]engine.Request{
		"rename": davit.Rename{Container: "web", Name: "other"},
		"stop":   davit.Stop{Container: "web"},
		"kill":   davit.Kill{Container: "web", Signal: "TERM"},
	} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.run("web", deaf, policy("on-failure"))
				h.state.Then("PutContainer", func() {
					h.rt.Monitor(id).Exit(0)
					for range 10_000 { // the exit's job may come as far as it can
						runtime.Gosched()
					}
				})
				j, err := d.eng.Submit(outside(t), q)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := j.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				settle()
				recs, err := h.state.Containers()
				if err != nil || recs[0].State.Status != davit.StatusExited || recs[0].State.ExitCode != 0 {
					t.Errorf("the database says %+v, %v", recs[0].State, err)
				}
				if want := d.inspect(id).Name; recs[0].Name != want {
					t.Errorf("the name is %s, and in the database %s", want, recs[0].Name)
				}
			})
		})
	}
}

// A container that ends while the network comes up was counted among the
// living, and must not keep its address.
func TestExitWhileNetworkComesUp(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", publish("8080"))
		d.kill()
		h.net.Then("Init", func() {
			h.rt.Monitor(id).Exit(3)
			for range 10_000 { // the exit's job may come as far as it can
				runtime.Gosched()
			}
		})
		d = h.boot()
		settle()
		if s := d.inspect("web").State; s.Status != davit.StatusExited || s.ExitCode != 3 {
			t.Errorf("it is %+v", s)
		}
		if text := h.net.Text() + h.net.Reserved(); text != "" {
			t.Errorf("the network still has %s", text)
		}
		do(d, davit.Start{Container: "web"})
	})
}
