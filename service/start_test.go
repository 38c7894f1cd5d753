// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

func TestStart(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web", publish("8080"))
		do(d, davit.Start{Container: "web"})
		got := d.inspect(id)
		if got.State.Status != davit.StatusRunning || got.State.Pid == 0 || got.State.StartedAt.IsZero() {
			t.Errorf("its state is %+v", got.State)
		}
		if len(got.Endpoints) != 1 || got.Endpoints[0].Ports[0].HostPort != 8080 {
			t.Errorf("its endpoints are %+v", got.Endpoints)
		}
		if text := h.net.Text(); !strings.Contains(text, "attached "+id[:12]) {
			t.Errorf("the network has %q", text)
		}
		m := h.rt.Monitor(id)
		if m.Held() != 1 {
			t.Errorf("the monitor holds %d sockets of published ports, want 1", m.Held())
		}
		files := map[string]string{}
		for _, f := range m.Launch.Files {
			files[f.Target] = string(f.Content)
		}
		if files["/etc/hostname"] != id[:12]+"\n" || !strings.Contains(files["/etc/hosts"], got.Endpoints[0].Address.Addr().String()+"\t"+id[:12]) {
			t.Errorf("its files are %q", files)
		}
		if !m.Launch.OwnNetns || m.Launch.LogPath == "" || m.Launch.Rootfs.Target == "" {
			t.Errorf("it was launched with %+v", m.Launch)
		}
		err := refused(d, davit.Start{Container: "web"}, davit.AlreadySo)
		if davit.KindOf(err) != davit.NotModified {
			t.Errorf("the kind of %v is %v", err, davit.KindOf(err))
		}
		refused(d, davit.Start{Container: "nobody"}, davit.NoSuchContainer)
		wantActions(t, d, id, "create", "start")
		want := "network connect bridge"
		if events := d.past(map[string][]string{"type": {"network"}}); len(events) != 1 || events[0] != want {
			t.Errorf("events of the network: %q, want %q", events, want)
		}
	})
}

// "--net=none" allocating an address was a fault of Docker 1.2.
func TestFault14_NoNetworkNoAddress(t *testing.T) {
	for _, mode := range []string{"none", "host"} {
		t.Run(mode, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.run("web", network(mode), publish("8080"))
				do(d, davit.Delete{Container: id, Force: true})
				if calls := h.net.Calls("Allocate", "Attach", "Detach", "Release"); len(calls) > 0 {
					t.Errorf("the network was asked: %v", calls)
				}
			})
		})
	}
}

func TestStartReleasesWhenItFails(t *testing.T) {
	for point, fail := range map[string]func(*host, error){
		"allocate":     func(h *host, err error) { h.net.Fail("Allocate", err) },
		"record":       func(h *host, err error) { h.state.Fail("PutContainer", err) },
		"root":         func(h *host, err error) { h.rootfs.Fail("Rootfs", err) },
		"resolv.conf":  func(h *host, err error) { h.resolve.Fail("ResolvConf", err) },
		"create":       func(h *host, err error) { h.rt.Fail("Create", err) },
		"namespace":    func(h *host, err error) { h.rt.Fail("Netns", err) },
		"attach":       func(h *host, err error) { h.net.Fail("Attach", err) },
		"start":        func(h *host, err error) { h.rt.Fail("Start", err) },
		"and the undo": func(h *host, err error) { h.rt.Fail("Start", err); h.net.Fail("Detach", err) },
	} {
		t.Run(point, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.create("web", publish("8080"))
				before := h.text()
				fail(h, fake.ErrInjected)
				if _, err := try(d, davit.Start{Container: "web"}); !errors.Is(err, fake.ErrInjected) {
					t.Errorf("start gave %v, want the injected failure", err)
				}
				fail(h, nil)
				if point != "and the undo" {
					h.unchanged(before, "after a failure at "+point)
				} else if reserved := h.net.Reserved(); reserved != "" {
					t.Errorf("the address is still allocated: %s", reserved)
				}
				got := d.inspect(id)
				if w := d.wait(id, "not-running"); !w.ended() || w.err != nil || w.exit.Error != got.State.Error {
					t.Errorf("a wait for what did not start gave %+v, %v; inspect says %q", w.exit, w.err, got.State.Error)
				}
				if got.State.Status != davit.StatusCreated || got.State.Pid != 0 || got.State.Error == "" || len(got.Endpoints) != 0 {
					t.Errorf("the container is %+v with %+v", got.State, got.Endpoints)
				}
				do(d, davit.Start{Container: "web"}) // the port is free, too
				if got := d.inspect(id); got.State.Error != "" || got.State.ExitCode != 0 {
					t.Errorf("after a good start: %+v", got.State)
				}
			})
		})
	}
}

func TestStartOfMissingCommand(t *testing.T) {
	for path, code := range map[string]int{"/no/such/program": 127, "/etc": 126} {
		t.Run(path, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.create("web", func(q *davit.Create) { q.Config.Cmd = []string{path} })
				before := h.text()
				refused(d, davit.Start{Container: id}, davit.StartFailed)
				h.unchanged(before, "after a failed start")
				if got := d.inspect(id).State; got.ExitCode != code || got.Status != davit.StatusCreated {
					t.Errorf("its state is %+v, want exit code %d", got, code)
				}
			})
		})
	}
}

func TestStartFailsWithoutTrace(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		before := h.text()
		d.create("web", autoRemove, volume("named", "/v"), func(q *davit.Create) {
			q.Config.Cmd = []string{"/no/such/program"}
			q.Config.Volumes = map[string]struct{}{"/anonymous": {}}
		})
		refused(d, davit.Start{Container: "web"}, davit.StartFailed)
		settle()
		h.unchanged(before+"volume named\n", "after the failed start of a container with --rm")
	})
}

func TestCancelledStartReleases(t *testing.T) {
	for _, point := range []string{"Create", "Netns", "Allocate", "Attach"} {
		t.Run(point, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				d.create("web", publish("8080"))
				before := h.text()
				come := h.rt.Hang(point)
				if point == "Allocate" || point == "Attach" {
					come = h.net.Hang(point)
				}
				j, err := d.eng.Submit(outside(t), davit.Start{Container: "web"})
				if err != nil {
					t.Fatal(err)
				}
				<-come
				if err := j.Cancel(); err != nil {
					t.Fatal(err)
				}
				if _, err := j.Wait(t.Context()); davit.CodeOf(err) != davit.JobCanceled {
					t.Errorf("the cancelled start gave %v", err)
				}
				h.unchanged(before, "after a cancelled start")
				do(d, davit.Start{Container: "web"})
			})
		})
	}
}

func TestExitBeforeStartReturns(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		before := h.text()
		id := d.create("quick", script("exit 3"), publish("8080"))
		do(d, davit.Start{Container: id})
		x := do(d, davit.Wait{Container: id})
		if x.Code != 3 {
			t.Errorf("wait gave %+v, want 3", x)
		}
		settle()
		got := d.inspect(id)
		if got.State.Status != davit.StatusExited || got.State.ExitCode != 3 || got.State.Pid != 0 || got.State.FinishedAt.IsZero() || len(got.Endpoints) != 0 {
			t.Errorf("it is %+v with %+v", got.State, got.Endpoints)
		}
		if text := h.net.Text() + h.net.Reserved(); text != "" {
			t.Errorf("the network still has %s", text)
		}
		if known, _ := h.rt.Known(); len(known) != 0 {
			t.Errorf("the runtime still keeps %v", known)
		}
		wantActions(t, d, id, "create", "start", "die")
		do(d, davit.Delete{Container: id})
		h.unchanged(before, "after everything")
	})
}

func TestExitIsReleasedBeforeItIsTold(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		one := d.run("one", publish("8080"))
		two := d.create("two", publish("8080"))
		refused(d, davit.Start{Container: two}, davit.PortInUse)
		done := make(chan error, 1)
		go func() {
			_, err := try(d, davit.Wait{Container: one})
			if err == nil {
				_, err = try(d, davit.Start{Container: two})
			}
			done <- err
		}()
		settle()
		h.rt.Monitor(one).Exit(0)
		if err := <-done; err != nil {
			t.Errorf("whoever waits for the end cannot have the port: %v", err)
		}
	})
}

func TestExitAgainAfterRestartByPolicy(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", policy("always"))
		before := h.net.Text()
		h.rt.Monitor(id).Exit(1)
		settle()
		got := d.inspect(id)
		if got.State.Status != davit.StatusRunning || got.Restarts != 1 || got.State.Pid == 0 {
			t.Errorf("restarted by its policy it is %+v, %d restarts", got.State, got.Restarts)
		}
		if now := h.net.Text(); now != before {
			t.Errorf("the network changed from %s to %s", before, now)
		}
		wantActions(t, d, id, "create", "start", "die", "start")
		do(d, davit.Stop{Container: id})
		wantActions(t, d, id, "create", "start", "die", "start", "kill", "die", "stop")
	})
}

// Ports handed out twice, and a full pool looping for ever, were faults of
// Docker 1.2.
func TestFault13_PortsAreNotHandedOutTwice(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		var jobs []*engine.Job
		for i := range 8 {
			id := d.create(fmt.Sprint("web", i), publish("8000-8003"))
			j, err := d.eng.Submit(outside(t), davit.Start{Container: id})
			if err != nil {
				t.Fatal(err)
			}
			jobs = append(jobs, j)
		}
		started := 0
		for _, j := range jobs {
			if _, err := j.Wait(t.Context()); err == nil {
				started++
			} else if davit.CodeOf(err) != davit.PortInUse {
				t.Errorf("a start gave %v", err)
			}
		}
		seen := map[uint16]bool{}
		for _, c := range do(d, davit.Containers{}) {
			port := c.Endpoints[0].Ports[0].HostPort
			if seen[port] {
				t.Errorf("the port %d was handed out twice", port)
			}
			seen[port] = true
		}
		if started != 4 {
			t.Errorf("%d containers started on 4 ports", started)
		}
	})
}

func TestJobsOnOneContainerQueue(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf)
		stop, err := d.eng.Submit(outside(t), davit.Stop{Container: "web"})
		if err != nil {
			t.Fatal(err)
		}
		start, err := d.eng.Submit(outside(t), davit.Start{Container: id[:12]})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if s := start.Snapshot().State; s != engine.Waiting {
			t.Errorf("a start is %s while the container is being stopped", s)
		}
		begin := time.Now()
		if _, err := stop.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := start.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if s := d.inspect(id).State.Status; s != davit.StatusRunning {
			t.Errorf("in the end it is %s", s)
		}
	})
}

func TestRunJob(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		before := h.text()
		made := do(d, davit.Run{Create: request("web")})
		if s := d.inspect(made.ID).State.Status; s != davit.StatusRunning {
			t.Errorf("it is %s", s)
		}
		do(d, davit.Delete{Container: made.ID, Force: true})
		for _, rm := range []bool{false, true} {
			q := davit.Run{Create: request("web", script(""))}
			q.Create.Config.Cmd, q.Create.HostConfig.AutoRemove = []string{"/no/such/program"}, rm
			err := refused(d, q, davit.StartFailed)
			if err != nil && strings.Contains(err.Error(), "No such container") {
				t.Errorf("the error tells of the cleaning up: %v", err)
			}
			settle()
			h.unchanged(before, "after a run that failed")
		}
		missing := davit.Run{Create: request("web")}
		missing.Create.Config.Image = "hub/app"
		refused(d, missing, davit.NoSuchImage)
		h.hub.Push("hub/app:latest", fake.Build("", davit.ContainerConfig{Cmd: []string{"/app"}}, map[string]string{"app": "x"}))
		missing.Pull = true
		do(d, missing)
	})
}
