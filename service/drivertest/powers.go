// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// freeze pauses the container, or lets it go on, and waits for the update.
func (r running) freeze(frozen bool) {
	r.t.Helper()
	freezer, ok := r.Process.(davit.Freezer)
	if !ok {
		r.t.Skip("the runtime cannot pause containers")
	}
	pid := r.Pid()
	must(r.t, freezer.Freeze(r.t.Context(), frozen))
	want := davit.StatusRunning
	if frozen {
		want = davit.StatusPaused
	}
	if u := r.next(); u.Status != want || u.Pid != pid || u.StartedAt.IsZero() {
		r.t.Fatalf("frozen is %v, the update is %+v", frozen, u)
	}
}

func testFreeze(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	r, _ := h.trap(t, rt, "frozen")
	if u := r.next(); u.Status != davit.StatusRunning {
		t.Fatalf("the update after the start is %+v", u)
	}
	r.freeze(true)
	r.freeze(false)
	freezer := r.Process.(davit.Freezer)
	must(t, freezer.Freeze(t.Context(), false))
	r.freeze(true)
	must(t, freezer.Freeze(t.Context(), true))
	must(t, r.Signal(t.Context(), sigTerm, false)) // it does not see that yet
	rt = h.Open(t)
	adopted := running{result(rt.Adopt(t.Context(), &davit.Container{ID: r.id, Name: "frozen"}))(t), t, r.id}
	if u := adopted.next(); u.Status != davit.StatusPaused || u.Pid != r.Pid() {
		t.Fatalf("the next daemon finds %+v, want it paused", u)
	}
	adopted.freeze(false)
	adopted.wantExit(7)
	must(t, rt.Forget(r.id))
	if err := adopted.Process.(davit.Freezer).Freeze(t.Context(), true); err == nil {
		t.Error("a container that has ended was paused")
	}

	for _, signal := range []int{sigTerm, sigKill} {
		r, _ := h.trap(t, rt, fmt.Sprint("stopped by ", signal))
		r.next()
		r.freeze(true)
		must(t, r.Signal(t.Context(), signal, true))
		r.wantExit(map[int]int{sigTerm: 7, sigKill: 128 + sigKill}[signal])
		must(t, rt.Forget(r.id))
	}
}

func testBareRoot(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	r := h.run(t, rt, shell("bare", fake.ShellDeaf))
	opener, ok := r.Process.(davit.RootOpener)
	if !ok {
		r.stop(rt)
		t.Skip("the runtime cannot open roots")
	}
	root := result(opener.OpenRoot(t.Context()))(t)
	defer root.Close()
	dir := fmt.Sprintf("/proc/self/fd/%d/", root.Fd())
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Errorf("the root is no directory: %v", err)
	}
	if _, err := os.Stat(dir + "proc/self"); !os.IsNotExist(err) {
		t.Errorf("something is mounted in the root: %v", err)
	}
	r.stop(rt)
	if f, err := opener.OpenRoot(t.Context()); err == nil {
		f.Close()
		t.Error("the root of a container that has ended was opened")
	}
}

func testMeter(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	meter, ok := rt.(service.Meter)
	if !ok {
		t.Skip("the runtime does not measure")
	}
	_, err := meter.Stats(t.Context(), fake.ID("nobody"))
	wantCode(t, err, davit.ContainerNotRunning, "measuring nobody")
	r := h.run(t, rt, shell("measured", fake.ShellDeaf))
	first := result(meter.Stats(t.Context(), r.id))(t)
	if first.Read.IsZero() || first.CPU.Usage == 0 || first.Memory.Usage == 0 || first.Memory.Limit == 0 ||
		first.Memory.Raw == nil || first.Pids.Current == 0 || first.Processors == 0 || first.SystemCPU == 0 {
		t.Errorf("the statistics of a container that runs: %+v", first)
	}
	testutil.Eventually(t, patience, "the counters grow", func() bool {
		next := result(meter.Stats(t.Context(), r.id))(t)
		return next.CPU.Usage > first.CPU.Usage && next.SystemCPU > first.SystemCPU && !next.Read.Before(first.Read)
	})

	x := result(r.Exec(t.Context(), davit.Exec{Cmd: []string{"/bin/sh", "-c", fake.ShellDeaf}}))(t)
	for _, pid := range []int{r.Pid(), x.Pid()} {
		if id, err := meter.Owner(pid); err != nil || id != r.id {
			t.Errorf("process %d is in %q: %v; want %s", pid, id, err, r.id)
		}
	}
	for _, pid := range []int{os.Getpid(), 1 << 30} {
		if id, err := meter.Owner(pid); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("process %d is in %q: %v; want os.ErrNotExist", pid, id, err)
		}
	}
	r.stop(rt)
	_, err = meter.Stats(t.Context(), r.id)
	wantCode(t, err, davit.ContainerNotRunning, "measuring a container that has ended")
}

func testExecSignal(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	r := h.run(t, rt, shell("exec signal", fake.ShellDeaf))
	x := result(r.Exec(t.Context(), davit.Exec{Cmd: []string{"/bin/sh", "-c", fake.ShellTrap}, AttachStdout: true}))(t)
	out := new(fake.Buffer)
	go func() { _ = x.Attach(t.Context(), davit.Streams{Stdout: out}, nil) }()
	testutil.Eventually(t, patience, "the trap is set", func() bool { return out.String() == "ready\n" })
	must(t, x.Signal(t.Context(), sigTerm))
	if exit := result(x.Wait(t.Context()))(t); exit.Code != 7 {
		t.Errorf("the exec session ended with %+v, want code 7", exit)
	}
	wantCode(t, x.Signal(t.Context(), sigTerm), davit.ContainerNotRunning, "signalling an exec session that has ended")
	r.stop(rt)
}

// testUpdate changes the restart policy of a container that runs, and limits.
func testUpdate(t *testing.T, h RuntimeHost) {
	rt := h.Open(t)
	c := shell("updated", "exit 3")
	r := h.create(t, rt, c)
	updater, ok := r.Process.(davit.Updater)
	if !ok {
		must(t, r.Signal(t.Context(), sigKill, true))
		r.end()
		t.Skip("the runtime cannot update containers")
	}
	limit := int64(40)
	must(t, updater.Update(t.Context(), davit.Resources{Memory: 64 << 20, PidsLimit: &limit}, &davit.RestartPolicy{Name: "on-failure", MaximumRetryCount: 1}))
	must(t, r.Start(t.Context(), nil))
	if u := r.end(); u.Status != davit.StatusExited || u.Restarts != 1 || u.Exit.Code != 3 {
		t.Errorf("with the policy on-failure:1 it ended with %+v", u)
	}
	if err := updater.Update(t.Context(), davit.Resources{}, nil); err == nil {
		t.Error("a container that has ended was updated")
	}
	must(t, rt.Forget(r.id))
}
