// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/google/go-cmp/cmp"
)

func TestRunExitCodes(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct {
		script   string
		code     int
		out, err string
	}{
		{"true", 0, "", ""},
		{"exit 3", 3, "", ""},
		{"echo out; echo err >&2; exit 7", 7, "out\n", "err\n"},
	} {
		t.Run(tc.script, func(t *testing.T) {
			h := h.in(t)
			r := h.run(h.launch(tc.script))
			if r.exit.Code != tc.code || r.out != tc.out || r.err != tc.err {
				t.Errorf("got code %d, stdout %q, stderr %q", r.exit.Code, r.out, r.err)
			}
		})
	}
	t.Run("signal", func(t *testing.T) {
		h := h.in(t)
		p := h.start(h.launch("sleep 60"))
		h.must(p.Signal(t.Context(), 9, false))
		if r := h.await(p); r.exit.Code != 137 {
			t.Errorf("got code %d, want 137", r.exit.Code)
		}
	})
	t.Run("not a program", func(t *testing.T) {
		h := h.in(t)
		r := h.run(h.launch("", command("/bin/garbage")))
		if r.exit.Code != 255 || !strings.Contains(r.err, "exec format error") {
			t.Errorf("got code %d, stderr %q", r.exit.Code, r.err)
		}
	})
}

func command(args ...string) func(*davit.Launch) {
	return func(l *davit.Launch) { l.Container.Path, l.Container.Args = args[0], args[1:] }
}

func user(u string) func(*davit.Launch) {
	return func(l *davit.Launch) { l.Container.Config.User = u }
}

// TestCreateFails checks the words, the code, and that nothing is left.
func TestCreateFails(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct {
		name   string
		change func(*davit.Launch)
		code   davit.Code
		want   string
		denied bool
	}{
		{"not in PATH", command("nosuch"), davit.StartFailed, `exec: "nosuch": executable file not found in $PATH`, false},
		{"no such file", command("/nosuch"), davit.StartFailed, `exec: "/nosuch": stat /nosuch: no such file or directory`, false},
		{"long and strange", command(strings.Repeat("/"+strings.Repeat("<", 200), 15)), davit.StartFailed, "no such file or directory", false},
		{"not executable", command("/bin/noexec"), davit.StartFailed, `exec: "/bin/noexec": permission denied`, true},
		{"a directory", command("/etc"), davit.StartFailed, `exec: "/etc": is a directory`, true},
		{"empty", command(""), davit.StartFailed, `exec: "": executable file not found in $PATH`, false},
		{"not executable in PATH", command("noexec"), davit.StartFailed, `exec: "noexec": executable file not found in $PATH`, false},
		{"unknown user", user("nosuch"), davit.InvalidConfiguration, "unable to find user nosuch: no matching entries in passwd file", false},
		{"unknown group", user("root:nosuch"), davit.InvalidConfiguration, "unable to find group nosuch: no matching entries in group file", false},
		{"long hostname", func(l *davit.Launch) { l.Hostname = strings.Repeat("a", 65) }, davit.InvalidConfiguration, "sethostname: invalid argument", false},
		{"in a file", func(l *davit.Launch) { l.Container.Config.WorkingDir = "/bin/noexec" }, davit.InvalidConfiguration, "not a directory", false},
		{"directory onto a file", mount("/etc", "/bin/noexec"), davit.StartFailed, "not a directory: Are you trying to mount a directory onto a file (or vice-versa)?", false},
		{"file onto a directory", mount("/etc/passwd", "/etc"), davit.StartFailed, "the expected type: /etc", false},
		{"ulimit above the host's", host1(func(c *davit.HostConfig) { c.Ulimits = []davit.Ulimit{{Name: "nofile", Soft: 1 << 40, Hard: 1 << 40}} }), davit.NotSupported, "cannot set ulimit nofile to 1099511627776: this host lets the engine give at most " + hardNofile(t), false},
		{"bad capability", host1(func(c *davit.HostConfig) { c.CapAdd = []string{"FLY"} }), davit.InvalidConfiguration, `unknown capability: "FLY"`, false},
		{"bad ulimit", host1(func(c *davit.HostConfig) { c.Ulimits = []davit.Ulimit{{Name: "wings"}} }), davit.InvalidConfiguration, "invalid ulimit type: wings", false},
		{"bad seccomp", host1(func(c *davit.HostConfig) { c.SecurityOpt = []string{"seccomp={"} }), davit.InvalidConfiguration, "cannot use the seccomp profile", false},
		{"bad sysctl", host1(func(c *davit.HostConfig) { c.Sysctls = map[string]string{"kernel.panic": "1"} }), davit.InvalidConfiguration, "kernel.panic", false},
		{"no layers", func(l *davit.Launch) { l.Rootfs.Lower = nil }, davit.Failed, "no layers", false},
		{"missing layer", func(l *davit.Launch) { l.Rootfs.Lower = []string{"/nosuch-layer"} }, davit.Failed, "/nosuch-layer", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := h.in(t)
			l := h.launch("true", tc.change)
			p, err := h.rt.Create(t.Context(), l)
			if err == nil {
				_ = p.Signal(t.Context(), 9, true)
				t.Fatal("it was created")
			}
			if !strings.Contains(err.Error(), tc.want) || davit.CodeOf(err) != tc.code || errors.Is(err, os.ErrPermission) != tc.denied {
				t.Errorf("got %s (denied: %v): %v\nwant %s: …%s", davit.CodeOf(err), errors.Is(err, os.ErrPermission), err, tc.code, tc.want)
			}
			if ids, _ := h.rt.Known(); len(ids) != 0 {
				t.Errorf("left in the exec root: %v", ids)
			}
		})
	}
}

func mount(source, target string) func(*davit.Launch) {
	return func(l *davit.Launch) {
		l.Container.Mounts = []davit.Mount{{Type: "bind", Source: source, Target: target, ReadWrite: true, Propagation: "rprivate"}}
	}
}

func host1(change func(*davit.HostConfig)) func(*davit.Launch) {
	return func(l *davit.Launch) { change(&l.Container.HostConfig) }
}

// TestContainerSees checks what a program in the container finds.
func TestContainerSees(t *testing.T) {
	h := newHost(t)
	source := filepath.Join(h.root, "source")
	h.must(os.MkdirAll(source, 0o755))
	h.must(os.WriteFile(filepath.Join(source, "file"), []byte("from the host\n"), 0o644))
	bind := func(rw bool) func(*davit.Launch) {
		return func(l *davit.Launch) {
			l.Container.Mounts = []davit.Mount{{Type: "bind", Source: source, Target: "/mnt/a", ReadWrite: rw}}
		}
	}
	for _, tc := range []struct {
		name, script string
		change       func(*davit.Launch)
		want         string
	}{
		{"hostname", "hostname; echo $HOSTNAME", nil, "box\nbox\n"},
		{"environment", "echo $HOME $PATH $A $B", func(l *davit.Launch) { l.Container.Config.Env = []string{"A=1", "B=x y"} }, "/root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin 1 x y\n"},
		{"no leaks", "env | grep -E 'DAVIT|NOTIFY|LISTEN|WATCHDOG'; ls /proc/self/fd | wc -l; echo $$", nil, "4\n1\n"},
		{"user", "id; echo $HOME", user("someone"), "uid=1000(someone) gid=1000(someone) groups=10(wheel),1000(someone)\n/home/someone\n"},
		{"numeric user", "id -u; id -g", user("1234:56"), "1234\n56\n"},
		{"extra groups", "id -G", host1(func(c *davit.HostConfig) { c.GroupAdd = []string{"audio", "77"} }), "0 29 77\n"},
		{"working directory", "pwd", func(l *davit.Launch) { l.Container.Config.WorkingDir = "/made/for/it" }, "/made/for/it\n"},
		{"generated files", "cat /etc/hosts; stat -c %a /etc/hosts", func(l *davit.Launch) {
			l.Files = []davit.File{{Target: "/etc/hosts", Content: []byte("127.0.0.1 box\n")}}
		}, "127.0.0.1 box\n644\n"},
		{"bind", "cat /mnt/a/file; echo more >> /mnt/a/new && cat /mnt/a/new", bind(true), "from the host\nmore\n"},
		{"bind read-only", "touch /mnt/a/x 2>/dev/null || echo refused", bind(false), "refused\n"},
		{"tmpfs", "df -m /t | awk 'END{print $2}'; grep -c ' /t tmpfs rw,nosuid,nodev,noexec' /proc/mounts", func(l *davit.Launch) {
			l.Container.Mounts = []davit.Mount{{Type: "tmpfs", Target: "/t", ReadWrite: true, Options: "size=5m"}}
		}, "5\n1\n"},
		{"shm", "df -m /dev/shm | awk 'END{print $2}'", host1(func(c *davit.HostConfig) { c.ShmSize = 7 << 20 }), "7\n"},
		{"read-only root", "touch /x 2>/dev/null || echo refused; touch /dev/shm/y && echo shm", host1(func(c *davit.HostConfig) { c.ReadonlyRootfs = true }), "refused\nshm\n"},
		{"ulimit", "ulimit -n", host1(func(c *davit.HostConfig) { c.Ulimits = []davit.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}} }), "100\n"},
		{"ulimit beyond the own", "ulimit -Hn", host1(func(c *davit.HostConfig) { c.Ulimits = []davit.Ulimit{{Name: "nofile", Soft: -1, Hard: -1}} }), hardNofile(t) + "\n"},
		{"oom score below the own", "cat /proc/self/oom_score_adj", host1(func(c *davit.HostConfig) { c.OomScoreAdj = -1000 }), ""},
		{"sysctl", "cat /proc/sys/net/ipv4/ip_default_ttl", host1(func(c *davit.HostConfig) { c.Sysctls = map[string]string{"net.ipv4.ip_default_ttl": "42"} }), "42\n"},
		{"low ports and pings", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range", nil, "0\n0\t2147483647\n"},
		{"low ports by the user's word", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", host1(func(c *davit.HostConfig) { c.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "81"} }), "81\n"},
		{"masked", "cat /proc/keys /proc/timer_list | wc -c; touch /proc/sys/kernel/x 2>/dev/null || echo refused", nil, "0\nrefused\n"},
		{"capabilities", "grep CapEff /proc/self/status", nil, "CapEff:\t00000000a80425fb\n"},
		{"no capabilities", "grep CapBnd /proc/self/status", host1(func(c *davit.HostConfig) { c.CapDrop = []string{"ALL"} }), "CapBnd:\t0000000000000000\n"},
		{"one capability", "grep CapEff /proc/self/status", host1(func(c *davit.HostConfig) { c.CapDrop, c.CapAdd = []string{"all"}, []string{"net_admin"} }), "CapEff:\t0000000000001000\n"},
		{"capabilities of a user", "grep -E 'CapEff|CapBnd' /proc/self/status", user("someone"), "CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n"},
		{"seccomp", "grep ^Seccomp: /proc/self/status", nil, "Seccomp:\t2\n"},
		{"seccomp unconfined", "grep ^Seccomp: /proc/self/status", host1(func(c *davit.HostConfig) { c.SecurityOpt = []string{"seccomp=unconfined"} }), "Seccomp:\t0\n"},
		{"seccomp profile", "mkdir /d 2>/dev/null || echo refused; true", host1(func(c *davit.HostConfig) {
			c.SecurityOpt = []string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`}
		}), "refused\n"},
		{"no-new-privileges", "grep NoNewPrivs /proc/self/status", host1(func(c *davit.HostConfig) { c.SecurityOpt = []string{"no-new-privileges"} }), "NoNewPrivs:\t1\n"},
		{"privileged", "grep ^Seccomp: /proc/self/status; touch /sys/x 2>&1 | grep -c Read-only; mount -t tmpfs t /tmp && echo mounted", host1(func(c *davit.HostConfig) { c.Privileged = true }), "Seccomp:\t0\n0\nmounted\n"},
		{"device nodes", "mknod /n c 1 3 && echo x > /n && echo null; mknod /disk b 254 0 2>/dev/null || echo refused", nil, "null\nrefused\n"},
		{"device nodes by name", "mknod /disk b 254 0 && echo made", host1(func(c *davit.HostConfig) { c.CapAdd = []string{"mknod"} }), "made\n"},
		{"own network", "ip -o link | wc -l", nil, "1\n"},
		{"devices", "ls /dev | grep -v core | tr '\\n' ' '; dd if=/dev/zero of=/dev/null bs=1 count=1 2>/dev/null && echo ok", nil, "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ok\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := h.in(t)
			if strings.Contains(tc.want, "Seccomp:\t0") && confined(t) {
				t.Skip("RequireUnconfined: the test itself is under a seccomp filter, which is inherited")
			}
			change := tc.change
			if change == nil {
				change = func(*davit.Launch) {}
			}
			r := h.run(h.launch(tc.script, change))
			if tc.name == "oom score below the own" {
				tc.want = r.out // the host decides; it must only start
			}
			if r.exit.Code > 1 || r.out != tc.want {
				t.Errorf("code %d, stderr %q, %s", r.exit.Code, r.err, cmp.Diff(tc.want, r.out))
			}
		})
	}
}

// confined tells whether a seccomp filter, such as systemd-nspawn's, is on the test.
func confined(t *testing.T) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(status, []byte("\nSeccomp:\t2"))
}

func hardNofile(t *testing.T) string {
	out, err := exec.Command("sh", "-c", "ulimit -n $(cat /proc/sys/fs/nr_open) 2>/dev/null; ulimit -Hn").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestManyLayers(t *testing.T) {
	h := newHost(t)
	l := h.launch("cat /data/layer-* | wc -l")
	const layers = 120
	for i := range layers {
		// Long names, and characters that mount options are separated by.
		dir := filepath.Join(h.root, "layers", strings.Repeat("long,name:", 5)+strconv.Itoa(i))
		h.must(os.MkdirAll(filepath.Join(dir, "data"), 0o755))
		h.must(os.WriteFile(filepath.Join(dir, "data", "layer-"+strconv.Itoa(i)), []byte("x\n"), 0o644))
		l.Rootfs.Lower = append([]string{dir}, l.Rootfs.Lower...)
	}
	if r := h.run(l); r.out != strconv.Itoa(layers)+"\n" {
		t.Errorf("got %q of %d layers, stderr %q", r.out, layers, r.err)
	}
}

func TestTerminal(t *testing.T) {
	h := newHost(t)
	l := h.launch("stty size; read x; echo got $x; stty size; tty 2>/dev/null; echo $TERM", func(l *davit.Launch) {
		l.Container.Config.Tty, l.Container.Config.OpenStdin = true, true
		l.Container.HostConfig.ConsoleSize = [2]uint{24, 80}
	})
	p, err := h.rt.Create(t.Context(), l)
	h.must(err)
	in, theirs, err := os.Pipe()
	h.must(err)
	defer theirs.Close()
	var out buffer
	attached := h.attach(p, davit.Streams{Stdin: in, Stdout: &out})
	h.must(p.Start(t.Context(), nil))
	h.until("the first size is printed", func() bool { return strings.Contains(out.String(), "24 80\r\n") })
	h.must(p.Resize(t.Context(), 50, 132))
	_, err = theirs.WriteString("hello\n")
	h.must(err)
	r := h.await(p)
	h.must(<-attached)
	want := "24 80\r\nhello\r\ngot hello\r\n50 132\r\n"
	if !strings.HasPrefix(out.String(), want) || !strings.HasSuffix(out.String(), "xterm\r\n") || r.exit.Code != 0 {
		t.Errorf("code %d, output %q", r.exit.Code, out.String())
	}
	log, err := os.ReadFile(l.LogPath)
	h.must(err)
	if !strings.Contains(string(log), `"log":"got hello\r\n","stream":"stdout"`) {
		t.Errorf("log: %s", log)
	}
}

// TestStdin checks when a container's input ends.
func TestStdin(t *testing.T) {
	h := newHost(t)
	stdin := func(open, once bool) func(*davit.Launch) {
		return func(l *davit.Launch) { l.Container.Config.OpenStdin, l.Container.Config.StdinOnce = open, once }
	}
	t.Run("not open", func(t *testing.T) {
		h := h.in(t)
		if r := h.run(h.launch("cat; echo end")); r.out != "end\n" {
			t.Errorf("got %q", r.out)
		}
	})
	t.Run("once", func(t *testing.T) {
		h := h.in(t)
		p, err := h.rt.Create(t.Context(), h.launch("cat; echo end", stdin(true, true)))
		h.must(err)
		var out buffer
		text := strings.Repeat("a line of input\n", 50_000)
		attached := h.attach(p, davit.Streams{Stdin: strings.NewReader(text), Stdout: &out})
		h.must(p.Start(t.Context(), nil))
		h.await(p)
		h.must(<-attached)
		if out.String() != text+"end\n" {
			t.Errorf("got %d bytes, want %d", len(out.String()), len(text)+4)
		}
	})
	t.Run("kept open", func(t *testing.T) {
		h := h.in(t)
		p := h.start(h.launch("read a; echo $a; read b; echo $b", stdin(true, false)))
		var first, second buffer
		a := h.attach(p, davit.Streams{Stdin: strings.NewReader("one\n"), Stdout: &first})
		h.until("the first line is echoed", func() bool { return first.String() == "one\n" })
		b := h.attach(p, davit.Streams{Stdin: strings.NewReader("two\n"), Stdout: &second})
		h.await(p)
		h.must(<-a)
		h.must(<-b)
		if first.String() != "one\ntwo\n" || second.String() != "two\n" {
			t.Errorf("got %q and %q", first.String(), second.String())
		}
	})
	t.Run("detach", func(t *testing.T) {
		h := h.in(t)
		p := h.start(h.launch("cat; echo end", stdin(true, true)))
		in, theirs, err := os.Pipe()
		h.must(err)
		defer theirs.Close()
		var out buffer
		attached := h.attach(p, davit.Streams{Stdin: in, Stdout: &out}, 16, 17)
		_, err = theirs.Write([]byte("ab\n\x10c\n\x10\x11"))
		h.must(err)
		h.must(<-attached)
		h.until("the input before the keys arrives", func() bool { return out.String() == "ab\n\x10c\n" || len(out.String()) < 6 })
		var again buffer
		attached = h.attach(p, davit.Streams{Stdin: strings.NewReader("still\n"), Stdout: &again})
		h.await(p)
		h.must(<-attached)
		if again.String() != "still\nend\n" && !strings.HasSuffix(again.String(), "still\nend\n") {
			t.Errorf("after detaching: %q", again.String())
		}
	})
}

// TestSlowClient checks that a client that reads slowly gets everything, though
// the container has ended long before.
func TestSlowClient(t *testing.T) {
	h := newHost(t)
	p, err := h.rt.Create(t.Context(), h.launch("seq 1 30000"))
	h.must(err)
	gate := make(chan struct{})
	out := &gated{gate: gate}
	attached := h.attach(p, davit.Streams{Stdout: out})
	h.must(p.Start(t.Context(), nil))
	select {
	case err := <-attached:
		t.Fatalf("Attach returned early: %v", err)
	case <-time.After(300 * time.Millisecond): // the container waits for its reader
	}
	close(gate)
	h.await(p)
	h.must(<-attached)
	if n := strings.Count(out.String(), "\n"); n != 30000 {
		t.Errorf("got %d lines, want 30000", n)
	}
}

// TestSlowClientAfterExit is the same for output that fits into the pipes: the
// exit is told at once.
func TestSlowClientAfterExit(t *testing.T) {
	h := newHost(t)
	p, err := h.rt.Create(t.Context(), h.launch("seq 1 20000"))
	h.must(err)
	gate := make(chan struct{})
	out := &gated{gate: gate}
	attached := h.attach(p, davit.Streams{Stdout: out})
	h.must(p.Start(t.Context(), nil))
	begin := time.Now()
	h.await(p)
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("the exit was told after %v", d)
	}
	close(gate)
	h.must(<-attached)
	if n := strings.Count(out.String(), "\n"); n != 20000 {
		t.Errorf("got %d lines, want 20000", n)
	}
}

type gated struct {
	buffer
	gate <-chan struct{}
}

func (g *gated) Write(p []byte) (int, error) {
	<-g.gate
	return g.buffer.Write(p)
}

// TestExec runs further processes in a container.
func TestExec(t *testing.T) {
	h := newHost(t)
	p := h.start(h.launch("sleep 60", func(l *davit.Launch) {
		l.Container.Config.Env = []string{"A=1", "B=2"}
		l.Container.Config.WorkingDir = "/tmp"
	}))
	for _, tc := range []struct {
		name string
		exec davit.Exec
		in   string
		out  string
		err  string
		code int
	}{
		{name: "shell", exec: davit.Exec{Cmd: []string{"sh", "-c", "echo out; echo err >&2; exit 4"}}, out: "out\n", err: "err\n", code: 4},
		{name: "environment", exec: davit.Exec{Cmd: []string{"sh", "-c", "echo $A $B $C $HOSTNAME; pwd"}, Env: []string{"B=3", "C=4"}}, out: "1 3 4 box\n/tmp\n"},
		{name: "user", exec: davit.Exec{Cmd: []string{"id"}, User: "someone", WorkingDir: "/"}, out: "uid=1000(someone) gid=1000(someone) groups=10(wheel),1000(someone)\n"},
		{name: "stdin", exec: davit.Exec{Cmd: []string{"cat"}, AttachStdin: true}, in: "hello", out: "hello"},
		{name: "no stdin", exec: davit.Exec{Cmd: []string{"cat"}}},
		{name: "signal", exec: davit.Exec{Cmd: []string{"sh", "-c", "kill -9 $$"}}, code: 137},
		{name: "same namespaces", exec: davit.Exec{Cmd: []string{"sh", "-c", "cat /proc/1/comm; ip -o link | wc -l"}}, out: "sleep\n1\n"},
		{name: "tty", exec: davit.Exec{Cmd: []string{"sh", "-c", "stty size; echo $TERM"}, Tty: true, ConsoleSize: [2]uint{30, 90}}, out: "30 90\r\nxterm\r\n"},
		{name: "many arguments", exec: davit.Exec{Cmd: []string{"sh", "-c", "echo ${#1}", "sh", strings.Repeat("x", 100_000)}}, out: "100000\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := h.in(t)
			x := tc.exec
			x.AttachStdout, x.AttachStderr = true, !x.Tty
			e, err := p.Exec(t.Context(), x)
			h.must(err)
			var out, errs buffer
			s := davit.Streams{Stdout: &out, Stderr: &errs}
			if x.AttachStdin {
				s.Stdin = strings.NewReader(tc.in)
			}
			h.must(<-h.attach(e, s))
			exit, err := e.Wait(t.Context())
			h.must(err)
			if exit.Code != tc.code || out.String() != tc.out || errs.String() != tc.err {
				t.Errorf("code %d, stdout %q, stderr %q", exit.Code, out.String(), errs.String())
			}
		})
	}
	t.Run("missing command", func(t *testing.T) {
		_, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"nosuch"}, AttachStdout: true})
		if davit.CodeOf(err) != davit.StartFailed || !strings.Contains(err.Error(), `exec: "nosuch": executable file not found in $PATH`) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not executable", func(t *testing.T) {
		if _, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"/bin/noexec"}}); !errors.Is(err, os.ErrPermission) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("unknown user", func(t *testing.T) {
		_, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"id"}, User: "nosuch"})
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "unable to find user nosuch: no matching entries in passwd file") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("relative directory", func(t *testing.T) {
		_, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"id"}, WorkingDir: "tmp"})
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "absolute") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ends with the container", func(t *testing.T) {
		h := h.in(t)
		e, err := p.Exec(t.Context(), davit.Exec{Cmd: []string{"sleep", "60"}})
		h.must(err)
		h.must(p.Signal(t.Context(), 9, true))
		exit, err := e.Wait(t.Context())
		if err == nil && exit.Code != 137 || err != nil && !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %+v, %v", exit, err)
		}
		h.await(p)
	})
}

// TestRestart checks the restart policies, and that the network namespace
// stays the same.
func TestRestart(t *testing.T) {
	h := newHost(t)
	policy := func(name string, retries int) func(*davit.Launch) {
		return host1(func(c *davit.HostConfig) {
			c.RestartPolicy = davit.RestartPolicy{Name: name, MaximumRetryCount: retries}
		})
	}
	t.Run("on-failure", func(t *testing.T) {
		h := h.in(t)
		begin := time.Now()
		r := h.run(h.launch("echo run >> /tmp/runs; readlink /proc/self/ns/net; wc -l < /tmp/runs; exit 5", policy("on-failure", 2)))
		var got []davit.Status
		for _, u := range r.updates {
			got = append(got, u.Status)
		}
		want := []davit.Status{"created", "running", "restarting", "running", "restarting", "running", "exited"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		last := r.updates[len(r.updates)-1]
		if last.Exit.Code != 5 || last.Restarts != 2 || last.Exit.At.IsZero() {
			t.Errorf("last update: %+v", last)
		}
		if d := time.Since(begin); d < 300*time.Millisecond {
			t.Errorf("three runs in %v: no back-off of 100 and 200 ms", d)
		}
	})
	t.Run("on-failure without a failure", func(t *testing.T) {
		h := h.in(t)
		if r := h.run(h.launch("exit 0", policy("on-failure", 0))); len(r.updates) != 3 {
			t.Errorf("updates: %+v", r.updates)
		}
	})
	t.Run("always, until stopped", func(t *testing.T) {
		h := h.in(t)
		l := h.launch("readlink /proc/self/ns/net; echo done", policy("always", 0))
		p := h.start(l)
		var u davit.Update
		for u.Restarts < 2 {
			u = h.next(p, davit.StatusRunning)
		}
		h.until("it can be stopped", func() bool { return p.Signal(t.Context(), 9, true) == nil })
		r := h.await(p)
		if last := r.updates[len(r.updates)-1]; last.Status != davit.StatusExited {
			t.Errorf("last update: %+v", last)
		}
		log, err := os.ReadFile(l.LogPath)
		h.must(err)
		namespaces := map[string]bool{}
		for line := range strings.Lines(string(log)) {
			if _, ns, ok := strings.Cut(line, "net:["); ok {
				namespaces[ns[:10]] = true
			}
		}
		if len(namespaces) != 1 {
			t.Errorf("the runs were in %d network namespaces:\n%s", len(namespaces), log)
		}
	})
	t.Run("stopped while the next run is made", func(t *testing.T) {
		h := h.in(t)
		for i := range 12 { // the run is made 100 ms after the end, in some 20 ms
			p := h.start(h.launch("exit 3", policy("always", 0)))
			h.next(p, davit.StatusRestarting)
			<-time.After(98*time.Millisecond + time.Duration(i)*2*time.Millisecond)
			if err := p.Signal(t.Context(), 15, true); err != nil {
				t.Fatal(err)
			}
			r := h.await(p)
			last := r.updates[len(r.updates)-1]
			// The code is of the run before, or of the new one, whose first process has no
			// default action for the signal.
			if last.Status != davit.StatusExited || last.Exit.Code != 3 || last.Exit.Error != "" {
				t.Errorf("stopped %d ms after its end: last update: %+v", 98+2*i, last)
			}
		}
	})
	t.Run("the program vanishes", func(t *testing.T) {
		h := h.in(t)
		r := h.run(h.launch("rm /bin/sh; exit 1", policy("always", 0)))
		last := r.updates[len(r.updates)-1]
		if last.Status != davit.StatusExited || !strings.Contains(last.Exit.Error, "no such file") {
			t.Errorf("last update: %+v", last)
		}
	})
}

// TestLimits checks limits and what happens at them.
func TestLimits(t *testing.T) {
	h := newHost(t)
	limits := host1(func(c *davit.HostConfig) {
		c.Memory, c.PidsLimit, c.NanoCPUs, c.CPUShares, c.CpusetCpus = 32<<20, new(int64(20)), 1.5e9, 512, "0"
	})
	t.Run("set", func(t *testing.T) {
		h := h.in(t)
		files, want := "memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus", "33554432\n20\n150000\n512\n0\n"
		if cgroup.Unified() {
			files, want = "memory.max memory.swap.max pids.max cpu.max cpuset.cpus", "33554432\n33554432\n20\n150000 100000\n0\n"
		}
		r := h.run(h.launch("cd /sys/fs/cgroup; cat "+files, limits))
		if r.out != want {
			t.Errorf("stderr %q, %s", r.err, cmp.Diff(want, r.out))
		}
	})
	t.Run("out of memory", func(t *testing.T) {
		h := h.in(t)
		r := h.run(h.launch("head -c 100m /dev/zero | tail > /dev/null; exit 9", limits, command("/bin/busybox", "sh", "-c", "x=$(busybox head -c 200m /dev/zero | busybox tr '\\0' 'x'); echo ${#x}")))
		if !r.exit.OOMKilled || r.exit.Code == 0 {
			t.Errorf("exit %+v, stdout %q, stderr %q", r.exit, r.out, r.err)
		}
	})
	t.Run("not out of memory", func(t *testing.T) {
		h := h.in(t)
		if r := h.run(h.launch("exit 137", limits)); r.exit.OOMKilled {
			t.Errorf("exit %+v", r.exit)
		}
	})
}
