// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestDaemonDies has a second runtime take over from one that let go without a
// word, as a daemon killed with -9 does.
func TestDaemonDies(t *testing.T) {
	h := newHost(t)
	l := h.launch("echo before; read x < /tmp/go; echo after; exit 6", func(l *davit.Launch) {
		l.Container.Mounts = []davit.Mount{{Type: "bind", Source: h.root, Target: "/tmp", ReadWrite: true}}
	})
	h.must(exec.Command("mkfifo", filepath.Join(h.root, "go")).Run())
	first := h.start(l)
	pid := first.Pid()
	h.until("the first line is in the log", func() bool {
		log, err := os.ReadFile(l.LogPath)
		return err == nil && bytes.Contains(log, []byte("before"))
	})
	h.must(h.rt.Close())
	if _, ok := <-first.Updates(); ok {
		for range first.Updates() {
		}
	}
	if err := first.Signal(t.Context(), 9, false); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a process of a closed runtime: %v", err)
	}
	h.rt = h.newRuntime()
	ids, err := h.rt.Known()
	h.must(err)
	if diff := cmp.Diff([]string{l.Container.ID}, ids); diff != "" {
		t.Error(diff)
	}
	p, err := h.rt.Adopt(t.Context(), l.Container)
	h.must(err)
	if u := h.next(p, davit.StatusRunning); u.Pid != pid || u.StartedAt.IsZero() {
		t.Errorf("adopted: %+v, want pid %d", u, pid)
	}
	var out buffer
	attached := h.attach(p, davit.Streams{Stdout: &out})
	h.must(os.WriteFile(filepath.Join(h.root, "go"), []byte("x\n"), 0))
	r := h.await(p)
	h.must(<-attached)
	if r.exit.Code != 6 || out.String() != "after\n" {
		t.Errorf("exit %+v, output %q", r.exit, out.String())
	}
	log, err := os.ReadFile(l.LogPath)
	h.must(err)
	if !strings.Contains(string(log), "before") || !strings.Contains(string(log), "after") {
		t.Errorf("log: %s", log)
	}
}

// TestExecRootLocked refuses a second engine on an exec root: it would end the
// containers of the first.
func TestExecRootLocked(t *testing.T) {
	h := newHost(t)
	again := h.rt.opts
	if rt, err := New(again); davit.CodeOf(err) != davit.InvalidConfiguration || !strings.Contains(err.Error(), again.ExecRoot) || !strings.Contains(err.Error(), "--exec-root") {
		t.Errorf("a second runtime on the exec root: %v, %v", rt, err)
	}
	l := h.launch("sleep 60")
	h.start(l)
	h.must(h.rt.Close())
	h.rt = h.newRuntime() // the holder has not inherited the lock
	p, err := h.rt.Adopt(t.Context(), l.Container)
	h.must(err)
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
	h.must(h.rt.Close())
	h.must(h.rt.Close())
	h.rt = h.newRuntime()
}

// TestEndsWithoutDaemon reads the exit of a container that ended while there
// was no daemon.
func TestEndsWithoutDaemon(t *testing.T) {
	h := newHost(t)
	l := h.launch("sleep 0.2; exit 8")
	h.start(l)
	h.must(h.rt.Close())
	h.rt = h.newRuntime()
	h.until("the exit is recorded", func() bool {
		_, err := os.Stat(filepath.Join(h.rt.dir(l.Container.ID), protocol.ExitFile))
		return err == nil
	})
	p, err := h.rt.Adopt(t.Context(), l.Container)
	h.must(err)
	if r := h.await(p); r.exit.Code != 8 || r.updates[len(r.updates)-1].Status != davit.StatusExited {
		t.Errorf("updates: %+v", r.updates)
	}
	h.must(h.rt.Forget(l.Container.ID))
	h.must(h.rt.Forget(l.Container.ID))
	if _, err := h.rt.Adopt(t.Context(), l.Container); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Adopt after Forget: %v", err)
	}
}

// TestNobodyStarts checks that a container that its daemon did not live to
// start is not kept.
func TestNobodyStarts(t *testing.T) {
	h := newHost(t)
	l := h.launch("sleep 60")
	_, err := h.rt.Create(t.Context(), l)
	h.must(err)
	h.must(h.rt.Close())
	h.rt = h.newRuntime()
	h.until("the runtime directory is gone", func() bool {
		ids, err := h.rt.Known()
		return err == nil && len(ids) == 0
	})
}

// TestCreateCancelled gives up in the middle of a creation: nothing is left, and
// the same container can be made at once.
func TestCreateCancelled(t *testing.T) {
	h := newHost(t)
	l := h.launch("exit 5")
	for delay := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(delay*4)*time.Millisecond)
		p, err := h.rt.Create(ctx, l)
		cancel()
		if err == nil {
			h.must(p.Signal(t.Context(), 9, true))
			h.await(p)
			continue
		}
		if ids, _ := h.rt.Known(); len(ids) != 0 {
			t.Fatalf("left after %v: %v", err, ids)
		}
	}
	if r := h.run(l); r.exit.Code != 5 {
		t.Errorf("got %+v", r)
	}
}

// TestAgainAtOnce starts a container in the moment in which its end is told.
func TestAgainAtOnce(t *testing.T) {
	h := newHost(t)
	l := h.launch("exit 4")
	for range 5 {
		p := h.start(l)
		if u := h.next(p, davit.StatusExited); u.Exit.Code != 4 {
			t.Errorf("got %+v", u)
		}
		h.must(h.rt.Forget(l.Container.ID))
	}
}

// TestHolderKilled kills the keeper of a container: the container must not
// outlive it.
func TestHolderKilled(t *testing.T) {
	h := newHost(t)
	for _, adopted := range []bool{false, true} {
		t.Run("adopted="+strconv.FormatBool(adopted), func(t *testing.T) {
			h := h.in(t)
			l := h.launch("sleep 60")
			p := h.start(l)
			u := h.next(p, davit.StatusRunning)
			var state protocol.State
			h.must(protocol.ReadFile(filepath.Join(h.rt.dir(l.Container.ID), protocol.StateFile), &state))
			if adopted {
				h.must(h.rt.Close())
			}
			holder, err := os.FindProcess(state.Holder)
			h.must(err)
			h.must(holder.Kill())
			if adopted {
				h.rt = h.newRuntime()
				h.until("the socket refuses", func() bool {
					c, err := protocol.Dial(filepath.Join(h.rt.dir(l.Container.ID), protocol.SocketFile))
					if err == nil {
						_ = c.Close()
					}
					return err != nil
				})
				p, err = h.rt.Adopt(t.Context(), l.Container)
				h.must(err)
			}
			r := h.await(p)
			if last := r.updates[len(r.updates)-1]; last.Status != davit.StatusDead || last.Exit.Code != lostCode {
				t.Errorf("last update: %+v", last)
			}
			h.until("the container's process is gone", func() bool { return !lives(u.Pid, state.PidStart) })
		})
	}
}

// unreachable makes the holder of a container that runs unreachable, in the
// ways that tests know, and returns what undoes that.
func (h *host) unreachable(way, id string) (undo func()) {
	h.t.Helper()
	dir := h.rt.dir(id)
	socket := filepath.Join(dir, protocol.SocketFile)
	var state protocol.State
	h.must(protocol.ReadFile(filepath.Join(dir, protocol.StateFile), &state))
	holder, err := os.FindProcess(state.Holder)
	h.must(err)
	hide := func() func() {
		h.must(os.Rename(socket, socket+".away"))
		return func() { h.must(os.Rename(socket+".away", socket)) }
	}
	freeze := func() func() {
		h.must(holder.Signal(syscall.SIGSTOP))
		h.until("the holder has stopped", func() bool {
			status, err := os.ReadFile("/proc/" + strconv.Itoa(state.Holder) + "/status")
			return err == nil && bytes.Contains(status, []byte("\nState:\tT"))
		})
		return func() { h.must(holder.Signal(syscall.SIGCONT)) }
	}
	switch way {
	case "frozen":
		return freeze()
	case "frozen, many wait":
		thaw := freeze()
		for {
			conn, err := protocol.Dial(socket)
			if err != nil {
				return thaw
			}
			h.t.Cleanup(func() { _ = conn.Close() })
		}
	case "no socket":
		return hide()
	default: // refuses
		show := hide()
		h.must(os.WriteFile(socket, nil, 0o600))
		return show
	}
}

// TestUnreachable checks that a container whose holder cannot be reached for a
// while is not taken for dead, nor for one that never was.
func TestUnreachable(t *testing.T) {
	for _, way := range []string{"frozen", "frozen, many wait", "no socket", "refuses"} {
		t.Run(way, func(t *testing.T) {
			h := newHost(t)
			l := h.launch("sleep 60")
			pid := h.start(l).Pid()
			h.must(h.rt.Close())
			h.rt = h.newRuntime()
			undo := h.unreachable(way, l.Container.ID)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if p, err := h.rt.Adopt(ctx, l.Container); err == nil || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrClosed) {
				t.Errorf("Adopt: %v, %v", p, err)
			}
			if err := h.rt.Forget(l.Container.ID); davit.CodeOf(err) != davit.ContainerRunning {
				t.Errorf("Forget: %v", err)
			}
			if _, err := h.rt.Create(t.Context(), l); davit.CodeOf(err) != davit.ContainerRunning {
				t.Errorf("Create: %v", err)
			}
			undo()
			p, err := h.rt.Adopt(t.Context(), l.Container)
			h.must(err)
			if u := h.next(p, davit.StatusRunning); u.Pid != pid {
				t.Errorf("adopted: %+v, want pid %d", u, pid)
			}
			h.must(p.Signal(t.Context(), 9, true))
			h.await(p)
		})
	}
}

// TestConnectionLost breaks a connection while the holder cannot be reached.
func TestConnectionLost(t *testing.T) {
	h := newHost(t)
	l := h.launch("sleep 60")
	p, err := h.rt.create(t.Context(), l)
	h.must(err)
	h.must(p.Start(t.Context(), nil))
	h.next(p, davit.StatusRunning)
	undo := h.unreachable("no socket", l.Container.ID)
	p.client.close()
	select {
	case u := <-p.Updates():
		t.Errorf("after the loss: %+v", u)
	case <-time.After(50 * time.Millisecond):
	}
	undo()
	h.next(p, davit.StatusRunning)
	h.must(p.Signal(t.Context(), 15, true))
	h.must(p.Signal(t.Context(), 9, true))
	if r := h.await(p); r.exit.Code != 137 {
		t.Errorf("got %+v", r.updates)
	}
}

// TestRenamedKeepsUnit starts a container with the name that another had when
// it was started, which still runs.
func TestRenamedKeepsUnit(t *testing.T) {
	h := newHost(t)
	if h.rt.Name() != LauncherSystemd {
		t.Skip("RequireSystemd: units are made by systemd")
	}
	var units []string
	var running []davit.Process
	name := "renamed-" + newID()[:8]
	for range 3 {
		l := h.launch("sleep 60", func(l *davit.Launch) { l.Container.Name = name })
		running = append(running, h.start(l))
		units = append(units, h.rt.Unit(l.Container))
		state, err := exec.Command("systemctl", "is-active", units[len(units)-1]).Output()
		if err != nil || string(state) != "active\n" {
			t.Errorf("unit %s: %s, %v", units[len(units)-1], state, err)
		}
	}
	if units[0] == units[1] || units[1] == units[2] || units[0] == units[2] {
		t.Errorf("units: %v", units)
	}
	// A unit that is not the engine's at all.
	name = "taken-" + newID()[:8]
	l := h.launch("sleep 60", func(l *davit.Launch) { l.Container.Name = name })
	taken := h.rt.Unit(l.Container)
	h.must(exec.Command("systemd-run", "--unit="+taken, "sleep", "60").Run())
	t.Cleanup(func() { _ = exec.Command("systemctl", "stop", taken).Run() })
	running = append(running, h.start(l))
	if got := h.rt.Unit(l.Container); got == taken {
		t.Errorf("unit: %s", got)
	}
	for _, p := range running {
		h.must(p.Signal(t.Context(), 9, true))
		h.await(p)
	}
}

// TestStopSignal is systemctl stop: TERM for the holder.
func TestStopSignal(t *testing.T) {
	h := newHost(t)
	one := 1
	for _, tc := range []struct {
		name, script string
		code         int
	}{
		{"obeys", "trap 'exit 33' USR1; echo ready; while :; do sleep 0.05; done", 33},
		{"does not", "trap '' USR1; echo ready; while :; do sleep 0.05; done", 137},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := h.in(t)
			l := h.launch(tc.script, host1(func(c *davit.HostConfig) { c.RestartPolicy.Name = "always" }), func(l *davit.Launch) {
				l.Container.Config.StopSignal, l.Container.Config.StopTimeout = "SIGUSR1", &one
			})
			p, err := h.rt.Create(t.Context(), l)
			h.must(err)
			var out buffer
			attached := h.attach(p, davit.Streams{Stdout: &out})
			h.must(p.Start(t.Context(), nil))
			h.until("the trap is set", func() bool { return out.String() == "ready\n" })
			var state protocol.State
			h.must(protocol.ReadFile(filepath.Join(h.rt.dir(l.Container.ID), protocol.StateFile), &state))
			holder, err := os.FindProcess(state.Holder)
			h.must(err)
			h.must(holder.Signal(os.Interrupt))
			r := h.await(p)
			h.must(<-attached)
			if r.exit.Code != tc.code {
				t.Errorf("got %+v", r.updates)
			}
		})
	}
}

func TestTop(t *testing.T) {
	h := newHost(t)
	l := h.launch("sleep 61 & sleep 62; true")
	p := h.start(l)
	var table davit.ProcessTable
	h.until("three processes run", func() bool {
		var err error
		table, err = h.rt.Top(t.Context(), l.Container.ID, []string{"-o", "pid,args"})
		h.must(err)
		return len(table.Processes) == 3
	})
	if diff := cmp.Diff([]string{"PID", "COMMAND"}, table.Titles); diff != "" {
		t.Error(diff)
	}
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
	if _, err := h.rt.Top(t.Context(), l.Container.ID, nil); davit.CodeOf(err) != davit.ContainerNotRunning {
		t.Errorf("Top of an ended container: %v", err)
	}
}

// TestHoldsSockets checks that the holder keeps what it was given.
func TestHoldsSockets(t *testing.T) {
	h := newHost(t)
	p, err := h.rt.Create(t.Context(), h.launch("sleep 60"))
	h.must(err)
	var hold []*os.File
	for range protocol.MaxFDs + 30 {
		r, w, err := os.Pipe()
		h.must(err)
		h.must(w.Close())
		hold = append(hold, r)
	}
	r, w, err := os.Pipe()
	h.must(err)
	h.must(p.Start(t.Context(), append(hold, r)))
	for _, f := range append(hold, r) {
		h.must(f.Close())
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Errorf("the holder has not kept the other end: %v", err)
	}
	ns, err := p.Netns(t.Context())
	h.must(err)
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(ns.Fd())))
	h.must(err)
	own, err := os.Readlink("/proc/" + strconv.Itoa(p.Pid()) + "/ns/net")
	h.must(err)
	if link != own {
		t.Errorf("Netns is %s, the container's is %s", link, own)
	}
	h.must(ns.Close())
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("the holder has not let go")
	}
	_ = w.Close()
}

// TestHolderForgetsClients checks that who attached and left costs a silent
// container nothing.
func TestHolderForgetsClients(t *testing.T) {
	h := newHost(t)
	l := h.launch("sleep 60", func(l *davit.Launch) { l.Container.Config.OpenStdin = true })
	p := h.start(l)
	h.next(p, davit.StatusRunning)
	var state protocol.State
	h.must(protocol.ReadFile(filepath.Join(h.rt.dir(l.Container.ID), protocol.StateFile), &state))
	open := func() int {
		entries, err := os.ReadDir("/proc/" + strconv.Itoa(state.Holder) + "/fd")
		h.must(err)
		return len(entries)
	}
	before := open()
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		in, typed := io.Pipe()
		err := p.Attach(ctx, davit.Streams{Stdin: in, Stdout: io.Discard, Stderr: io.Discard, Attached: cancel}, nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Attach: %v", err)
		}
		h.must(typed.Close())
	}
	h.until("the holder has as few descriptors as before", func() bool { return open() <= before })
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
}

// TestHolderOutOfDescriptors has a holder wait that cannot accept a connection,
// instead of trying without a pause.
func TestHolderOutOfDescriptors(t *testing.T) {
	h := newHost(t)
	l := h.launch("sleep 60")
	p := h.start(l)
	h.next(p, davit.StatusRunning)
	var state protocol.State
	h.must(protocol.ReadFile(filepath.Join(h.rt.dir(l.Container.ID), protocol.StateFile), &state))
	var limit unix.Rlimit
	h.must(unix.Prlimit(state.Holder, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: 1024}, &limit))
	before := cpuTicks(t, state.Holder)
	conn, err := protocol.Dial(filepath.Join(h.rt.dir(l.Container.ID), protocol.SocketFile))
	h.must(err)
	cl := newClient(conn, func(*protocol.State) {})
	defer cl.close()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	if _, err := cl.call(ctx, &protocol.Request{Op: protocol.OpCreated}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("answered without a descriptor: %v", err)
	}
	if used := cpuTicks(t, state.Holder) - before; used > 10 {
		t.Errorf("the holder used %d ticks of processor time while it could do nothing", used)
	}
	limit.Cur = min(limit.Max, 1024)
	limit.Max = limit.Cur
	h.must(unix.Prlimit(state.Holder, unix.RLIMIT_NOFILE, &limit, nil))
	if _, err := cl.call(t.Context(), &protocol.Request{Op: protocol.OpCreated}); err != nil {
		t.Errorf("with descriptors again: %v", err)
	}
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
}

// cpuTicks is the processor time that a process has used, in clock ticks
// (fields 14 and 15 of proc_pid_stat(5)).
func cpuTicks(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, userErr := strconv.Atoi(fields[11])
	system, systemErr := strconv.Atoi(fields[12])
	if err := errors.Join(userErr, systemErr); err != nil {
		t.Fatal(err)
	}
	return user + system
}

// brokenWriter is a caller that has gone.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestAttachHalfBroken loses the reader of one output: the other goes on.
func TestAttachHalfBroken(t *testing.T) {
	h := newHost(t)
	p, err := h.rt.Create(t.Context(), h.launch("echo out; sleep 0.2; echo out; echo err >&2"))
	h.must(err)
	var errs buffer
	attached := h.attach(p, davit.Streams{Stdout: brokenWriter{}, Stderr: &errs})
	h.must(p.Start(t.Context(), nil))
	h.await(p)
	h.must(<-attached)
	if errs.String() != "err\n" {
		t.Errorf("stderr: %q", errs.String())
	}
}
