// SPDX-License-Identifier: Apache-2.0

package script

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/rogpeppe/go-internal/testscript"
)

// host is a daemon in a network namespace "inside", which is linked to
// another one, "outside", as a host is to its network.
type host struct {
	dir     string // everything of it
	bin     string
	inside  string
	outside string
	guest   bool   // the namespaces are another's
	bus     string // its address; "" for none
	daemon  *exec.Cmd
	exited  chan error
	log     *os.File
}

// patience bounds each wait for the daemon.
const patience = 20 * time.Second

const (
	insideAddress  = "192.0.2.2"
	outsideAddress = "192.0.2.1"
)

func (h *host) socket() string { return filepath.Join(h.dir, "davit.sock") }

// repository returns the module's root.
func repository(t testing.TB) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(filepath.Dir(wd))
}

// binaries returns the directory of the programs to test: those of
// DAVIT_BIN, or else freshly built ones.
func binaries(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("DAVIT_BIN"); dir != "" {
		return dir
	}
	command(t, "make", "-s", "-C", repository(t), "build")
	return filepath.Join(repository(t), "bin")
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// newHost makes the namespaces and starts a daemon. All of it goes at the end
// of the test, and what then is left of it fails the test.
func newHost(t testing.TB, flags ...string) *host {
	t.Helper()
	h := bareHost(t)
	h.start(t, flags...)
	h.importBusybox(t)
	return h
}

// bareHost is a host without a daemon, and without images.
func bareHost(t testing.TB) *host {
	t.Helper()
	testutil.RequireRoot(t)
	dir, err := os.MkdirTemp("", "davit-script-") //nolint:usetesting // short enough for sockets (unix(7)), and names the namespaces
	if err != nil {
		t.Fatal(err)
	}
	id := filepath.Base(dir)[len("davit-script-"):]
	h := &host{dir: dir, bin: binaries(t), inside: "dvi-" + id, outside: "dvo-" + id}
	t.Cleanup(func() { h.remove(t) })
	for _, ns := range []string{h.inside, h.outside} {
		command(t, "ip", "netns", "add", ns)
		command(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	command(t, "ip", "-n", h.outside, "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", h.inside)
	command(t, "ip", "-n", h.outside, "addr", "add", outsideAddress+"/24", "dev", "wan")
	command(t, "ip", "-n", h.inside, "addr", "add", insideAddress+"/24", "dev", "wan")
	for _, ns := range []string{h.inside, h.outside} {
		command(t, "ip", "-n", ns, "link", "set", "wan", "up")
	}
	command(t, "ip", "-n", h.inside, "route", "add", "default", "via", outsideAddress)
	return h
}

// neighbour starts a second engine on the same host.
func (h *host) neighbour(t testing.TB) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "davit-script-") //nolint:usetesting // as in newHost
	if err != nil {
		t.Fatal(err)
	}
	n := &host{dir: dir, bin: h.bin, inside: h.inside, outside: h.outside, guest: true}
	t.Cleanup(func() { n.remove(t) })
	n.start(t)
	n.importBusybox(t)
	return n
}

// start starts the daemon and waits for its answer.
func (h *host) start(t testing.TB, flags ...string) {
	t.Helper()
	h.launch(t, h.command(append([]string{"-H", "unix://" + h.socket()}, flags...)...))
	testutil.Eventually(t, patience, "the daemon to answer", func() bool {
		answer, err := h.ping()
		return err == nil && strings.HasPrefix(answer, "HTTP/1.0 200 ")
	})
}

// command is the daemon, not yet started: its pid will be that of the command.
func (h *host) command(flags ...string) *exec.Cmd {
	args := append([]string{
		"--net=/run/netns/" + h.inside, filepath.Join(h.bin, "davitd"),
		"--data-root", h.dir + "/lib", "--exec-root", h.dir + "/run", "--pidfile", h.dir + "/pid", "--launcher", "direct", "-D",
	}, flags...)
	c := exec.Command("nsenter", args...)
	c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+cmp.Or(h.bus, "unix:path="+h.dir+"/no-bus"))
	return c
}

// launch starts the daemon; it may not answer yet.
func (h *host) launch(t testing.TB, c *exec.Cmd) {
	t.Helper()
	var err error
	if h.log, err = os.OpenFile(filepath.Join(h.dir, "davitd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	h.daemon = c
	c.Stdout, c.Stderr = h.log, h.log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	h.exited = make(chan error, 1)
	go func(exited chan error) { exited <- c.Wait() }(h.exited)
}

// ping asks the daemon whether it is there and returns its answer, headers
// included.
func (h *host) ping() (string, error) {
	c, err := net.Dial("unix", h.socket())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "GET /_ping HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return string(answer), err
}

// tail is the end of the daemon's log.
func (h *host) tail() string {
	data, _ := os.ReadFile(filepath.Join(h.dir, "davitd.log"))
	return string(data[max(0, len(data)-6000):])
}

// end signals the daemon and returns how it exited.
func (h *host) end(t testing.TB, sig syscall.Signal) error {
	t.Helper()
	if err := h.daemon.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) { // it may have lost its bus
		t.Fatal(err)
	}
	select {
	case err := <-h.exited:
		h.log.Close()
		h.daemon = nil
		return err
	case <-time.After(patience):
		t.Fatalf("the daemon did not end in %v\n%s", patience, h.tail())
		return nil
	}
}

// dockerLimit bounds one command: a listening socket that nobody accepts on
// would keep it for ever.
const dockerLimit = 3 * time.Minute

// docker runs the docker CLI against the daemon.
func (h *host) docker(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerLimit)
	defer cancel()
	c := exec.CommandContext(ctx, "docker", args...)
	c.Env = h.env()
	out, err := c.CombinedOutput()
	return string(out), err
}

func (h *host) mustDocker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := h.docker(args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s\n%s", strings.Join(args, " "), err, out, h.tail())
	}
	return strings.TrimSpace(out)
}

func (h *host) env() []string {
	return append(os.Environ(), "DOCKER_HOST=unix://"+h.socket(), "DOCKER_CONFIG="+h.dir+"/docker", "DOCKER_CLI_HINTS=false",
		"INSIDE="+insideAddress, "OUTSIDE="+outsideAddress)
}

// importBusybox makes the image busybox:latest of Debian's busybox-static.
func (h *host) importBusybox(t testing.TB) {
	t.Helper()
	root := filepath.Join(h.dir, "busybox")
	for _, d := range []string{"bin", "etc", "tmp", "root", "home/joe", "var/www", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "cp", "/bin/busybox", root+"/bin/busybox")
	build := exec.Command("go", "build", "-o", root+"/bin/udpecho", "./udpecho")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build udpecho: %v\n%s", err, out)
	}
	command(t, "chroot", root, "/bin/busybox", "--install", "-s", "/bin")
	files := map[string]string{
		"etc/passwd":         "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000:joe:/home/joe:/bin/sh\n",
		"etc/group":          "root:x:0:\njoe:x:1000:\nstaff:x:50:joe\n",
		"var/www/index.html": "hello from davit\n", "var/www/notexec": "#!/bin/sh\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "tar", "-C", root, "-cf", h.dir+"/busybox.tar", ".")
	h.mustDocker(t, "import", "--change", `CMD ["sh"]`, "--change", "ENV PATH=/bin", h.dir+"/busybox.tar", "busybox:latest")
}

// remove ends everything and checks that nothing is left.
func (h *host) remove(t testing.TB) {
	t.Helper()
	if h.daemon != nil {
		if ids := strings.Fields(h.mustDocker(t, "ps", "-aq")); len(ids) > 0 {
			h.mustDocker(t, append([]string{"rm", "-f", "-v"}, ids...)...)
		}
		if err := h.end(t, syscall.SIGTERM); err != nil {
			t.Errorf("the daemon ended with %v\n%s", err, h.tail())
		}
		h.checkLeft(t)
	}
	if t.Failed() {
		t.Log(h.tail())
	}
	for _, ns := range []string{h.inside, h.outside} {
		if !h.guest {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	}
	if err := os.RemoveAll(h.dir); err != nil {
		t.Error(err)
	}
}

// checkLeft fails the test when a process, a mount, a cgroup or a link of the
// host outlives its containers.
func (h *host) checkLeft(t testing.TB) {
	t.Helper()
	var left string
	testutil.Eventually(t, patience, "everything of the containers to be gone, left: "+left, func() bool {
		left = h.left(t)
		return left == ""
	})
	if left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func (h *host) left(t testing.TB) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(h.dir)) {
		return "mounts of " + h.dir
	}
	if procs, _ := exec.Command("pgrep", "-f", h.dir+"/").Output(); len(procs) > 0 {
		return "processes " + strings.Join(strings.Fields(string(procs)), " ")
	}
	if dirs, _ := filepath.Glob(h.dir + "/run/containers/*"); len(dirs) > 0 {
		return "run-time directories " + strings.Join(dirs, " ")
	}
	if group := h.cgroup(t); group != "" {
		return "cgroup " + group
	}
	if links := command(t, "ip", "-n", h.inside, "-o", "link"); !h.guest && strings.Contains(links, "dvt") {
		return "links " + links
	}
	return ""
}

var containerID = regexp.MustCompile(`containers/([0-9a-f]{64})`)

// cgroup returns a cgroup of one of the containers that the daemon's log
// speaks of, if there is one left.
func (h *host) cgroup(t testing.TB) string {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(h.dir, "davitd.log"))
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	for _, m := range containerID.FindAllSubmatch(log, -1) {
		ours[string(m[1])] = true
	}
	found := ""
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && ours[d.Name()] {
			found = path
		}
		return nil // groups of others come and go meanwhile
	})
	return found
}

func TestScripts(t *testing.T) { newHost(t).scripts(t, "testdata") }

// Whoever looks at all events wants a host of his own.
func TestEvents(t *testing.T) { newHost(t).scripts(t, "testdata/events") }

// scripts runs the scripts of a directory on the host.
func (h *host) scripts(t *testing.T, dir string, environment ...string) {
	testscript.Run(t, testscript.Params{
		Dir:       dir,
		Condition: condition,
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, environment...)
			e.Vars = append(e.Vars, h.env()[len(os.Environ()):]...)
			e.Vars = append(e.Vars, "PATH="+os.Getenv("PATH"), "BIN="+h.bin, "NAME="+strings.ReplaceAll(filepath.Base(e.WorkDir), "script-", ""), "SOCKET="+h.socket(), "INSIDE_NS="+h.inside,
				"BLOCKDEV="+blockDevice())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    cmdCode,
			"retry":   cmdRetry,
			"inside":  func(ts *testscript.TestScript, neg bool, args []string) { inNamespace(ts, neg, h.inside, args) },
			"outside": func(ts *testscript.TestScript, neg bool, args []string) { inNamespace(ts, neg, h.outside, args) },
			"setenv":  cmdSetenv,
		},
	})
}

// condition is what a script may ask for: v2, cgroups of that version alone, and
// blockdev, that there is $BLOCKDEV, and journal, that journald listens.
func condition(name string) (bool, error) {
	switch name {
	case "v2":
		_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
		return err == nil, nil
	case "blockdev":
		return blockDevice() != "", nil
	case "journal":
		_, err := os.Stat("/run/systemd/journal/socket")
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// blockDevice is the node of a disk of this machine, "" when it has none that
// can be seen.
func blockDevice() string {
	disks, _ := filepath.Glob("/sys/block/*")
	for _, disk := range disks {
		node := filepath.Join("/dev", filepath.Base(disk))
		if info, err := os.Stat(node); err == nil && info.Mode()&os.ModeType == os.ModeDevice && !strings.HasPrefix(node, "/dev/zram") {
			return node
		}
	}
	return ""
}

// cmdCode runs a command that must exit with the given status.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d\nstderr: %s", got, want, ts.ReadFile("stderr"))
	}
}

// cmdRetry runs a command until it succeeds and its output matches the
// pattern, for at most 15 s.
func cmdRetry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: retry PATTERN COMMAND...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("no match for %q in 15 s: %v\n%s%s", args[0], err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
	}
}

func inNamespace(ts *testscript.TestScript, neg bool, ns string, args []string) {
	err := ts.Exec("nsenter", append([]string{"--net=/run/netns/" + ns}, args...)...)
	if (err != nil) != neg {
		ts.Fatalf("in %s: %s: %v\n%s", ns, strings.Join(args, " "), err, ts.ReadFile("stderr"))
	}
}

// cmdSetenv sets a variable to the trimmed output of the last command.
func cmdSetenv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: setenv NAME (of the last command's output)")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}
