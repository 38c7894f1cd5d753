// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Addresses of the two ends of the link between a guest and the world outside
// it: documentation addresses (RFC 5737), in a network namespace of the test's.
var (
	outsideAddr = netip.MustParsePrefix("192.0.2.1/24")
	guestAddr   = netip.MustParsePrefix("192.0.2.2/24")
)

// A guest is a Debian tree that was booted with real systemd.
type guest struct {
	t     *testing.T
	name  string
	root  string // the tree, a copy that is the test's own
	netns string // where the outside client lives
	cmd   *exec.Cmd
	ended chan error // gets nspawn's exit, once
	init  int        // the guest's PID 1, as seen from here
}

// result is what a command in a guest left.
type result struct {
	out  string // stdout and stderr
	code int
}

// hierarchies are the mounts of cgroup v1, and of the cgroup v2 beside them, on
// a machine that has them and no systemd to keep them.
func hierarchies() []string {
	if underSystemd() {
		return nil
	}
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for i := range dirs {
		dirs[i] = filepath.Dir(dirs[i])
	}
	return dirs
}

// underSystemd is sd_booted(3).
func underSystemd() bool {
	_, err := os.Lstat("/run/systemd/system")
	return err == nil
}

// boot boots a copy of the tree. The guest is killed, and everything that it
// was made of removed, when the test ends.
func boot(t *testing.T, tree string) *guest {
	t.Helper()
	name := fmt.Sprintf("davit-boot-%d", os.Getpid())
	g := &guest{t: t, name: name, root: filepath.Join(t.TempDir(), "root"), netns: name, ended: make(chan error, 1)}
	// A copy, and not an overlay: the containers' overlays would not mount on one.
	host(t, "cp", "-a", "--reflink=auto", tree, g.root)
	host(t, "ip", "netns", "add", g.netns)
	t.Cleanup(func() { host(t, "ip", "netns", "delete", g.netns) })
	g.outside("ip", "link", "set", "lo", "up")
	g.outside("ip", "link", "add", "outside0", "type", "veth", "peer", "name", "wan0")
	g.outside("ip", "address", "add", outsideAddr.String(), "dev", "outside0")
	g.outside("ip", "link", "set", "outside0", "up")
	g.start()
	g.prepare()
	return g
}

// start runs systemd-nspawn until the guest's systemd is reached.
//
// The options, each found to be needed for a container engine inside:
//
//   - --capability=all, and @keyring and bpf: libcontainer joins a session
//     keyring and, on cgroup v2, loads device filters.
//   - A cgroup of the test's own in every hierarchy: the guest's cgroup
//     namespace begins there, so what it leaves is found and removed.
//   - --private-network, and one end of a link moved in afterwards:
//     --network-interface looks for it in /sys, which shows another namespace.
//   - --keep-unit where PID 1 is not systemd: nobody could make a scope.
func (g *guest) start() {
	t := g.t
	t.Helper()
	args := []string{
		"--quiet", "--directory=" + g.root, "--register=no", "--machine=" + g.name,
		"--private-network", "--console=pipe", "--capability=all", "--system-call-filter=@keyring bpf",
	}
	if !underSystemd() {
		args = append(args, "--keep-unit")
	}
	script := `for d in ` + strings.Join(hierarchies(), " ") + `; do
	mkdir -p "$d/$NAME"
	case $d in */cpuset)
		cat "$d/cpuset.cpus" >"$d/$NAME/cpuset.cpus"
		cat "$d/cpuset.mems" >"$d/$NAME/cpuset.mems"
		echo 1 >"$d/$NAME/cgroup.clone_children" ;;
	esac
	echo $$ >"$d/$NAME/cgroup.procs"
done
exec systemd-nspawn "$@" --boot`
	g.cmd = exec.Command("sh", append([]string{"-euc", script, "sh"}, args...)...)
	g.cmd.Env = append(os.Environ(), "NAME="+g.name)
	var console bytes.Buffer
	g.cmd.Stdout, g.cmd.Stderr = &console, &console
	if err := g.cmd.Start(); err != nil {
		t.Fatalf("cannot boot the tree: %v", err)
	}
	go func() { g.ended <- g.cmd.Wait() }()
	t.Cleanup(func() {
		g.kill()
		if t.Failed() {
			t.Logf("console of the guest:\n%s", console.String())
		}
		g.removeCgroups()
		_ = os.Remove(filepath.Join("/run/systemd/nspawn/propagate", g.name))
	})
	children := fmt.Sprintf("/proc/%d/task/%d/children", g.cmd.Process.Pid, g.cmd.Process.Pid)
	g.eventually(20*time.Second, "systemd runs in the guest", func() bool {
		list, err := os.ReadFile(children)
		if err != nil {
			return false
		}
		for pid := range strings.FieldsSeq(string(list)) {
			comm, err := os.ReadFile("/proc/" + pid + "/comm")
			if err == nil && strings.TrimSpace(string(comm)) == "systemd" {
				g.init, err = strconv.Atoi(pid)
				return err == nil
			}
		}
		return false
	})
}

// prepare waits for the end of the boot and does what a virtual machine would
// not need: nspawn mounts v1 controllers read-only.
func (g *guest) prepare() {
	g.t.Helper()
	g.eventually(60*time.Second, "the guest's boot is complete", func() bool {
		state := strings.TrimSpace(g.run("systemctl is-system-running 2>/dev/null").out)
		return state == "running" || state == "degraded"
	})
	g.outside("ip", "link", "set", "wan0", "netns", strconv.Itoa(g.init))
	g.must(`for d in /sys/fs/cgroup/*/tasks; do [ ! -e "$d" ] || mount -o remount,rw,bind "${d%/tasks}"; done
ip link set lo up
ip address add ` + guestAddr.String() + ` dev wan0
ip link set wan0 up
ip route add default via ` + outsideAddr.Addr().String())
}

// run runs a script in the guest's namespaces, beside its processes.
func (g *guest) run(script string) result {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	pid := strconv.Itoa(g.init)
	cmd := exec.CommandContext(ctx, "nsenter", "--target", pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"/usr/bin/env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
		"SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", "DOCKER_HOST=unix:///run/davit/davit.sock",
		"/bin/bash", "-euc", "cd /\n"+script)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return result{out: string(out)}
	case errors.As(err, &exit):
		return result{out: string(out), code: exit.ExitCode()}
	}
	g.t.Fatalf("cannot run a command in the guest: %v", err)
	return result{}
}

// must runs a script that has to succeed, and returns its output, trimmed.
func (g *guest) must(script string) string {
	g.t.Helper()
	r := g.run(script)
	if r.code != 0 {
		g.t.Fatalf("in the guest: exit %d of\n%s\n%s", r.code, script, r.out)
	}
	return strings.TrimSpace(r.out)
}

// property reads one property of a unit.
func (g *guest) property(unit, name string) string {
	g.t.Helper()
	return g.must("systemctl show --value --property=" + name + " " + unit)
}

// shutdown waits for the guest to end by itself.
func (g *guest) shutdown(within time.Duration) error {
	select {
	case err := <-g.ended:
		g.ended <- err
		return err
	case <-time.After(within):
		return fmt.Errorf("the guest has not ended within %v", within)
	}
}

func (g *guest) kill() {
	select {
	case err := <-g.ended:
		g.ended <- err
		return
	default:
	}
	if g.init > 0 {
		_ = unix.Kill(g.init, unix.SIGKILL)
	}
	select {
	case err := <-g.ended:
		g.ended <- err
	case <-time.After(10 * time.Second):
		_ = g.cmd.Process.Kill()
		g.ended <- <-g.ended
	}
}

// removeCgroups removes what the guest left in the hierarchies.
func (g *guest) removeCgroups() {
	for _, dir := range hierarchies() {
		top := filepath.Join(dir, g.name)
		_ = exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
	}
}

// outside runs a command in the network namespace outside the guest.
func (g *guest) outside(args ...string) string {
	g.t.Helper()
	return host(g.t, append([]string{"nsenter", "--net=/run/netns/" + g.netns}, args...)...)
}

// dial connects from outside the guest.
func (g *guest) dial(address string) (net.Conn, error) {
	type dialled struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialled, 1)
	go func() {
		// The thread is in another network namespace afterwards: it is not
		// unlocked, so it ends with the goroutine.
		runtime.LockOSThread()
		conn, err := func() (net.Conn, error) {
			ns, err := os.Open("/run/netns/" + g.netns)
			if err != nil {
				return nil, err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("cannot enter %s: %w", g.netns, err)
			}
			return net.DialTimeout("tcp", address, 5*time.Second)
		}()
		done <- dialled{conn, err}
	}()
	d := <-done
	return d.conn, d.err
}

// eventually polls until what holds, and fails the test when it does not.
func (g *guest) eventually(within time.Duration, what string, holds func() bool) {
	g.t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case err := <-g.ended:
			g.ended <- err
			g.t.Fatalf("the guest ended (%v) before: %s", err, what)
		case <-deadline.C:
			g.t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

// host runs a command on this machine that has to succeed.
func host(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
