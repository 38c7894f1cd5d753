// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// selfPortrait is a shell script that tells all that a process has of its container.
const selfPortrait = `
grep -E '^(Umask|Uid|Gid|Groups|SigBlk|SigIgn|Cap|NoNewPrivs|Seccomp)' /proc/self/status
cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj
for n in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$n; done
cat /proc/self/attr/current 2>/dev/null
tr '\0' '\n' < /proc/self/environ
pwd
ls /proc/$$/fd
grep Cpus_allowed_list /proc/self/status
`

// TestExecIsLikeTheFirst compares the process of an exec session with the
// container's first, which libcontainer has made.
func TestExecIsLikeTheFirst(t *testing.T) {
	h := newHost(t)
	config := func(f func(*davit.ContainerConfig)) func(*davit.Launch) {
		return func(l *davit.Launch) { f(&l.Container.Config) }
	}
	security := func(opts ...string) func(*davit.Launch) {
		return host1(func(c *davit.HostConfig) { c.SecurityOpt = opts })
	}
	for name, change := range map[string]func(*davit.Launch){
		"ordinary":        func(*davit.Launch) {},
		"privileged":      host1(func(c *davit.HostConfig) { c.Privileged = true }),
		"named user":      config(func(c *davit.ContainerConfig) { c.User = "someone" }),
		"numeric user":    config(func(c *davit.ContainerConfig) { c.User = "1234:5678" }),
		"user and group":  config(func(c *davit.ContainerConfig) { c.User = "someone:audio" }),
		"no capabilities": host1(func(c *davit.HostConfig) { c.CapDrop = []string{"ALL"} }),
		"one capability":  host1(func(c *davit.HostConfig) { c.CapDrop, c.CapAdd = []string{"ALL"}, []string{"SYS_PTRACE"} }),
		"no privileges":   security("no-new-privileges"),
		"unconfined":      security("seccomp=unconfined"),
		"no setgroups":    security(`seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["clone","clone3","fork","vfork","setsid"],"action":"SCMP_ACT_LOG"}]}`),
		"groups":          host1(func(c *davit.HostConfig) { c.GroupAdd = []string{"audio", "4711", "10"} }),
		"limits": host1(func(c *davit.HostConfig) {
			c.Ulimits = []davit.Ulimit{{Name: "nofile", Soft: 64, Hard: 128}, {Name: "core", Soft: 0, Hard: 0}}
		}),
		"oom score":     host1(func(c *davit.HostConfig) { c.OomScoreAdj = 321 }),
		"umask":         host1(func(c *davit.HostConfig) { c.Umask = new(uint32(0o077)) }),
		"host pids":     host1(func(c *davit.HostConfig) { c.PidMode = "host" }),
		"host IPC":      host1(func(c *davit.HostConfig) { c.IpcMode = "host" }),
		"host network":  func(l *davit.Launch) { l.OwnNetns, l.Container.HostConfig.NetworkMode = false, "host" },
		"host names":    host1(func(c *davit.HostConfig) { c.UTSMode = "host" }),
		"own cgroups":   host1(func(c *davit.HostConfig) { c.CgroupnsMode = "private" }),
		"read-only":     host1(func(c *davit.HostConfig) { c.ReadonlyRootfs = true }),
		"one processor": host1(func(c *davit.HostConfig) { c.CpusetCpus = "0" }),
		"environment, cwd": config(func(c *davit.ContainerConfig) {
			c.Env, c.WorkingDir = []string{"A=1", "PATH=/bin", "HOME="}, "/made/../tmp"
		}),
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			l := h.launch(selfPortrait+"echo END; sleep 60", change)
			p, err := h.rt.Create(t.Context(), l)
			h.must(err)
			var first, errs buffer
			attached := h.attach(p, davit.Streams{Stdout: &first, Stderr: &errs})
			h.must(p.Start(t.Context(), nil))
			h.until("the first process has told", func() bool { return strings.Contains(first.String(), "END") })
			further := h.exec(p, "/bin/sh", "-c", selfPortrait+"echo END")
			if diff := cmp.Diff(strings.Split(first.String(), "\n"), strings.Split(further, "\n")); diff != "" {
				t.Errorf("(-the first process +of an exec session): %s\n%s", errs.String(), diff)
			}
			if len(further) < 1000 {
				t.Errorf("that is all it told: %q", further)
			}
			h.must(p.Signal(t.Context(), 9, true))
			h.await(p)
			h.must(<-attached)
		})
	}
}

// TestExecPrivileged grants one session what its container has not.
func TestExecPrivileged(t *testing.T) {
	h := newHost(t)
	p := h.start(h.launch("sleep 60", func(l *davit.Launch) {
		l.Container.Config.User = "someone"
		l.Container.HostConfig.SecurityOpt = []string{"no-new-privileges"}
	}))
	all := h.run(h.launch("grep CapBnd /proc/self/status", host1(func(c *davit.HostConfig) { c.Privileged = true }))).out
	for user, want := range map[string]string{
		"0": "CapEff:" + strings.TrimPrefix(all, "CapBnd:") + all, "someone": "CapEff:\t0000000000000000\n" + all,
	} {
		x, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"grep", "-E", "CapEff|CapBnd|NoNewPrivs", "/proc/self/status"}, User: user, Privileged: true, AttachStdout: true})
		h.must(err)
		var out buffer
		h.must(x.Attach(t.Context(), davit.Streams{Stdout: &out}, nil))
		if got := out.String(); got != want+"NoNewPrivs:\t0\n" {
			t.Errorf("as %s:\n%swant\n%s", user, got, want)
		}
	}
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
}

// TestExecRefused checks what a program that cannot be run is refused with, and
// that it is only what the user did.
func TestExecRefused(t *testing.T) {
	h := newHost(t)
	p := h.start(h.launch("mkdir -m 700 /closed; sleep 60", func(l *davit.Launch) {
		l.Container.HostConfig.GroupAdd = []string{"audio"}
	}))
	h.until("the directory is there", func() bool {
		return h.exec(p, "test", "-d", "/closed") == "" && strings.Contains(h.exec(p, "ls", "/"), "closed")
	})
	const prefix = "cannot exec in container NAME: unable to start container process: "
	for _, tc := range []struct {
		exec   davit.Exec
		want   string
		denied bool
	}{
		{davit.Exec{Cmd: []string{"nosuch"}}, prefix + `exec: "nosuch": executable file not found in $PATH`, false},
		{davit.Exec{Cmd: []string{"noexec"}}, prefix + `exec: "noexec": executable file not found in $PATH`, false},
		{davit.Exec{Cmd: []string{"/nosuch"}}, prefix + `exec: "/nosuch": stat /nosuch: no such file or directory`, false},
		{davit.Exec{Cmd: []string{"/etc/passwd/x"}}, prefix + `exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory`, false},
		{davit.Exec{Cmd: []string{"/bin/noexec"}}, prefix + `exec: "/bin/noexec": permission denied`, true},
		{davit.Exec{Cmd: []string{"./noexec"}, WorkingDir: "/bin"}, prefix + `exec: "./noexec": permission denied`, true},
		{davit.Exec{Cmd: []string{"/bin"}}, prefix + `exec: "/bin": is a directory`, true},
		{davit.Exec{Cmd: []string{""}}, prefix + `exec: "": executable file not found in $PATH`, false},
		{davit.Exec{Cmd: []string{"sh"}, Env: []string{"PATH=/nowhere"}}, prefix + `exec: "sh": executable file not found in $PATH`, false},
		{davit.Exec{Cmd: []string{"sh"}, Env: []string{"PATH"}}, prefix + `exec: "sh": executable file not found in $PATH`, false},
		{davit.Exec{Cmd: []string{"sh"}, Env: []string{"PATH=."}, WorkingDir: "/bin"}, prefix + `exec: "sh": cannot run executable found relative to current directory`, false},
		{davit.Exec{Cmd: []string{"sh"}, WorkingDir: "/nosuch"}, prefix + `chdir to cwd ("/nosuch") set in config.json failed: no such file or directory`, true},
		{davit.Exec{Cmd: []string{"sh"}, WorkingDir: "/etc/passwd"}, prefix + `chdir to cwd ("/etc/passwd") set in config.json failed: not a directory`, true},
		{davit.Exec{Cmd: []string{"sh"}, User: "nobody1"}, "cannot exec in container NAME: unable to find user nobody1: no matching entries in passwd file", true},
		{davit.Exec{Cmd: []string{"sh"}, User: "root:staff1"}, "cannot exec in container NAME: unable to find group staff1: no matching entries in group file", true},
		{davit.Exec{Cmd: []string{"sh"}, User: "2147483648"}, "cannot exec in container NAME: uids and gids must be in range 0-2147483647", true},
	} {
		_, err := p.Exec(t.Context(), tc.exec)
		if err == nil {
			t.Errorf("%+v: ran", tc.exec)
			continue
		}
		got := strings.Replace(err.Error(), p.(*Process).name, "NAME", 1)
		if got != tc.want || davit.CodeOf(err) != davit.StartFailed || errors.Is(err, os.ErrPermission) != tc.denied {
			t.Errorf("%v in %q as %q: %s (%v, denied %v)\nwant %s", tc.exec.Cmd, tc.exec.WorkingDir, tc.exec.User, got, davit.CodeOf(err), errors.Is(err, os.ErrPermission), tc.want)
		}
	}
	// Root may search it, and so the user begins there.
	x, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"pwd"}, User: "someone", WorkingDir: "/closed", AttachStdout: true})
	h.must(err)
	var out buffer
	h.must(x.Attach(t.Context(), davit.Streams{Stdout: &out}, nil))
	if out.String() != "/closed\n" {
		t.Errorf("in a directory that only root can search: %q", out.String())
	}
	// What is found, may be executed and is no program has begun.
	x, err = p.Exec(t.Context(), davit.Exec{Cmd: []string{"garbage"}, AttachStderr: true})
	h.must(err)
	var errs buffer
	h.must(x.Attach(t.Context(), davit.Streams{Stderr: &errs}, nil))
	if exit, err := x.Wait(t.Context()); err != nil || exit.Code != 255 || errs.String() != "exec /bin/garbage: exec format error\n" {
		t.Errorf("no program: %+v, %v, %q", exit, err, errs.String())
	}
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
}

// TestEnterLeaksNothing has programs try to get at what is the host's on the way
// by which they were run.
func TestEnterLeaksNothing(t *testing.T) {
	h := newHost(t)
	h.must(os.WriteFile(filepath.Join(h.root, "image/bin/self"), []byte("#!/proc/self/exe\n"), 0o755))
	for name, change := range map[string]func(*davit.Launch){
		"ordinary": func(*davit.Launch) {},
		"host pids": host1(func(c *davit.HostConfig) {
			c.PidMode, c.CapAdd = "host", []string{"SYS_PTRACE"}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			l := h.launch("sleep 60", change)
			p := h.start(l)
			// As the working directory, CVE-2024-21626; every path leads by a descriptor.
			for fd := range 20 {
				dir := "/proc/self/fd/" + strconv.Itoa(fd)
				for _, dir := range []string{dir, "/tmp/../" + dir} {
					if _, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"pwd"}, WorkingDir: dir}); !errors.Is(err, os.ErrPermission) {
						t.Errorf("in %s: %v", dir, err)
					}
				}
			}
			if name == "host pids" {
				_, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"pwd"}, WorkingDir: "/proc/" + strconv.Itoa(os.Getpid()) + "/root"})
				if err == nil || !strings.Contains(err.Error(), "outside of container mount namespace root") {
					t.Errorf("in the host's root: %v", err)
				}
			}
			// As the program, CVE-2019-5736: what runs then is davit-enter.
			x, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"/bin/self"}, AttachStderr: true})
			h.must(err)
			var errs buffer
			h.must(x.Attach(t.Context(), davit.Streams{Stderr: &errs}, nil))
			if exit, err := x.Wait(t.Context()); err != nil || exit.Code != 2 || !strings.HasPrefix(errs.String(), "usage: davit-enter") {
				t.Errorf("executed as what executed it: %+v, %v, %q", exit, err, errs.String())
			}
			var state protocol.State
			h.must(protocol.ReadFile(filepath.Join(h.rt.dir(l.Container.ID), protocol.StateFile), &state))
			place := filepath.Join("/proc", strconv.Itoa(state.Holder), "root", h.rt.dir(l.Container.ID), protocol.EnterPlace)
			if err := writeExecutable(t, place); !errors.Is(err, unix.EROFS) {
				t.Errorf("davit-enter as it is executed can be changed: %v", err)
			}
			if err := writeExecutable(t, binaries.enter); err != nil {
				t.Errorf("the file itself cannot, so that shows nothing: %v", err)
			}
			h.must(p.Signal(t.Context(), 9, true))
			h.await(p)
		})
	}
}

// writeExecutable changes a program by what is left of a process that executed
// it. It gives it the mode that it has: to open it for writing would be refused
// for another reason as long as something executes it.
func writeExecutable(t *testing.T, path string) error {
	t.Helper()
	want, err := os.Stat(path)
	if err != nil {
		return err
	}
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true} // stopped where it begins
	if err := cmd.Start(); err != nil {
		return err
	}
	var f *os.File
	testutil.Eventually(t, 10*time.Second, "the process executes the program", func() bool {
		if f, err = os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/exe"); err != nil {
			return false
		}
		got, err := f.Stat()
		if err == nil && os.SameFile(want, got) {
			return true
		}
		_ = f.Close()
		return false
	})
	defer f.Close()
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait() // it was killed
	return os.Chmod("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), want.Mode())
}

// TestOlderHolder is refused what its monitor could do once, in words that help.
func TestOlderHolder(t *testing.T) {
	requireRoot(t)
	conn, theirs, err := protocol.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	report := os.NewFile(uintptr(theirs), "report")
	cmd := exec.Command(binaries.monitor, "exec", t.TempDir(), newID())
	cmd.ExtraFiles = []*os.File{report}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := report.Close(); err != nil {
		t.Fatal(err)
	}
	var r protocol.Report
	if _, err := conn.Receive(&r); err != nil {
		t.Fatal(err)
	}
	if r.Error == nil || r.Error.Kind != protocol.KindUnsupported || !strings.Contains(r.Error.Message, "restart it") {
		t.Errorf("got %+v", r.Error)
	}
}

// TestExecFollowsTheFirst enters a container whose first process has gone to a
// cgroup below its own, as systemd does: no process can be in between.
func TestExecFollowsTheFirst(t *testing.T) {
	if !cgroup.Unified() {
		t.Skip("RequireUnified: needs cgroup v2")
	}
	h := newHost(t)
	p, err := h.rt.Create(t.Context(), h.launch(`cd /sys/fs/cgroup && mkdir inner && echo 1 > inner/cgroup.procs && echo +pids > cgroup.subtree_control && echo END; sleep 60`,
		host1(func(c *davit.HostConfig) { c.Privileged, c.CgroupnsMode = true, "private" })))
	h.must(err)
	var out, errs buffer
	attached := h.attach(p, davit.Streams{Stdout: &out, Stderr: &errs})
	h.must(p.Start(t.Context(), nil))
	h.until("it has moved", func() bool { return out.String() == "END\n" })
	if got := h.exec(p, "cat", "/proc/self/cgroup"); got != "0::/inner\n" {
		t.Errorf("in %q, stderr of the first process %q", got, errs.String())
	}
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
	h.must(<-attached)
}
