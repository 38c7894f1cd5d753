// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// "wait on an unknown container" answering 500 was a fault of Docker 1.2.
func TestWaitRefuses(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		ready := func() { t.Error("a refused wait is ready") }
		err := refused(d, davit.Wait{Container: "nobody", Ready: ready}, davit.NoSuchContainer)
		if davit.KindOf(err) != davit.NotFound {
			t.Errorf("the kind of %v is %v", err, davit.KindOf(err))
		}
		d.create("web")
		refused(d, davit.Wait{Container: "web", Condition: "sunshine", Ready: ready}, davit.InvalidConfiguration)
	})
}

// waiter is a wait that has begun.
type waiter struct {
	exit davit.Exit
	err  error
	done chan struct{}
}

func (d *daemon) wait(ref, condition string) *waiter {
	w := &waiter{done: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		defer close(w.done)
		w.exit, w.err = try(d, davit.Wait{Container: ref, Condition: condition, Ready: func() { close(ready) }})
	}()
	<-ready
	return w
}

// ended tells whether the wait has ended, once nothing happens any more.
func (w *waiter) ended() bool {
	settle()
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (w *waiter) want(t *testing.T, code int) {
	t.Helper()
	if !w.ended() {
		t.Fatal("the wait goes on")
	}
	if w.err != nil || w.exit.Code != code {
		t.Errorf("the wait gave %+v, %v, want %d", w.exit, w.err, code)
	}
}

func TestWaitConditions(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web")
		d.wait("web", "").want(t, 0) // it does not run
		next, removed := d.wait("web", "next-exit"), d.wait("web", "removed")
		if next.ended() || removed.ended() {
			t.Fatal("what has not happened was waited for")
		}
		do(d, davit.Start{Container: "web"})
		not := d.wait("web", "not-running")
		if next.ended() || not.ended() {
			t.Fatal("a container that runs has ended")
		}
		h.rt.Monitor(id).Exit(7)
		next.want(t, 7)
		not.want(t, 7)
		d.wait("web", "not-running").want(t, 7)
		again := d.wait("web", "next-exit")
		if again.ended() || removed.ended() {
			t.Fatal("an exit in the past is the next one")
		}
		do(d, davit.Delete{Container: "web"})
		again.want(t, 7)
		removed.want(t, 7)
	})
}

// Whoever waited for the exit is told it, even if the container runs again
// before they look.
func TestWaitSeesExitBeforeRestart(t *testing.T) {
	for _, condition := range []string{"next-exit", "not-running"} {
		t.Run(condition, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.create("web")
				for range 20 { // how the goroutines are scheduled differs
					do(d, davit.Start{Container: id})
					w := d.wait(id, condition)
					h.rt.Monitor(id).Exit(7)
					for {
						if _, err := try(d, davit.Start{Container: id}); err == nil {
							break
						}
					}
					if !w.ended() {
						t.Fatal("the wait missed an exit")
					}
					w.want(t, 7)
					do(d, davit.Kill{Container: id})
				}
			})
		})
	}
}

func TestWaitEndsWithItsCaller(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.run("web")
		ctx, cancel := context.WithCancel(outside(t))
		j, err := d.eng.Submit(ctx, davit.Wait{Container: "web"})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := j.Wait(t.Context()); davit.CodeOf(err) != davit.JobCanceled {
			t.Errorf("the wait gave %v", err)
		}
	})
}

// attachment is an attach job with the caller's ends.
type attachment struct {
	out, errs fake.Buffer
	opened    chan struct{}
	done      chan error
}

func (d *daemon) attach(q davit.Attach, stdin io.Reader) *attachment {
	a := &attachment{opened: make(chan struct{}), done: make(chan error, 1)}
	q.Stream, q.Stdout, q.Stderr = true, true, true
	q.Open = func(bool) (davit.Streams, error) {
		close(a.opened)
		return davit.Streams{Stdin: stdin, Stdout: &a.out, Stderr: &a.errs}, nil
	}
	go func() {
		_, err := try(d, q)
		a.done <- err
	}()
	return a
}

func TestAttachBeforeStartLosesNothing(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		for range 10 {
			id := d.create("", script("echo out; echo err >&2"))
			a := d.attach(davit.Attach{Container: id}, nil)
			<-a.opened // docker run starts when the attachment was answered
			do(d, davit.Start{Container: id})
			if err := <-a.done; err != nil {
				t.Error(err)
			}
			if a.out.String() != "out\n" || a.errs.String() != "err\n" {
				t.Errorf("attached before the start: %q and %q", a.out.String(), a.errs.String())
			}
		}
	})
}

// Somebody may attach at any moment of a start, and then is attached.
func TestAttachDuringStart(t *testing.T) {
	for _, point := range []string{"Create", "Netns", "Start"} {
		t.Run(point, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				d := h.boot()
				id := d.create("web")
				var a *attachment
				h.rt.Then(point, func() {
					a = d.attach(davit.Attach{Container: id}, nil)
					<-a.opened
				})
				do(d, davit.Start{Container: id})
				settle()
				h.rt.Monitor(id).Write("hello\n", "")
				h.rt.Monitor(id).Exit(0)
				settle()
				select {
				case err := <-a.done:
					if err != nil || a.out.String() != "hello\n" {
						t.Errorf("attached during the start: %q, %v", a.out.String(), err)
					}
				default:
					t.Error("who attached during the start is still waiting for it after the end")
				}
			})
		})
	}
}

func TestAttach(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		open := func(bool) (davit.Streams, error) {
			t.Error("a refused attachment was opened")
			return davit.Streams{}, nil
		}
		refused(d, davit.Attach{Container: "nobody", Stream: true, Open: open}, davit.NoSuchContainer)
		id := d.create("cat", script("cat"), func(q *davit.Create) { q.Config.OpenStdin, q.Config.Tty = true, true })
		refused(d, davit.Attach{Container: "cat", Stream: true, DetachKeys: "ctrl-", Open: open}, davit.InvalidConfiguration)
		do(d, davit.Start{Container: "cat"})
		in, typed := io.Pipe()
		a := d.attach(davit.Attach{Container: "cat", Stdin: true}, in)
		for _, text := range []string{"x", "\x10", "\x11"} { // ctrl-p ctrl-q
			if _, err := io.WriteString(typed, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-a.done; err != nil || !strings.HasPrefix(a.out.String(), "x") {
			t.Errorf("detached: %q, %v", a.out.String(), err)
		}
		_ = typed.Close()
		do(d, davit.Resize{Container: "cat", Rows: 40, Columns: 120})
		if size := h.rt.Monitor(id).Size(); size != [2]uint{40, 120} {
			t.Errorf("the terminal has %v", size)
		}
		do(d, davit.Pause{Container: id})
		settle()
		refused(d, davit.Attach{Container: "cat", Stream: true, Open: open}, davit.ContainerPaused)
		failed := errors.New("the client has gone")
		do(d, davit.Kill{Container: "cat"})
		_, err := try(d, davit.Attach{Container: "cat", Stream: true, Open: func(bool) (davit.Streams, error) { return davit.Streams{}, failed }})
		if !errors.Is(err, failed) {
			t.Errorf("an attachment that could not be opened gave %v", err)
		}
	})
}

// Without stdin in the request, or in the container, nothing is read.
func TestAttachWithoutStdin(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf)
		a := d.attach(davit.Attach{Container: id, Stdin: true}, failingReader{t})
		<-a.opened
		settle()
		do(d, davit.Kill{Container: id})
		if err := <-a.done; err != nil {
			t.Error(err)
		}
	})
}

type failingReader struct{ t *testing.T }

func (r failingReader) Read([]byte) (int, error) {
	r.t.Error("stdin was read")
	return 0, io.EOF
}

func TestAttachEndsWithTheContainerRemoved(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web")
		a := d.attach(davit.Attach{Container: id}, nil)
		<-a.opened
		do(d, davit.Delete{Container: id})
		if err := <-a.done; err != nil {
			t.Error(err)
		}
	})
}

func TestLogs(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web")
		quiet := d.create("quiet", func(q *davit.Create) { q.HostConfig.LogConfig.Type = "none" })
		var out, errs fake.Buffer
		open := func(bool) (davit.Streams, error) { return davit.Streams{Stdout: &out, Stderr: &errs}, nil }
		refused(d, davit.Logs{Container: "nobody", Stdout: true, Open: open}, davit.NoSuchContainer)
		refused(d, davit.Logs{Container: id, Open: open}, davit.InvalidConfiguration)
		refused(d, davit.Logs{Container: quiet, Stdout: true, Open: open}, davit.NotSupported)
		do(d, davit.Logs{Container: id, Stdout: true, Tail: -1, Follow: true, Open: open}) // never started: nothing
		log := `{"log":"one\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}
{"log":"two\n","stream":"stderr","time":"2026-01-02T03:04:06Z"}
{"log":"three\n","stream":"stdout","time":"2026-01-02T03:04:07Z"}
`
		if err := os.WriteFile(d.inspect(id).LogPath, []byte(log), 0o600); err != nil {
			t.Fatal(err)
		}
		do(d, davit.Logs{Container: id, Stdout: true, Stderr: true, Tail: -1, Open: open})
		if out.String() != "one\nthree\n" || errs.String() != "two\n" {
			t.Errorf("the log reads %q and %q", out.String(), errs.String())
		}
		out = fake.Buffer{}
		do(d, davit.Logs{Container: id, Stdout: true, Tail: 1, Timestamps: true, Open: open})
		if !strings.HasPrefix(out.String(), "2026-01-02T03:04:07") || !strings.HasSuffix(out.String(), " three\n") {
			t.Errorf("its last line is %q", out.String())
		}
	})
}

func TestExec(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web", deaf, func(q *davit.Create) { q.Config.User, q.Config.WorkingDir = "daemon", "/srv" })
		shell := func(line string) davit.ExecCreate {
			return davit.ExecCreate{Exec: davit.Exec{
				ContainerID: "web", Cmd: []string{"/bin/sh", "-c", line}, Env: []string{"X=1.0"}, AttachStdout: true, AttachStderr: true,
			}}
		}
		refused(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "nobody", Cmd: []string{"x"}}}, davit.NoSuchContainer)
		refused(d, shell("exit 0"), davit.ContainerNotRunning)
		do(d, davit.Start{Container: id})
		refused(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "web"}}, davit.InvalidConfiguration)
		refused(d, davit.ExecInspect{ID: "nobody"}, davit.NoSuchExec)
		refused(d, davit.ExecStart{ID: "nobody"}, davit.NoSuchExec)

		session := do(d, shell("echo out; echo err >&2"))
		if got := do(d, davit.ExecInspect{ID: session}); got.User != "daemon" || got.WorkingDir != "/srv" || got.Running || got.Started || got.ContainerID != id {
			t.Errorf("the session is %+v", got)
		}
		refused(d, davit.ExecResize{ID: session}, davit.ContainerNotRunning)
		if got := d.inspect(id).ExecIDs; !slices.Equal(got, []string{session}) {
			t.Errorf("the sessions that can be started are %v", got)
		}
		var out, errs fake.Buffer
		open := func(bool) (davit.Streams, error) { return davit.Streams{Stdout: &out, Stderr: &errs}, nil }
		do(d, davit.ExecStart{ID: session, Open: open})
		if out.String() != "out\n" || errs.String() != "err\n" {
			t.Errorf("it printed %q and %q", out.String(), errs.String())
		}
		refused(d, davit.ExecStart{ID: session, Open: open}, davit.ContainerNotRunning)
		if got := do(d, davit.ExecInspect{ID: session}); got.Pid == 0 || got.Running || len(d.inspect(id).ExecIDs) != 0 {
			t.Errorf("the session that has ended is %+v", got)
		}

		session = do(d, shell("exit 3"))
		do(d, davit.ExecStart{ID: session, Open: open})
		if x := do(d, davit.ExecInspect{ID: session}).Exit; x == nil || x.Code != 3 { // right when the streams end
			t.Errorf("it ended with %+v, want 3", x)
		}

		session = do(d, shell("while :; do sleep 1; done"))
		do(d, davit.ExecStart{ID: session, Detach: true})
		refused(d, davit.ExecStart{ID: session, Detach: true}, davit.ContainerRunning)
		if got := d.inspect(id).ExecIDs; len(got) != 1 || got[0] != session {
			t.Errorf("the sessions that run are %v", got)
		}
		do(d, davit.ExecResize{ID: session, Rows: 1, Columns: 2})
		do(d, davit.Kill{Container: id})
		settle()
		if got := do(d, davit.ExecInspect{ID: session}); got.Running || got.Exit == nil || got.Exit.Code != 137 {
			t.Errorf("after the end of its container the session is %+v", got)
		}
		do(d, davit.Delete{Container: id})
		refused(d, davit.ExecInspect{ID: session}, davit.NoSuchExec)
	})
}

func TestExecExitCodes(t *testing.T) {
	for path, code := range map[string]int{"/no/such/program": 127, "/etc": 126} {
		onHost(t, func(t *testing.T, h *host) {
			d := h.boot()
			d.run("web", deaf)
			for _, detach := range []bool{false, true} {
				id := do(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "web", Cmd: []string{path}, AttachStderr: true}})
				var out, errs fake.Buffer
				q := davit.ExecStart{ID: id, Detach: detach, Open: func(bool) (davit.Streams, error) { return davit.Streams{Stdout: &out, Stderr: &errs}, nil }}
				if detach {
					if err := refused(d, q, davit.StartFailed); err != nil && !strings.HasPrefix(err.Error(), "OCI runtime exec failed: ") {
						t.Errorf("the client is told %v", err)
					}
				} else {
					do(d, q) // its client is told through the stream
					if !strings.HasPrefix(out.String(), "OCI runtime exec failed: ") || !strings.Contains(out.String(), path) || errs.String() != "" {
						t.Errorf("the client reads %q and %q", out.String(), errs.String())
					}
				}
				if got := do(d, davit.ExecInspect{ID: id}); got.Exit == nil || got.Exit.Code != code || got.Running {
					t.Errorf("%s: the session is %+v, want %d", path, got, code)
				}
			}
		})
	}
}

// Sessions that have ended are forgotten, also those of a container that
// goes on.
func TestExecSessionsAreForgotten(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.run("web", deaf)
		old := do(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "web", Cmd: []string{"/bin/sh", "-c", "exit 0"}}})
		do(d, davit.ExecStart{ID: old, Detach: true})
		settle()
		never := do(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "web", Cmd: []string{"/bin/true"}}})
		<-time.After(time.Hour + time.Second)
		young := do(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "web", Cmd: []string{"/bin/sh", "-c", "exit 0"}}})
		do(d, davit.ExecStart{ID: young, Detach: true})
		settle()
		do(d, davit.ExecInspect{ID: young})
		refused(d, davit.ExecInspect{ID: old}, davit.NoSuchExec)
		refused(d, davit.ExecInspect{ID: never}, davit.NoSuchExec)
	})
}

func TestFollowersEndAtShutdown(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", deaf)
		w := d.wait(id, "next-exit")
		a := d.attach(davit.Attach{Container: id}, nil)
		<-a.opened
		events, err := d.eng.Submit(outside(t), davit.Events{Emit: func(davit.Event) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := d.eng.Shutdown(t.Context(), 5*time.Second); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the shutdown took %v", took)
		}
		if !w.ended() {
			t.Error("the wait goes on")
		}
		if err := <-a.done; davit.CodeOf(err) != davit.JobCanceled {
			t.Errorf("the attachment gave %v", err)
		}
		if s := events.Snapshot().State; s != engine.Finished {
			t.Errorf("events is %s", s)
		}
		if h.rt.Monitor(id).Pid() == 0 {
			t.Error("the container was ended")
		}
	})
}

// A client that takes its answer slowly holds a start up for a while, not for
// ever.
func TestSlowAttachDoesNotHoldUpStart(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.create("web")
		stuck, opened := make(chan struct{}), make(chan struct{})
		j, err := d.eng.Submit(outside(t), davit.Attach{Container: id, Stream: true, Open: func(bool) (davit.Streams, error) {
			close(opened)
			<-stuck
			return davit.Streams{}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		<-opened
		begin := time.Now()
		do(d, davit.Start{Container: id})
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("the start took %v", took)
		}
		close(stuck)
		if err := j.Cancel(); err != nil {
			t.Error(err)
		}
	})
}
