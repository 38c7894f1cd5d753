// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

const (
	sigKill = 9
	sigTerm = 15
)

// RuntimeHost is a host with a runtime driver.
type RuntimeHost struct {
	// Open returns a runtime. Called again, it is that of a new daemon on the
	// same host, whose predecessor was killed.
	Open func(t *testing.T) service.Runtime
	// Launch completes the launch of a container that has a shell at /bin/sh.
	// The test's end checks that nothing of it is left.
	Launch func(t *testing.T, c *davit.Container) davit.Launch
}

// TestRuntime checks a [service.Runtime] and its processes.
func TestRuntime(t *testing.T, h RuntimeHost) {
	for name, test := range map[string]func(*testing.T, RuntimeHost){
		"life": testLife, "signals": testSignals, "output": testOutput, "input": testInput, "detach keys": testDetachKeys,
		"attach ends with its context": testAttachContext, "attach with the log": testAttachLog, "terminal": testTerminal, "cannot create": testCannotCreate,
		"created for nothing": testAbandon, "exec": testExec, "exec fails": testExecFails,
		"adopt": testAdopt, "adopt what has ended": testAdoptEnded, "adopt nothing": testAdoptNothing,
		"restart on failure": testRestartOnFailure, "restart always": testRestartAlways,
		"freeze": testFreeze, "bare root": testBareRoot, "meter": testMeter, "exec signal": testExecSignal, "health": testHealth, "update": testUpdate, "out of memory": testOOM,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

// running is a container of the suite.
type running struct {
	davit.Process
	t  *testing.T
	id string
}

func shell(name, script string) *davit.Container {
	return &davit.Container{
		ID: fake.ID(name + time.Now().String()), Name: name, Path: "/bin/sh", Args: []string{"-c", script},
		HostConfig: davit.HostConfig{ShmSize: 64 << 20, NetworkMode: "none"},
	}
}

// create makes a container that the test's end ends.
func (h RuntimeHost) create(t *testing.T, rt service.Runtime, c *davit.Container) running {
	t.Helper()
	p, err := rt.Create(t.Context(), h.Launch(t, c))
	must(t, err)
	r := running{p, t, c.ID}
	first := r.next()
	if first.Status != davit.StatusCreated {
		t.Fatalf("the first update is %+v, want created", first)
	}
	return r
}

func (h RuntimeHost) run(t *testing.T, rt service.Runtime, c *davit.Container) running {
	t.Helper()
	r := h.create(t, rt, c)
	must(t, r.Start(t.Context(), nil))
	if u := r.next(); u.Status != davit.StatusRunning || u.Pid <= 0 || u.StartedAt.IsZero() {
		t.Fatalf("the update after the start is %+v", u)
	}
	return r
}

// next waits for an update.
func (r running) next() davit.Update {
	r.t.Helper()
	select {
	case u, ok := <-r.Updates():
		if !ok {
			r.t.Fatal("the updates ended")
		}
		return u
	case <-time.After(patience):
		r.t.Fatalf("no update came within %v", patience)
	}
	panic("unreachable")
}

// end waits for the end and returns the last update.
func (r running) end() davit.Update {
	r.t.Helper()
	var last davit.Update
	deadline := time.After(patience)
	for {
		select {
		case u, ok := <-r.Updates():
			if !ok {
				return last
			}
			last = u
		case <-deadline:
			r.t.Fatalf("the container did not end within %v; the last update was %+v", patience, last)
		}
	}
}

// stop kills the container and has the runtime forget it.
func (r running) stop(rt service.Runtime) {
	r.t.Helper()
	if err := r.Signal(r.t.Context(), sigKill, true); err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, os.ErrProcessDone) {
		r.t.Error(err)
	}
	r.end()
	must(r.t, rt.Forget(r.id))
}

func (r running) wantExit(code int) {
	r.t.Helper()
	u := r.end()
	if u.Status != davit.StatusExited || u.Exit.Code != code || u.Exit.At.IsZero() || u.Exit.OOMKilled {
		r.t.Errorf("the last update is %+v, want an exit with code %d", u, code)
	}
}

func testLife(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	if rt.Name() == "" {
		t.Error("the launcher has no name")
	}
	r := h.create(t, rt, shell("life", "exit 3"))
	netns := result(r.Netns(t.Context()))(t)
	if _, err := netns.Stat(); err != nil {
		t.Errorf("the network namespace is closed: %v", err)
	}
	must(t, netns.Close())
	if err := rt.Forget(r.id); err == nil {
		t.Error("a container was forgotten while it has its monitor")
	}
	must(t, r.Start(t.Context(), nil))
	r.wantExit(3)
	if known := result(rt.Known())(t); !slices.Contains(known, r.id) {
		t.Errorf("known are %v: the exit of %s was forgotten by itself", known, r.id)
	}
	must(t, rt.Forget(r.id))
	must(t, rt.Forget(r.id))
	if known := result(rt.Known())(t); slices.Contains(known, r.id) {
		t.Errorf("known are %v, after %s was forgotten", known, r.id)
	}
}

func testSignals(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	deaf := h.run(t, rt, shell("deaf", fake.ShellDeaf))
	must(t, deaf.Signal(t.Context(), sigTerm, false)) // ignored: a first process has no default action
	must(t, deaf.Signal(t.Context(), sigKill, false))
	deaf.wantExit(137)
	err := deaf.Signal(t.Context(), sigTerm, false)
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("signalling after the end: %v, want os.ErrClosed in the chain", err)
	}
	must(t, rt.Forget(deaf.id))

	r, out := h.trap(t, rt, "trap")
	must(t, r.Signal(t.Context(), sigTerm, false))
	r.wantExit(7)
	if got := out.String(); got != "ready\n" {
		t.Errorf("it printed %q", got)
	}
	must(t, rt.Forget(r.id))
}

// trap runs a container that exits with 7 when TERM comes, and returns once
// it would.
func (h RuntimeHost) trap(t *testing.T, rt service.Runtime, name string) (running, *fake.Buffer) {
	t.Helper()
	r := h.create(t, rt, shell(name, fake.ShellTrap))
	out := new(fake.Buffer)
	attached := make(chan struct{})
	go func() {
		_ = r.Attach(t.Context(), davit.Streams{Stdout: out, Attached: func() { close(attached) }}, nil)
	}()
	<-attached
	must(t, r.Start(t.Context(), nil))
	testutil.Eventually(t, patience, "the trap is set", func() bool { return out.String() == "ready\n" })
	return r, out
}

func testOutput(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	for range 5 { // it would lose a race, if it ran one
		r := h.create(t, rt, shell("echo", fake.ShellEcho))
		var out, errs fake.Buffer
		attached, done := make(chan struct{}), make(chan error, 1)
		go func() {
			done <- r.Attach(t.Context(), davit.Streams{Stdout: &out, Stderr: &errs, Attached: func() { close(attached) }}, nil)
		}()
		<-attached
		must(t, r.Start(t.Context(), nil))
		must(t, <-done)
		if out.String() != "out\n" || errs.String() != "err\n" {
			t.Errorf("attached before the start: %q and %q", out.String(), errs.String())
		}
		r.wantExit(0)
		must(t, rt.Forget(r.id))
	}
}

func testInput(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("cat", fake.ShellCat)
	c.Config.OpenStdin, c.Config.StdinOnce = true, true
	r := h.run(t, rt, c)
	in, typed := io.Pipe()
	var out fake.Buffer
	done := make(chan error, 1)
	go func() { done <- r.Attach(t.Context(), davit.Streams{Stdin: in, Stdout: &out}, nil) }()
	result(io.WriteString(typed, "ping\n"))(t)
	testutil.Eventually(t, patience, "the input comes back", func() bool { return out.String() == "ping\n" })
	must(t, typed.Close())
	must(t, <-done)
	r.wantExit(0)
	must(t, rt.Forget(r.id))
}

func testDetachKeys(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("cat", fake.ShellCat)
	c.Config.OpenStdin = true
	r := h.run(t, rt, c)
	in, typed := io.Pipe()
	var out fake.Buffer
	done := make(chan error, 1)
	var told atomic.Int32
	st := davit.Streams{Stdin: in, Stdout: &out, Detached: func() { told.Add(1) }}
	go func() { done <- r.Attach(t.Context(), st, []byte{16, 17}) }()
	result(io.WriteString(typed, "abc\n"))(t)
	testutil.Eventually(t, patience, "the input comes back", func() bool { return out.String() == "abc\n" })
	result(typed.Write([]byte{16}))(t)
	result(typed.Write([]byte{17}))(t)
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("detaching failed: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the detach sequence did not end the attachment")
	}
	if n := told.Load(); n != 1 {
		t.Errorf("detaching was told of %d times", n)
	}
	_ = typed.Close()
	if r.Pid() <= 0 {
		t.Error("detaching ended the container")
	}
	r.stop(rt)
}

// testAttachLog has the log come first: Log is called once, when nothing can be
// missed and nothing was copied, and its error ends the attachment.
func testAttachLog(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	r := h.create(t, rt, shell("echo", fake.ShellEcho))
	var out fake.Buffer
	var told []string
	streams := davit.Streams{
		Stdout: &out, Attached: func() { told = append(told, "attached") },
		Log: func(string) error {
			told = append(told, "log")
			must(t, r.Start(t.Context(), nil))
			r.wantExit(0)
			if got := out.String(); got != "" && got != "out\n" {
				t.Errorf("before the log came %q", got)
			}
			return nil
		},
	}
	must(t, r.Attach(t.Context(), streams, nil))
	if strings.Join(told, " ") != "attached log" || out.String() != "out\n" {
		t.Errorf("told %q, printed %q", told, out.String())
	}
	must(t, rt.Forget(r.id))

	r, _ = h.trap(t, rt, "trap")
	want := errors.New("no log")
	if err := r.Attach(t.Context(), davit.Streams{Stdout: io.Discard, Log: func(string) error { return want }}, nil); !errors.Is(err, want) {
		t.Errorf("Attach returned %v, not the error of the log", err)
	}
	must(t, r.Signal(t.Context(), sigTerm, true))
	r.wantExit(7)
	must(t, rt.Forget(r.id))
}

func testAttachContext(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	r := h.run(t, rt, shell("deaf", fake.ShellDeaf))
	ctx, cancel := context.WithCancel(t.Context())
	attached, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- r.Attach(ctx, davit.Streams{Stdout: io.Discard, Attached: func() { close(attached) }}, nil)
	}()
	<-attached
	cancel()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the attachment ended with %v, not with its context", err)
		}
	case <-time.After(patience):
		t.Fatal("the attachment did not end with its context")
	}
	r.stop(rt)
}

func testTerminal(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("tty", fake.ShellEcho)
	c.Config.Tty, c.Config.OpenStdin = true, true
	r := h.create(t, rt, c)
	must(t, r.Resize(t.Context(), 40, 120))
	var out, errs fake.Buffer
	attached, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- r.Attach(t.Context(), davit.Streams{Stdout: &out, Stderr: &errs, Attached: func() { close(attached) }}, nil)
	}()
	<-attached
	must(t, r.Start(t.Context(), nil))
	must(t, <-done)
	if out.String() != "out\r\nerr\r\n" || errs.String() != "" {
		t.Errorf("on a terminal: %q and %q", out.String(), errs.String())
	}
	r.wantExit(0)
	must(t, rt.Forget(r.id))
}

func testCannotCreate(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	for path, permission := range map[string]bool{fake.NoSuchProgram: false, fake.NotExecutable: true} {
		c := shell("broken", "")
		c.Path, c.Args = path, nil
		_, err := rt.Create(t.Context(), h.Launch(t, c))
		wantCode(t, err, davit.StartFailed, "creating a container that runs "+path)
		if errors.Is(err, os.ErrPermission) != permission {
			t.Errorf("creating a container that runs %s: %v; that it is a matter of permission is %v", path, err, !permission)
		}
		h.wantNothing(t, rt, c)
	}
	c := shell("canceled", "exit 0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rt.Create(ctx, h.Launch(t, c)); err == nil {
		t.Error("a container was created after its context had ended")
	}
	h.wantNothing(t, rt, c)
}

func (h RuntimeHost) wantNothing(t *testing.T, rt service.Runtime, c *davit.Container) {
	t.Helper()
	if known := result(rt.Known())(t); slices.Contains(known, c.ID) {
		t.Errorf("the runtime keeps something of a container that could not be created")
	}
	if _, err := rt.Adopt(t.Context(), c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("adopting a container that could not be created: %v, want os.ErrNotExist", err)
	}
}

func testAbandon(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	r := h.create(t, rt, shell("never", "exit 0"))
	must(t, r.Signal(t.Context(), sigKill, true))
	r.end()
	must(t, rt.Forget(r.id))
}

func testExec(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	r := h.run(t, rt, shell("deaf", fake.ShellDeaf))
	session := func(script string) davit.Exec {
		return davit.Exec{ID: fake.ID(script), ContainerID: r.id, Cmd: []string{"/bin/sh", "-c", script}, AttachStdout: true, AttachStderr: true}
	}
	p := result(r.Exec(t.Context(), session(fake.ShellEcho)))(t)
	if p.Pid() <= 0 {
		t.Errorf("its pid is %d", p.Pid())
	}
	var out, errs fake.Buffer
	must(t, p.Attach(t.Context(), davit.Streams{Stdout: &out, Stderr: &errs}, nil))
	if out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("it printed %q and %q", out.String(), errs.String())
	}
	if x := result(p.Wait(t.Context()))(t); x.Code != 0 {
		t.Errorf("it ended with %+v", x)
	}
	p = result(r.Exec(t.Context(), session("exit 3")))(t)
	if x := result(p.Wait(t.Context()))(t); x.Code != 3 || x.At.IsZero() { // nobody attached
		t.Errorf("it ended with %+v, want 3", x)
	}

	cat := session(fake.ShellCat)
	cat.AttachStdin = true
	p = result(r.Exec(t.Context(), cat))(t)
	out = fake.Buffer{}
	must(t, p.Attach(t.Context(), davit.Streams{Stdin: strings.NewReader("ping"), Stdout: &out}, nil))
	if x := result(p.Wait(t.Context()))(t); x.Code != 0 || out.String() != "ping" {
		t.Errorf("cat of %q ended with %+v", out.String(), x)
	}

	p = result(r.Exec(t.Context(), session(fake.ShellDeaf)))(t)
	must(t, p.Resize(t.Context(), 40, 120)) // without a terminal: nothing
	must(t, r.Resize(t.Context(), 40, 120))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(ctx); err == nil {
		t.Error("waiting for a session that runs returned without an error when its context had ended")
	}
	r.stop(rt) // and the session with it
	if x, err := p.Wait(t.Context()); err == nil && x.Code != 137 {
		t.Errorf("the session ended with %+v when its container was killed", x)
	}
}

func testExecFails(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	r := h.run(t, rt, shell("deaf", fake.ShellDeaf))
	for path, permission := range map[string]bool{fake.NoSuchProgram: false, fake.NotExecutable: true} {
		_, err := r.Exec(t.Context(), davit.Exec{ID: fake.ID(path), ContainerID: r.id, Cmd: []string{path}})
		wantCode(t, err, davit.StartFailed, "running "+path)
		if errors.Is(err, os.ErrPermission) != permission {
			t.Errorf("running %s: %v; that it is a matter of permission is %v", path, err, !permission)
		}
	}
	r.stop(rt)
	if _, err := r.Exec(t.Context(), davit.Exec{ID: fake.ID("late"), ContainerID: r.id, Cmd: []string{"/bin/sh", "-c", "exit 0"}}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("running something in a container that has ended: %v, want os.ErrClosed in the chain", err)
	}
}

func testAdopt(t *testing.T, h RuntimeHost) {
	old := h.Open(t)
	c := shell("adopted", fake.ShellDeaf)
	pid := h.run(t, old, c).Pid()
	rt := h.Open(t)
	if known := result(rt.Known())(t); !slices.Contains(known, c.ID) {
		t.Fatalf("known are %v, without %s", known, c.ID)
	}
	r := running{result(rt.Adopt(t.Context(), c))(t), t, c.ID}
	if u := r.next(); u.Status != davit.StatusRunning || u.Pid != pid || u.StartedAt.IsZero() {
		t.Errorf("the first update is %+v, want running with pid %d", u, pid)
	}
	p := result(r.Exec(t.Context(), davit.Exec{ID: fake.ID("x"), ContainerID: c.ID, Cmd: []string{"/bin/sh", "-c", "exit 3"}}))(t)
	if x := result(p.Wait(t.Context()))(t); x.Code != 3 {
		t.Errorf("a session in it ended with %+v", x)
	}
	must(t, r.Signal(t.Context(), sigKill, true))
	r.wantExit(137)
	must(t, rt.Forget(c.ID))
}

func testAdoptEnded(t *testing.T, h RuntimeHost) {
	old := h.Open(t)
	first, _ := h.trap(t, old, "meanwhile")
	c := &davit.Container{ID: first.id, Name: "meanwhile"}
	must(t, first.Signal(t.Context(), sigTerm, true))
	rt := h.Open(t) // while it ends, or after that
	r := running{result(rt.Adopt(t.Context(), c))(t), t, c.ID}
	r.wantExit(7)
	again := running{result(h.Open(t).Adopt(t.Context(), c))(t), t, c.ID} // nobody said that it was recorded
	again.wantExit(7)
	must(t, rt.Forget(c.ID))
}

func testAdoptNothing(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("nobody", "exit 0")
	if _, err := rt.Adopt(t.Context(), c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("adopting what was never there: %v, want os.ErrNotExist", err)
	}
	must(t, rt.Forget(c.ID))
}

func testRestartOnFailure(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("failing", "exit 3")
	c.HostConfig.RestartPolicy = davit.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}
	r := h.create(t, rt, c)
	must(t, r.Start(t.Context(), nil))
	restarting, last := 0, davit.Update{}
	for last.Status != davit.StatusExited {
		last = r.next()
		if last.Status == davit.StatusRestarting {
			if restarting++; last.Exit.Code != 3 {
				t.Errorf("a restart after %+v", last.Exit)
			}
		}
	}
	if last.Exit.Code != 3 || last.Restarts != 2 || restarting != 2 {
		t.Errorf("after %d restarts the last update is %+v, want 2", restarting, last)
	}
	r.end()
	must(t, rt.Forget(c.ID))

	c = shell("succeeding", "exit 0")
	c.HostConfig.RestartPolicy = davit.RestartPolicy{Name: "on-failure"}
	r = h.create(t, rt, c)
	must(t, r.Start(t.Context(), nil))
	if u := r.end(); u.Exit.Code != 0 || u.Restarts != 0 {
		t.Errorf("a success was restarted: %+v", u)
	}
	must(t, rt.Forget(c.ID))
}

func testRestartAlways(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("always", fake.ShellDeaf)
	c.HostConfig.RestartPolicy = davit.RestartPolicy{Name: "always"}
	r := h.run(t, rt, c)
	pid := r.Pid()
	must(t, r.Signal(t.Context(), sigKill, false))
	u := r.next()
	if u.Status != davit.StatusRestarting || u.Exit.Code != 137 {
		t.Errorf("after a signal that is not to stop it: %+v", u)
	}
	if u = r.next(); u.Status != davit.StatusRunning || u.Restarts != 1 || u.Pid == pid || u.Pid <= 0 {
		t.Errorf("restarted: %+v", u)
	}
	must(t, r.Signal(t.Context(), sigKill, true))
	if u = r.next(); u.Status != davit.StatusExited || u.Exit.Code != 137 {
		t.Errorf("after a signal that is to stop it: %+v", u)
	}
	r.end()
	must(t, rt.Forget(c.ID))
}
