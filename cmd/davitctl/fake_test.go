// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

const busConfig = `<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/></policy></busconfig>`

// startBus runs a private bus and makes it the system bus of this process.
func startBus(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("needs dbus-daemon")
	}
	testutil.RequireRoot(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(busConfig, "SOCKET", filepath.Join(dir, "bus"))), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", strings.TrimSpace(address))
}

// fake is an engine with handlers that only remember what they were asked.
type fake struct {
	eng       *engine.Engine
	authority authority
	sessions

	mu    sync.Mutex
	calls []string
	runs  []davit.Create
}

var fakeNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func fakeID(n int) string { return fmt.Sprintf("%012d", n) + strings.Repeat("ab", 26) }

// containers are what the engine knows: one that runs, and one that failed,
// with names that would move the cursor and that take two cells a character.
func (*fake) containers() []davit.ContainerInfo {
	web := davit.ContainerInfo{Container: davit.Container{
		ID: fakeID(1), Name: "web", ImageRef: "busybox:latest", ImageID: "sha256:" + "cd" + "00112233445566778899", Created: fakeNow.Add(-time.Hour),
	}}
	web.State = davit.State{Status: davit.StatusRunning, Pid: 4711, Unit: "davit-web.service", StartedAt: fakeNow.Add(-50 * time.Minute)}
	web.HostConfig.RestartPolicy.Name = "always"
	web.Restarts = 2
	db := davit.ContainerInfo{Container: davit.Container{ID: fakeID(2), Name: "db", ImageRef: "例え/デ\x1b[2Jータ", Created: fakeNow.Add(-49 * time.Hour)}}
	db.State = davit.State{Status: davit.StatusExited, ExitCode: 3, StartedAt: fakeNow.Add(-25 * time.Hour), FinishedAt: fakeNow.Add(-24 * time.Hour)}
	return []davit.ContainerInfo{web, db}
}

func (f *fake) find(name string) (davit.ContainerInfo, error) {
	for _, c := range f.containers() {
		if c.ID == name || c.Name == name {
			return c, nil
		}
	}
	return davit.ContainerInfo{}, davit.Errorf(davit.NoSuchContainer, "no such container: %s", name)
}

// note remembers a request.
func (f *fake) note(verb, name string, more any) (davit.Nothing, error) {
	c, err := f.find(name)
	if err != nil {
		return davit.Nothing{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf("%s %s %v", verb, davit.ShortID(c.ID), more))
	return davit.Nothing{}, nil
}

// done returns what was asked for since the last time.
func (f *fake) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *fake) created() davit.Create {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runs[len(f.runs)-1]
}

// handle registers a handler without a job.
func handle[Q engine.Typed[R], R any](eng *engine.Engine, t engine.Type[Q], f func(Q) (R, error)) error {
	return engine.Register(eng, t, func(_ context.Context, _ *engine.Job, q Q) (R, error) { return f(q) })
}

func query[Q engine.Typed[R], R any](eng *engine.Engine, f func(Q) (R, error)) error {
	return handle(eng, engine.Type[Q]{Class: engine.Query}, f)
}

func (f *fake) pull(ctx context.Context, j *engine.Job, q davit.Pull) (davit.Image, error) {
	j.Report(engine.Progress{Phase: "Downloading", Item: "abc", Current: 1, Total: 2})
	switch {
	case q.Reference == "missing":
		return davit.Image{}, davit.Errorf(davit.NoSuchImage, "no such image: missing\x1b[2J")
	case strings.HasPrefix(q.Reference, "slow"):
		<-ctx.Done()
		return davit.Image{}, ctx.Err()
	}
	return davit.Image{ID: "sha256:abab"}, nil
}

func (f *fake) run(ctx context.Context, _ *engine.Job, q davit.Run) (davit.Created, error) {
	if _, err := engine.Do(ctx, f.eng, davit.Pull{Reference: q.Create.Config.Image}); err != nil {
		return davit.Created{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs = append(f.runs, q.Create)
	if slices.Contains(q.Create.Config.Cmd, "exit") {
		return davit.Created{ID: fakeID(2)}, nil
	}
	return davit.Created{ID: fakeID(1), Warnings: []string{"mind the gap"}}, nil
}

// wait ends at once, with the status that "exit" of the last run was given.
func (f *fake) wait(q davit.Wait) (davit.Exit, error) {
	code := 0
	if cmd := f.created().Config.Cmd; len(cmd) == 2 {
		_, err := fmt.Sscan(cmd[1], &code)
		return davit.Exit{Code: code}, err
	}
	return davit.Exit{}, nil
}

func (f *fake) register() error {
	eng := f.eng
	return errors.Join(
		f.sessions.register(eng),
		query(eng, func(davit.Info) (davit.EngineInfo, error) {
			return davit.EngineInfo{Containers: 2, Running: 1, Images: 1}, nil
		}),
		query(eng, func(davit.Version) (davit.VersionInfo, error) {
			return davit.VersionInfo{Version: "1", KernelVersion: "6.1", Arch: "amd64"}, nil
		}),
		query(eng, func(q davit.Containers) ([]davit.ContainerInfo, error) {
			list := f.containers()
			if names := q.Filters["name"]; len(names) > 0 {
				list = slices.DeleteFunc(list, func(c davit.ContainerInfo) bool { return !slices.Contains(names, c.Name) })
			}
			return list, nil
		}),
		query(eng, func(q davit.ContainerInspect) (davit.ContainerInfo, error) { return f.find(q.Container) }),
		query(eng, func(davit.Top) (davit.ProcessTable, error) {
			return davit.ProcessTable{Titles: []string{"PID", "CGROUP", "COMMAND"}, Processes: [][]string{
				{"4711", "0::/davit.slice/davit-web.service", "/bin/httpd -f -h /srv"}, {"4712", "0::/davit.slice/davit-web.service", "sh -c \x1b[31mred"},
			}}, nil
		}),
		query(eng, func(davit.Images) ([]davit.ImageSummary, error) {
			return []davit.ImageSummary{
				{ID: "sha256:abab00112233445566", Tags: []string{"busybox:latest", "registry.example/busybox:1"}, Created: fakeNow.Add(-999 * time.Hour), Size: 4_321_098, Containers: 2},
				{ID: "sha256:cdcd00112233445566", Size: 12},
			}, nil
		}),
		engine.Register(eng, engine.Type[davit.Pull]{Subject: func(q davit.Pull) (string, string) { return q.Reference, q.Reference }}, f.pull),
		engine.Register(eng, engine.Type[davit.Run]{}, f.run),
		query(eng, func(q davit.JobCancel) (davit.Nothing, error) { return davit.Nothing{}, eng.Cancel(q.ID) }),
		engine.Register(eng, engine.Type[layers]{}, reportLayers),
		query(eng, f.wait),
		handle(eng, engine.Type[davit.Start]{}, func(q davit.Start) (davit.Nothing, error) { return f.note("start", q.Container, "") }),
		handle(eng, engine.Type[davit.Stop]{}, func(q davit.Stop) (davit.Nothing, error) { return f.note("stop", q.Container, *q.Timeout) }),
		handle(eng, engine.Type[davit.Restart]{}, func(q davit.Restart) (davit.Nothing, error) { return f.note("restart", q.Container, "") }),
		handle(eng, engine.Type[davit.Kill]{}, func(q davit.Kill) (davit.Nothing, error) { return f.note("kill", q.Container, q.Signal) }),
		handle(eng, engine.Type[davit.ContainerUpdate]{}, func(q davit.ContainerUpdate) ([]string, error) {
			r, policy := q.Resources, cmp.Or(q.RestartPolicy, &davit.RestartPolicy{Name: "same policy"})
			asked := fmt.Sprintf("%d %d %d %d %s", r.Memory, r.NanoCPUs, r.CPUShares, *cmp.Or(r.PidsLimit, new(int64)), policy.Name)
			if _, err := f.note("update", q.Container, asked); err != nil {
				return nil, err
			}
			return []string{"the kernel has no word for it"}, nil
		}),
		handle(eng, engine.Type[davit.Delete]{}, func(q davit.Delete) (davit.Nothing, error) { return f.note("delete", q.Container, q.Force) }),
	)
}

// serve puts the fake on the bus.
func serve(t *testing.T) *fake {
	t.Helper()
	f := &fake{eng: engine.New(slog.New(slog.DiscardHandler))}
	if err := f.register(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	f.eng.SetAuthorizer(&f.authority)
	server := dbus.New(f.eng, dbus.Options{Properties: dbus.Properties{Sockets: [][2]string{{"api", "unix:///s"}, {"api-ro", "unix:///ro"}}}})
	go func() { done <- server.Serve(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("the bus is not served after 10 s")
	}
	return f
}
