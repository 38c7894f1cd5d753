// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"go.uber.org/goleak"
)

// binaries are built once for all tests.
var binaries struct {
	once                   sync.Once
	holder, monitor, enter string
	err                    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	for _, dir := range cgroup.Dirs(directCgroup) {
		_ = os.Remove(dir) // refused while another engine has containers
	}
	if binaries.holder != "" && os.Getenv(envBinaries) == "" {
		_ = os.RemoveAll(filepath.Dir(binaries.holder))
	}
	os.Exit(code)
}

// The tests can be taken to a booted system: with envBinaries naming the
// directory of built programs and envLauncher the launcher to test.
const (
	envBinaries = "DAVIT_TEST_BINARIES"
	envLauncher = "DAVIT_TEST_LAUNCHER"
)

// build makes the three programs as the Makefile does.
func build() error {
	if dir := os.Getenv(envBinaries); dir != "" {
		name(dir)
		return nil
	}
	dir, err := os.MkdirTemp("", "davit-exec-test")
	if err != nil {
		return err
	}
	name(dir)
	for _, b := range []struct {
		cgo, out, pkg string
		args          []string
	}{
		{"0", binaries.holder, "davit-holder", []string{"-ldflags", "-s -w"}},
		{"1", binaries.monitor, "davit-monitor", []string{"-tags", "seccomp,runc_nocriu"}},
	} {
		args := append([]string{"build", "-o", b.out}, b.args...)
		cmd := exec.Command("go", append(args, "github.com/davit-engine/davit/cmd/"+b.pkg)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", b.pkg, err, out)
		}
	}
	sources, err := filepath.Glob("../cmd/davit-enter/*.c")
	if err != nil {
		return err
	}
	args := append([]string{"-std=gnu11", "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror", "-o", binaries.enter}, sources...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build davit-enter: %w\n%s", err, out)
	}
	return nil
}

// name says where the programs are, or will be.
func name(dir string) {
	binaries.holder, binaries.monitor, binaries.enter = filepath.Join(dir, "davit-holder"), filepath.Join(dir, "davit-monitor"), filepath.Join(dir, "davit-enter")
}

func requireRoot(t testing.TB) {
	t.Helper()
	testutil.RequireRoot(t)
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("RequireBusybox: needs busybox-static")
	}
	binaries.once.Do(func() { binaries.err = build() })
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
}

// host is an engine's place on this machine: an exec root and an image.
type host struct {
	t    testing.TB
	root string
	rt   *Runtime
}

func newHost(t testing.TB) *host {
	t.Helper()
	requireRoot(t)
	h := &host{t: t, root: t.TempDir()}
	h.makeImage()
	h.rt = h.newRuntime()
	return h
}

// newRuntime makes a runtime as a daemon does that starts. It is closed at the
// end of the test.
func (h *host) newRuntime() *Runtime {
	h.t.Helper()
	rt, err := New(Options{
		ExecRoot: filepath.Join(h.root, "run"), HolderPath: binaries.holder, MonitorPath: binaries.monitor, EnterPath: binaries.enter,
		Launcher: launcherName(), Log: slog.New(slog.NewTextHandler(h.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = rt.Close() })
	return rt
}

// in returns the same host for a subtest.
func (h *host) in(t testing.TB) *host { return &host{t: t, root: h.root, rt: h.rt} }

func launcherName() string {
	if name := os.Getenv(envLauncher); name != "" {
		return name
	}
	return LauncherDirect
}

// makeImage makes a layer with busybox.
func (h *host) makeImage() {
	h.t.Helper()
	image := filepath.Join(h.root, "image")
	for _, dir := range []string{"bin", "etc", "tmp", "root", "home/someone", "data"} {
		h.must(os.MkdirAll(filepath.Join(image, dir), 0o755))
	}
	h.must(os.Chmod(filepath.Join(image, "tmp"), 0o1777))
	p, err := os.ReadFile("/bin/busybox")
	h.must(err)
	h.must(os.WriteFile(filepath.Join(image, "bin/busybox"), p, 0o755))
	for _, name := range strings.Fields("sh cat echo id ls env mount sleep true false head dd kill hostname stty pwd touch grep wc ip ps yes tr uname printf stat test ulimit df awk mkdir seq rm") {
		h.must(os.Symlink("busybox", filepath.Join(image, "bin", name)))
	}
	h.must(os.WriteFile(filepath.Join(image, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nsomeone:x:1000:1000::/home/someone:/bin/sh\n"), 0o644))
	h.must(os.WriteFile(filepath.Join(image, "etc/group"), []byte("root:x:0:\nsomeone:x:1000:\nwheel:x:10:someone\naudio:x:29:\n"), 0o644))
	h.must(os.WriteFile(filepath.Join(image, "bin/noexec"), []byte("#!/bin/sh\n"), 0o644))
	h.must(os.WriteFile(filepath.Join(image, "bin/garbage"), []byte("not a program"), 0o755))
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// launch makes the launch of a container that runs a shell script.
func (h *host) launch(script string, change ...func(*davit.Launch)) davit.Launch {
	h.t.Helper()
	id := newID()
	dir := filepath.Join(h.root, "c", id[:8])
	l := davit.Launch{
		Container: &davit.Container{
			ID: id, Name: "test-" + id[:8], ImageRef: "busybox:latest", Path: "/bin/sh", Args: []string{"-c", script},
		},
		Rootfs:  davit.Rootfs{Lower: []string{filepath.Join(h.root, "image")}},
		Dir:     dir,
		LogPath: filepath.Join(dir, id+"-json.log"), Hostname: "box", OwnNetns: true,
	}
	for name, to := range map[string]*string{"upper": &l.Rootfs.Upper, "work": &l.Rootfs.Work, "merged": &l.Rootfs.Target} {
		*to = filepath.Join(dir, name)
		h.must(os.MkdirAll(*to, 0o755))
	}
	for _, f := range change {
		f(&l)
	}
	h.t.Cleanup(func() { h.checkGone(id) })
	return l
}

// checkGone ends what a test may have left and complains about the rest.
func (h *host) checkGone(id string) {
	if p, err := h.rt.Adopt(context.Background(), &davit.Container{ID: id, Name: "leftover"}); err == nil {
		_ = p.Signal(context.Background(), 9, true)
		for range p.Updates() {
		}
	}
	if err := h.rt.Forget(id); err != nil {
		h.t.Errorf("cannot forget container: %v", err)
	}
	for _, dir := range cgroup.Dirs(filepath.Join(directCgroup, id)) {
		if _, err := os.Stat(dir); err == nil {
			h.t.Errorf("cgroup %s was left", dir)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), h.root) {
		h.t.Errorf("a mount below %s was left in the host's namespace", h.root)
	}
}

// buffer is a writer that may be read while it grows.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// result is what came of a container that ran to its end.
type result struct {
	out, err string
	exit     davit.Exit
	updates  []davit.Update
}

// run runs a container to its end, attached.
func (h *host) run(l davit.Launch) result {
	h.t.Helper()
	p, err := h.rt.Create(h.t.Context(), l)
	h.must(err)
	return h.finish(p)
}

// finish attaches to a created container, starts it and waits for its end.
func (h *host) finish(p davit.Process) result {
	h.t.Helper()
	var out, errs buffer
	attached := h.attach(p, davit.Streams{Stdout: &out, Stderr: &errs})
	h.must(p.Start(h.t.Context(), nil))
	r := h.await(p)
	h.must(<-attached)
	r.out, r.err = out.String(), errs.String()
	return r
}

// attach attaches in the background and returns once the monitor has taken
// the streams; the channel gives what Attach returned.
func (h *host) attach(p interface {
	Attach(context.Context, davit.Streams, []byte) error
}, s davit.Streams, keys ...byte,
) <-chan error {
	h.t.Helper()
	done, ready := make(chan error, 1), make(chan struct{})
	s.Attached = func() { close(ready) }
	go func() { done <- p.Attach(h.t.Context(), s, keys) }()
	select {
	case <-ready:
	case err := <-done:
		h.t.Fatalf("Attach: %v", err)
	}
	return done
}

// await collects updates until the end.
func (h *host) await(p davit.Process) result {
	h.t.Helper()
	var r result
	deadline := time.After(30 * time.Second)
	for {
		select {
		case u, ok := <-p.Updates():
			if !ok {
				return r
			}
			r.updates = append(r.updates, u)
			r.exit = u.Exit
		case <-deadline:
			h.t.Fatalf("the container did not end; updates so far: %+v", r.updates)
		}
	}
}

// next returns the first update of the status.
func (h *host) next(p davit.Process, status davit.Status) davit.Update {
	h.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case u, ok := <-p.Updates():
			if !ok {
				h.t.Fatalf("the updates ended before %q", status)
			}
			if u.Status == status {
				return u
			}
		case <-deadline:
			h.t.Fatalf("no update %q came", status)
		}
	}
}

// until polls for a condition.
func (h *host) until(what string, met func() bool) {
	h.t.Helper()
	testutil.Eventually(h.t, 15*time.Second, what, met)
}

// start creates and starts a container that stays.
func (h *host) start(l davit.Launch) davit.Process {
	h.t.Helper()
	p, err := h.rt.Create(h.t.Context(), l)
	h.must(err)
	h.must(p.Start(h.t.Context(), nil))
	return p
}
