// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// Where the tests find a daemon that runs already, and the program for the
// containers that busybox has no applet for.
const (
	socketVariable = "DAVIT_TEST_SOCKET"
	echodVariable  = "DAVIT_TEST_ECHOD"
	slowVariable   = "DAVIT_TEST_SLOW"   // set where times say nothing
	insideVariable = "DAVIT_TEST_INSIDE" // this is the process in a network namespace of its own
)

// patience bounds each wait for the daemon; an emulated processor has more.
var patience = func() time.Duration {
	if os.Getenv(slowVariable) != "" {
		return 3 * time.Minute
	}
	return 30 * time.Second
}()

// image is what the containers are made of: busybox, echod, and users.
const image = "suite:latest"

// engine is the daemon that is tested.
type engine struct {
	socket  string
	cli     *client.Client
	cgroup2 bool
	systemd bool     // containers are units
	before  []string // containers of others
	dir     string
	daemon  *exec.Cmd // nil for one that ran before
	exited  chan error
}

// eng is the daemon of all tests; nil where none can be started.
var eng *engine

func TestMain(m *testing.M) {
	code, err := suite(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/client:", err)
		code = 1
	}
	os.Exit(code)
}

// suite runs the tests, in a network namespace of their own if the daemon is
// theirs too: what a published port listens on is then no one else's.
func suite(m *testing.M) (int, error) {
	socket := os.Getenv(socketVariable)
	if socket == "" && os.Geteuid() != 0 {
		return m.Run(), nil // which skips them
	}
	if socket == "" && os.Getenv(insideVariable) == "" {
		return inside()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	e, err := begin(ctx, socket)
	if e != nil {
		defer os.RemoveAll(e.dir)
	}
	if err != nil {
		return 1, err
	}
	eng = e
	code := m.Run()
	return code, e.end()
}

// inside runs these tests again, in a new network namespace.
func inside() (int, error) {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), insideVariable+"=1")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// begin connects to the daemon of the socket, or to one that it starts, and
// imports the image.
func begin(ctx context.Context, socket string) (*engine, error) {
	dir, err := os.MkdirTemp("", "davit-client-")
	if err != nil {
		return nil, err
	}
	e := &engine{socket: socket, dir: dir}
	if socket == "" {
		e.socket = dir + "/davit.sock"
		if err := e.launch(); err != nil {
			return e, err
		}
	}
	if e.cli, err = client.New(client.WithHost("unix://" + e.socket)); err != nil {
		return e, err
	}
	for {
		_, err := e.cli.Ping(ctx, client.PingOptions{})
		if err == nil {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-e.exited:
			return e, fmt.Errorf("the daemon has ended (%s)\n%s", e.daemon.ProcessState, e.log())
		case <-ctx.Done():
			return e, fmt.Errorf("the daemon does not answer: %w\n%s", err, e.log())
		}
	}
	info, err := e.cli.Info(ctx, client.InfoOptions{})
	if err != nil {
		return e, err
	}
	list, err := e.cli.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return e, err
	}
	for _, c := range list.Items {
		e.before = append(e.before, c.ID)
	}
	e.cgroup2, e.systemd = info.Info.CgroupVersion == "2", info.Info.CgroupDriver == "systemd"
	return e, e.importImage(ctx)
}

// launch starts a daemon beside the tests, which has a link to the world, as
// far as it can tell.
func (e *engine) launch() error {
	bin := os.Getenv("DAVIT_BIN")
	if bin == "" {
		if err := command("make", "-s", "-C", "../..", "build"); err != nil {
			return err
		}
		bin = "../../bin"
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "wan", "type", "veth", "peer", "name", "world"},
		{"addr", "add", "192.0.2.2/24", "dev", "wan"},
		{"link", "set", "wan", "up"},
		{"link", "set", "world", "up"},
		{"route", "add", "default", "via", "192.0.2.1"},
	} {
		if err := command("ip", args...); err != nil {
			return err
		}
	}
	log, err := os.Create(e.dir + "/davitd.log")
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(filepath.Join(bin, "davitd"), "-H", "unix://"+e.socket, "--data-root", e.dir+"/lib", "--exec-root", e.dir+"/run",
		"--pidfile", e.dir+"/pid", "--launcher", "direct", "-D")
	c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+e.dir+"/no-bus")
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return err
	}
	e.daemon, e.exited = c, make(chan error, 1)
	go func() { e.exited <- c.Wait() }()
	return nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// log is the end of what the daemon logged, if it is the tests' own.
func (e *engine) log() string {
	data, err := os.ReadFile(e.dir + "/davitd.log")
	if err != nil {
		return ""
	}
	return string(data[max(0, len(data)-6000):])
}

// end says what the tests have left, and ends the daemon if it is theirs.
func (e *engine) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := e.cli.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, e.log())
	}
	var left error
	for _, c := range list.Items {
		if slices.Contains(e.before, c.ID) {
			continue
		}
		left = errors.Join(left, fmt.Errorf("the container %s is left", strings.Join(c.Names, " ")))
		_, err := e.cli.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		left = errors.Join(left, err)
	}
	volumes, err := e.cli.VolumeList(ctx, client.VolumeListOptions{})
	for _, v := range volumes.Items {
		left = errors.Join(left, fmt.Errorf("the volume %s is left", v.Name))
	}
	_, remove := e.cli.ImageRemove(ctx, image, client.ImageRemoveOptions{Force: true, PruneChildren: true})
	left = errors.Join(left, err, remove)
	if e.daemon == nil {
		return left
	}
	if err := e.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return errors.Join(left, err)
	}
	select {
	case err := <-e.exited:
		left = errors.Join(left, err)
	case <-ctx.Done():
		return errors.Join(left, errors.New("the daemon does not end"), e.daemon.Process.Kill())
	}
	for left == nil {
		if what := e.left(); what == "" {
			break
		} else if ctx.Err() != nil {
			left = errors.New(what)
		}
	}
	return left
}

// left says what of the containers of a daemon that has ended is there still.
func (e *engine) left() string {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || bytes.Contains(mounts, []byte(e.dir)) {
		return "mounts of the engine are left"
	}
	if dirs, _ := filepath.Glob(e.dir + "/run/containers/*"); len(dirs) > 0 {
		return "run-time directories are left: " + strings.Join(dirs, " ")
	}
	procs, _ := exec.Command("pgrep", "-f", e.dir+"/").Output()
	if len(procs) > 0 {
		return "processes are left: " + strings.Join(strings.Fields(string(procs)), " ")
	}
	links, _ := exec.Command("ip", "-o", "link").Output()
	if bytes.Contains(links, []byte("dvt")) {
		return "links are left: " + string(links)
	}
	return ""
}

// importImage makes the image of the machine's busybox.
func (e *engine) importImage(ctx context.Context) error {
	archive, err := rootfs(e.dir)
	if err != nil {
		return err
	}
	out, err := e.cli.ImageImport(ctx, client.ImageImportSource{Source: archive, SourceName: "-"}, image, client.ImageImportOptions{
		Changes: []string{`CMD ["sh"]`, "ENV PATH=/bin", "ENV OF_THE_IMAGE=yes", "EXPOSE 7/tcp", "LABEL of.the.image=yes"},
	})
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(io.Discard, out)
	return err
}

// applets are those that the tests use; there are more.
var applets = strings.Fields(`[ awk base64 basename cat chmod chown cp cut date dd df dirname echo env expr false fold grep head
	hostname httpd id ifconfig ip kill ln ls mkdir mkfifo mknod mount mv nc nslookup od ping printf ps pwd readlink rm route
	sed seq sh sleep sort stat stty sync sysctl tail tee test timeout touch tr true tty umount uname wc wget xargs yes`)

// rootfs is the archive of the image's file system.
func rootfs(dir string) (io.Reader, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	echod := os.Getenv(echodVariable)
	if echod == "" {
		echod = dir + "/echod"
		build := exec.Command("go", "build", "-o", echod, "./echod")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cannot build echod: %w\n%s", err, out)
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	put := func(h tar.Header, content string) {
		h.Size = int64(len(content))
		err = errors.Join(err, w.WriteHeader(&h))
		_, werr := w.Write([]byte(content))
		err = errors.Join(err, werr)
	}
	for _, d := range []string{"bin", "etc", "root", "proc", "sys", "dev", "var", "var/www", "home", "home/joe", "data"} {
		put(tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}, "")
	}
	put(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, "")
	for name, path := range map[string]string{"bin/busybox": busybox, "bin/echod": echod} {
		data, rerr := os.ReadFile(path)
		err = errors.Join(err, rerr)
		put(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}, string(data))
	}
	for _, name := range applets {
		put(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}, "")
	}
	for _, f := range [][2]string{
		{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000:joe:/home/joe:/bin/sh\n"},
		{"etc/group", "root:x:0:\njoe:x:1000:\nstaff:x:50:joe\naudio:x:29:\n"},
		{"var/www/index.html", "hello\n"},
		{"data/of-the-image", "copied\n"},
	} {
		put(tar.Header{Typeflag: tar.TypeReg, Name: f[0], Mode: 0o644}, f[1])
	}
	return &out, errors.Join(err, w.Close())
}
