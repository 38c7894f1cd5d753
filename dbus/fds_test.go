// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

var (
	containerObject = root + "/container/_3" + godbus.ObjectPath(containerID)
	imageObject     = root + "/image/" + godbus.ObjectPath(imageID.Encoded())
	execObject      = root + "/exec/" + godbus.ObjectPath(execID)
)

// onObject calls a method of an object by the name of its kind.
func onObject(conn *godbus.Conn, path godbus.ObjectPath, member string, args ...any) *godbus.Call {
	kind, _, _ := strings.Cut(strings.TrimPrefix(string(path), string(root)+"/"), "/")
	return conn.Object(davit.BusName, path).Call(davit.BusName+"."+strings.ToUpper(kind[:1])+kind[1:]+"."+member, 0, args...)
}

// shellPipe is a blocking pipe.
func shellPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(p[0]), "r"), os.NewFile(uintptr(p[1]), "w")
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// namedFD is what Attach answers with, and EnqueueJobWithFDs takes.
type namedFD struct {
	Name string
	FD   godbus.UnixFD
}

func fdOf(f *os.File) godbus.UnixFD { return godbus.UnixFD(f.Fd()) }

// TestJobsReadDescriptors passes the reading end of a pipe, and a file.
func TestJobsReadDescriptors(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	name := filepath.Join(t.TempDir(), "tar")
	if err := os.WriteFile(name, []byte(archive), 0o600); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func(fd godbus.UnixFD) *godbus.Call{
		"load": func(fd godbus.UnixFD) *godbus.Call { return f.call(conn, "LoadImages", fd, uint64(0)) },
		"import": func(fd godbus.UnixFD) *godbus.Call {
			return f.call(conn, "ImportImage", fd, "x:1", option("Comment", "c"), uint64(0))
		},
		"copy": func(fd godbus.UnixFD) *godbus.Call {
			return onObject(conn, containerObject, "CopyTo", fd, "/tmp", uint64(0))
		},
		"enqueued": func(fd godbus.UnixFD) *godbus.Call {
			return f.call(conn, "EnqueueJobWithFDs", "load", "", noOptions, []namedFD{{"Source", fd}}, uint64(0))
		},
	}
	check := func(t *testing.T, c *godbus.Call) {
		t.Helper()
		if result, out := f.wait(t, conn, c); result != "done" {
			t.Fatal(result, out)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if string(f.written) != archive {
			t.Errorf("the job read %q", f.written)
		}
		f.written = nil
	}
	if err := f.call(conn, "ListJobs").Err; err != nil {
		t.Fatal(err)
	}
	before := openFDs(t)
	for kind, call := range calls {
		t.Run(kind, func(t *testing.T) {
			r, w := shellPipe(t)
			c := call(fdOf(r))
			if _, err := w.WriteString(archive); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			check(t, c)
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			check(t, call(fdOf(file)))
		})
	}
	settle(t, before)
	check(t, f.call(conn, "EnqueueJob", "load", "", option("SourcePath", name), uint64(0)))
}

// TestJobsWriteDescriptors passes writing ends.
func TestJobsWriteDescriptors(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	calls := map[string]func(fd godbus.UnixFD) *godbus.Call{
		"save": func(fd godbus.UnixFD) *godbus.Call {
			return f.call(conn, "SaveImages", []string{"busybox"}, fd, "docker", uint64(0))
		},
		"save this": func(fd godbus.UnixFD) *godbus.Call { return onObject(conn, imageObject, "Save", fd, "", uint64(0)) },
		"export": func(fd godbus.UnixFD) *godbus.Call {
			return onObject(conn, containerObject, "Export", fd, "tar", uint64(0))
		},
		"copy": func(fd godbus.UnixFD) *godbus.Call {
			return onObject(conn, containerObject, "CopyFrom", "/etc", fd, uint64(0))
		},
	}
	for kind, call := range calls {
		t.Run(kind, func(t *testing.T) {
			r, w := shellPipe(t)
			c := call(fdOf(w))
			_ = w.Close()
			if got, err := io.ReadAll(r); string(got) != archive || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			if result, out := f.wait(t, conn, c); result != "done" {
				t.Error(result, out)
			}
		})
	}
	dir := t.TempDir()
	save := func(what, name string) (string, options) {
		return f.wait(t, conn, f.call(conn, "EnqueueJob", "image_export", "", option("Images", []string{what}, "TargetPath", filepath.Join(dir, name)), uint64(0)))
	}
	if result, out := save("busybox", "a"); result != "done" {
		t.Fatal(result, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "a"))
	if st, _ := os.Stat(filepath.Join(dir, "a")); string(got) != archive || err != nil || st.Mode() != 0o600 {
		t.Errorf("the file holds %q, %v, mode %v", got, err, st.Mode())
	}
	for what, name := range map[string]string{"busybox": "a", "missing": "b", "broken": "c"} { // there is one; no image; half a file
		if result, out := save(what, name); result != "failed" {
			t.Error(what, result, out)
		}
	}
	testutil.Eventually(t, 10*time.Second, "the half file is removed", func() bool { // a target is removed when its job has ended
		entries, err := os.ReadDir(dir)
		return err == nil && len(entries) == 1
	})
}

// TestUnfitDescriptors passes what cannot be read, or written to.
func TestUnfitDescriptors(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	r, w := shellPipe(t)
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := f.call(conn, "ListJobs").Err; err != nil {
		t.Fatal(err)
	}
	before := openFDs(t)
	for name, c := range map[string]*godbus.Call{
		"writing end to read":    f.call(conn, "LoadImages", fdOf(w), uint64(0)),
		"directory to read":      f.call(conn, "LoadImages", fdOf(dir), uint64(0)),
		"reading end to write":   onObject(conn, containerObject, "Export", fdOf(r), "", uint64(0)),
		"pidfd of no process":    f.call(conn, "GetContainerByPIDFD", fdOf(r)),
		"secret on a directory":  f.call(conn, "RegistryLogin", "r", "u", fdOf(dir), uint64(0)),
		"job that takes no such": f.call(conn, "EnqueueJobWithFDs", "start", "web", noOptions, []namedFD{{"Source", fdOf(r)}}, uint64(0)),
		"one name twice":         f.call(conn, "EnqueueJobWithFDs", "load", "", noOptions, []namedFD{{"Source", fdOf(r)}, {"Source", fdOf(r)}}, uint64(0)),
	} {
		if errorNameOf(c.Err) != "org.freedesktop.DBus.Error.InvalidArgs" {
			t.Errorf("%s: %v", name, c.Err)
		}
	}
	settle(t, before)
}

// TestCancelEndsATransfer cancels jobs that wait for a caller who neither
// reads nor writes.
func TestCancelEndsATransfer(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	r, w := shellPipe(t)
	for name, c := range map[string]*godbus.Call{
		"load": f.call(conn, "LoadImages", fdOf(r), uint64(0)),
		"save": f.call(conn, "SaveImages", []string{"endless"}, fdOf(w), "", uint64(0)),
	} {
		var id uint32
		var path godbus.ObjectPath
		if err := c.Store(&id, &path); err != nil {
			t.Fatal(name, err)
		}
		testutil.Eventually(t, 10*time.Second, "the job runs", func() bool {
			j, err := f.eng.Job(id)
			return err == nil && j.Snapshot().State == engine.Running
		})
		if err := f.call(conn, "CancelJob", id).Err; err != nil {
			t.Fatal(name, err)
		}
		var result string
		var out options
		if err := f.call(conn, "WaitJob", id).Store(&result, &out); err != nil || result != "canceled" {
			t.Errorf("%s: %s %v %v", name, result, out, err)
		}
	}
}

func TestRegistryLogin(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	for secret, want := range map[string]string{"s3cret\n": "", "other": davit.BusName + ".RegistryUnauthorized", strings.Repeat("x", 60<<10): davit.BusName + ".RegistryUnauthorized"} {
		r, w := shellPipe(t)
		if _, err := w.WriteString(secret); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		var status string
		err := f.call(conn, "RegistryLogin", "registry.example", "me", fdOf(r), uint64(0)).Store(&status)
		if errorNameOf(err) != want || (err == nil && status != "Login Succeeded") {
			t.Errorf("%.10q: %q, %v", secret, status, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the answer shows the secret: %v", err)
		}
	}
}

// TestPIDFD finds the container of this process by its pidfd.
func TestPIDFD(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skipf("needs pidfd_open: %v", err)
	}
	defer unix.Close(pidfd)
	var id, name string
	var path godbus.ObjectPath
	if err := f.call(conn, "GetContainerByPIDFD", godbus.UnixFD(pidfd)).Store(&id, &name, &path); err != nil || id != containerID || path != containerObject {
		t.Error(id, name, path, err)
	}
	if err := f.call(conn, "GetContainerByPID", uint32(os.Getpid())).Store(&path); err != nil || path != containerObject {
		t.Error(path, err)
	}
	if err := f.call(conn, "GetContainerByUnit", "davit-web.service").Store(&path); err != nil || path != containerObject {
		t.Error(path, err)
	}
}

// fileOf makes a file of a descriptor that a call returned.
func fileOf(t *testing.T, fd godbus.UnixFD) *os.File {
	t.Helper()
	f := os.NewFile(uintptr(fd), "returned")
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// noFollowers waits until the engine runs no job of the type.
func (f *fixture) noFollowers(t *testing.T, jobType string) {
	t.Helper()
	testutil.Eventually(t, 10*time.Second, "the job has ended, and with it the stream", func() bool {
		for _, j := range f.eng.Jobs() {
			if j.Type() == jobType && j.Snapshot().State != engine.Finished {
				return false
			}
		}
		return f.busy.Load() == 0
	})
}

// open calls a method that answers with a descriptor.
func open(t *testing.T, c *godbus.Call) *os.File {
	t.Helper()
	var fd godbus.UnixFD
	if err := c.Store(&fd); err != nil {
		t.Fatal(err)
	}
	return fileOf(t, fd)
}

func TestOpenLogs(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	for want, o := range map[string]options{"out\nerr\n": noOptions, "err\n": option("Stderr", true), "out\n": option("Stdout", true, "Tail", uint64(5))} {
		if got, err := io.ReadAll(open(t, onObject(conn, containerObject, "OpenLogs", o, uint64(0)))); string(got) != want || err != nil {
			t.Errorf("%v: %q %v, not %q", o, got, err, want)
		}
	}
	for name, o := range map[string]options{"quiet": option("Follow", true), "chatty": option("Follow", true, "Timestamps", true)} {
		log := open(t, onObject(conn, containerObject, "OpenLogs", o, uint64(0)))
		if line, err := bufio.NewReader(log).ReadString('\n'); line != "out\n" {
			t.Fatal(name, line, err)
		}
		_ = log.Close() // the job hears of it, whether it writes or not
		f.noFollowers(t, "logs")
	}
}

func TestOpenEvents(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	pipe := open(t, f.call(conn, "OpenEvents", option("type", "volume"), uint64(0), uint64(0), uint64(0)))
	// One of the two followers, this or the one that makes signals, gets each.
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case f.emit <- davit.Event{Type: "volume", Action: "mount", ActorID: "data", Time: created}:
			case <-stop:
				return
			}
		}
	}()
	line, err := bufio.NewReader(pipe).ReadString('\n')
	const want = `{"Type":"volume","Action":"mount","Actor":{"ID":"data","Attributes":{}},"scope":"local","time":1700000000,"timeNano":1700000000000000000}` + "\n"
	if line != want || err != nil {
		t.Errorf("%q %v", line, err)
	}
}

func TestStats(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	pipe := open(t, onObject(conn, containerObject, "OpenStats", uint64(0), uint64(0)))
	dec := json.NewDecoder(pipe)
	var first, second struct {
		ID  string
		CPU struct {
			Usage struct {
				Total uint64 `json:"total_usage"`
			} `json:"cpu_usage"`
		} `json:"cpu_stats"`
		PreCPU struct {
			Usage struct {
				Total uint64 `json:"total_usage"`
			} `json:"cpu_usage"`
		} `json:"precpu_stats"`
		Pids  struct{ Current int } `json:"pids_stats"`
		Links map[string]struct {
			Rx int `json:"rx_bytes"`
		} `json:"networks"`
	}
	if err := errors.Join(dec.Decode(&first), dec.Decode(&second)); err != nil {
		t.Fatal(err)
	}
	if first.ID != containerID || first.CPU.Usage.Total != 1000 || first.Pids.Current != 3 || first.Links["eth0"].Rx != 5 {
		t.Errorf("%+v", first)
	}
	if second.PreCPU.Usage.Total != 1000 || second.CPU.Usage.Total != 3000 {
		t.Errorf("%+v", second)
	}
	_ = pipe.Close()
	f.noFollowers(t, "stats")
	var now options
	if err := onObject(conn, containerObject, "GetStats").Store(&now); err != nil || now["CPUUsageNSec"].Value() != uint64(1000) || now["TasksMax"].Value() != ^uint64(0) {
		t.Error(now, err)
	}
}

func TestAttach(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	attach := func(names ...string) map[string]*os.File {
		t.Helper()
		var fds []namedFD
		if err := onObject(conn, containerObject, "Attach", names, uint64(0)).Store(&fds); err != nil || len(fds) != len(names) {
			t.Fatal(fds, err)
		}
		out := map[string]*os.File{}
		for _, fd := range fds {
			out[fd.Name] = fileOf(t, fd.FD)
		}
		return out
	}
	fds := attach("stdin", "stdout", "stderr")
	if _, err := fds["stdin"].WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(fds["stdout"], got); string(got) != "HELLO" {
		t.Errorf("%q %v", got, err)
	}
	_ = fds["stdin"].Close()
	if got, err := io.ReadAll(fds["stderr"]); string(got) != "bye" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	f.noFollowers(t, "attach")
	fds = attach("stdout", "stderr")
	_ = fds["stdout"].Close()
	_ = fds["stderr"].Close()
	f.noFollowers(t, "attach")
}

func TestExec(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	var id string
	var path godbus.ObjectPath
	if err := onObject(conn, containerObject, "CreateExec", []string{"sh"}, option("TTY", true, "User", "www"), uint64(0)).Store(&id, &path); err != nil || path != execObject {
		t.Fatal(id, path, err)
	}
	want := davit.Exec{ContainerID: containerID, Cmd: []string{"sh"}, User: "www", Tty: true, AttachStdin: true, AttachStdout: true, AttachStderr: true}
	if got := f.lastRequest().(davit.ExecCreate).Exec; got.Cmd[0] != "sh" || got.User != want.User || !got.Tty || !got.AttachStdin {
		t.Errorf("%+v", got)
	}
	var fds []namedFD
	var job uint32
	if err := onObject(conn, execObject, "Start", []string{}, uint64(0)).Store(&fds, &job, &path); err != nil || len(fds) != 0 || !f.lastRequest().(davit.ExecStart).Detach {
		t.Error(fds, err, f.lastRequest())
	}
	if err := onObject(conn, execObject, "Start", []string{"tty"}, uint64(0)).Err; errorNameOf(err) != "org.freedesktop.DBus.Error.InvalidArgs" {
		t.Errorf("a terminal where there is none: %v", err)
	}
	f.mu.Lock()
	f.execTTY = true
	f.mu.Unlock()
	if err := onObject(conn, execObject, "Start", []string{"tty"}, uint64(0)).Store(&fds, &job, &path); err != nil || len(fds) != 1 {
		t.Fatal(fds, err)
	}
	tty := fileOf(t, fds[0].FD)
	if _, err := tty.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1)
	if _, err := io.ReadFull(tty, got); string(got) != "X" {
		t.Errorf("%q %v", got, err)
	}
	_ = tty.Close()
	f.noFollowers(t, "exec_start")
	testutil.Eventually(t, 10*time.Second, "the process is hung up", func() bool {
		q, ok := f.lastRequest().(davit.ExecKill)
		return ok && q.ID == execID && q.Signal == "HUP"
	})
	for name, want := range map[string]any{"State": "exited", "ExitStatus": int32(7), "Container": containerObject} {
		if v, err := conn.Object(davit.BusName, execObject).GetProperty(davit.BusName + ".Exec." + name); err != nil || v.Value() != want {
			t.Errorf("%s = %v, %v", name, v, err)
		}
	}
}

// TestOpenShell uses the terminal as machinectl does: it sets its size, types
// and reads, and closes it.
func TestOpenShell(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	var fd godbus.UnixFD
	var ptyPath string
	var session godbus.ObjectPath
	err := onObject(conn, containerObject, "OpenShell", "www", "", []string{"-sh", "-l"}, []string{"A=1"}).Store(&fd, &ptyPath, &session)
	if err != nil || session != execObject {
		t.Fatal(session, err)
	}
	pty := fileOf(t, fd)
	if _, err := unix.IoctlGetTermios(int(pty.Fd()), unix.TCGETS); err != nil {
		t.Errorf("what was returned is no terminal: %v", err)
	}
	if err := unix.IoctlSetWinsize(int(pty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 132}); err != nil {
		t.Fatal(err)
	}
	if _, err := pty.WriteString("ls\r"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := io.ReadFull(pty, got); string(got) != "LS\r" {
		t.Errorf("%q %v", got, err)
	}
	f.mu.Lock()
	if len(f.sizes) != 1 || f.sizes[0] != [2]uint{50, 132} {
		t.Errorf("sizes told: %v", f.sizes)
	}
	f.mu.Unlock()
	_ = pty.Close()
	f.noFollowers(t, "exec_start")
	testutil.Eventually(t, 10*time.Second, "the shell is hung up", func() bool { q, ok := f.lastRequest().(davit.ExecKill); return ok && q.Signal == "HUP" })
}

func TestDirectories(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	for _, c := range []*godbus.Call{onObject(conn, containerObject, "OpenRootDirectory"), onObject(conn, root+"/volume/data", "OpenDirectory")} {
		if _, err := open(t, c).ReadDir(-1); err != nil {
			t.Error(err)
		}
	}
}

// TestSlowReader leaves an endless stream unread: the service ends none the
// less, and so does the stream of a reader that goes away.
func TestSlowReader(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	before := openFDs(t)
	for range 3 {
		open(t, onObject(conn, containerObject, "OpenLogs", option("Follow", true, "Timestamps", true), uint64(0)))
	}
	if f.busy.Load() < 3 {
		t.Errorf("the daemon knows of %d streams", f.busy.Load())
	}
	begun := time.Now()
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("the end took %v", d)
	}
	f.noFollowers(t, "logs")
	if n := openFDs(t); n > before+3 {
		t.Errorf("%d descriptors before, %d after", before, n)
	}
}

// TestDescriptorsStay makes 200 calls of each kind with descriptors, and 200
// hostile ones: none stays open.
func TestDescriptorsStay(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	raw := dialRaw(t, f.address)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, []byte(archive), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := f.call(conn, "ListJobs").Err; err != nil {
		t.Fatal(err)
	}
	before := openFDs(t)
	for i := range 200 {
		if result, out := f.wait(t, conn, f.call(conn, "LoadImages", fdOf(source), uint64(0))); result != "done" {
			t.Fatal(i, result, out)
		}
	}
	settle(t, before)
	for i := range 200 {
		var fds []namedFD
		if err := onObject(conn, containerObject, "Attach", []string{"stdin", "stdout"}, uint64(0)).Store(&fds); err != nil {
			t.Fatal(i, err)
		}
		for _, fd := range fds {
			_ = unix.Close(int(fd.FD))
		}
		f.noFollowers(t, "attach")
	}
	settle(t, before)
	hostile := []struct {
		member, signature string
		body              []any
		fds               []int
	}{
		{"LoadImages", "ht", []any{godbus.UnixFDIndex(0), uint64(0)}, []int{0, 0, 0}},           // too many
		{"LoadImages", "ht", []any{godbus.UnixFDIndex(3), uint64(0)}, []int{0}},                 // another than came
		{"LoadImages", "ht", []any{godbus.UnixFDIndex(0), uint64(0)}, nil},                      // none came
		{"LoadImages", "ht", []any{godbus.UnixFDIndex(0), uint64(99)}, []int{int(source.Fd())}}, // unknown flags
		{"LoadImages", "ht", []any{godbus.UnixFDIndex(0), uint64(0)}, []int{int(null.Fd())}},    // a device
		{"LoadImages", "ut", []any{uint32(0), uint64(0)}, []int{0}},                             // no descriptor at all
		{"EnqueueJobWithFDs", "ssa{sv}a(sh)t", []any{"load", "", noOptions, []struct { // one twice
			N string
			I godbus.UnixFDIndex
		}{{"Source", 0}, {"Target", 0}}, uint64(0)}, []int{0, 0}},
		{"BuildImage", "hasa{sv}t", []any{godbus.UnixFDIndex(0), []string{}, noOptions, uint64(0)}, []int{0}}, // not there yet
		{"ListJobs", "", nil, []int{0, 0}},
		{"Nothing", "h", []any{godbus.UnixFDIndex(0)}, []int{0}},
	}
	for i := range 200 {
		h := hostile[i%len(hostile)]
		m := &godbus.Message{Type: godbus.TypeMethodCall, Body: h.body, Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldDestination: godbus.MakeVariant(davit.BusName), godbus.FieldPath: godbus.MakeVariant(root),
			godbus.FieldInterface: godbus.MakeVariant(manager), godbus.FieldMember: godbus.MakeVariant(h.member),
		}}
		if h.signature != "" {
			m.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.ParseSignatureMust(h.signature))
		}
		raw.send(t, m, h.fds)
		if answer := raw.answer(t); answer.Type != godbus.TypeError {
			t.Errorf("%s%v was not refused: %v", h.member, h.body, answer.Body)
		}
	}
	settle(t, before)
}
