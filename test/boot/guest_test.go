// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	"golang.org/x/sys/unix"
)

// Addresses of the two ends of the link between a guest and the world outside
// it: documentation addresses (RFC 5737), in a network namespace of the test's.
var (
	outsideAddr = netip.MustParsePrefix("192.0.2.1/24")
	guestAddr   = netip.MustParsePrefix("192.0.2.2/24")
)

// environment is what a guest's commands run with.
const environment = "/usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 " +
	"SYSTEMD_PAGER= SYSTEMD_COLORS=0 DOCKER_HOST=unix:///run/davit/davit.sock"

// limit is how long one command in a guest may take.
const limit = 90 * time.Second

// A machine boots a tree, in one way or another.
type machine interface {
	// boot returns when commands can be run. It leaves nothing when the test ends.
	// It can be called again when the guest has ended.
	boot(g *guest)
	// exec runs a script by bash, as root.
	exec(script string) (result, error)
	// fetch copies a file or directory of the guest's, which has ended, to this
	// machine and returns where it is.
	fetch(path string) (string, error)
}

// A guest is a Debian tree that was booted with real systemd.
type guest struct {
	t       *testing.T
	machine machine
	root    string // the tree, a copy that is the test's own
	netns   string // where the outside client lives; the machine's name as well
	ended   chan error
	slow    bool // an emulated processor: times say nothing
}

// result is what a command in a guest left.
type result struct {
	out  string // stdout and stderr
	code int
}

// boot boots a copy of the tree with the files and directories (by path in the
// guest) added.
// Outside of it is a network namespace of the test's.
func boot(t *testing.T, m machine, tree string, files map[string]string) *guest {
	t.Helper()
	name := fmt.Sprintf("davit-boot-%d", os.Getpid())
	g := &guest{t: t, machine: m, root: t.TempDir() + "/root", netns: name, ended: make(chan error, 1)}
	// A copy, and not an overlay: the containers' overlays would not mount on one.
	host(t, "cp", "-a", "--reflink=auto", tree, g.root)
	for path, source := range files {
		host(t, "mkdir", "-p", filepath.Dir(g.root+path))
		host(t, "cp", "-rL", source, g.root+path)
	}
	host(t, "ip", "netns", "add", g.netns)
	t.Cleanup(func() { host(t, "ip", "netns", "delete", g.netns) })
	g.outside("ip", "link", "set", "lo", "up")
	g.start()
	t.Cleanup(func() {
		if !t.Failed() || !g.running() {
			return
		}
		if r, err := m.exec("journalctl --no-pager --boot --output=short-monotonic --lines=200 | grep -F davit"); err == nil {
			t.Logf("the guest's journal of Davit:\n%s", r.out)
		}
	})
	return g
}

// start boots the guest; again, after it has ended.
func (g *guest) start() {
	g.t.Helper()
	g.machine.boot(g)
	g.eventually(2*time.Minute, "the guest's boot is complete", func() bool {
		state := strings.TrimSpace(g.run("systemctl is-system-running 2>/dev/null").out)
		return state == "running" || state == "degraded"
	})
}

// again boots the guest once more, with all that it has on disk.
func (g *guest) again() {
	g.t.Helper()
	select {
	case <-g.ended:
	default:
		g.t.Fatal("the guest has not ended")
	}
	_ = exec.Command("ip", "-netns", g.netns, "link", "delete", "outside0").Run() // it goes with its other end
	g.start()
}

// network gives both ends of the link their addresses.
func (g *guest) network() {
	g.t.Helper()
	g.outside("ip", "address", "add", outsideAddr.String(), "dev", "outside0")
	g.outside("ip", "link", "set", "outside0", "up")
	g.must(`ip link set lo up
ip address add ` + guestAddr.String() + ` dev wan0
ip link set wan0 up
ip route add default via ` + outsideAddr.Addr().String())
}

// run runs a script in the guest.
func (g *guest) run(script string) result {
	g.t.Helper()
	r, err := g.machine.exec("cd /\n" + script)
	if err != nil {
		g.t.Fatalf("cannot run a command in the guest: %v\n%s", err, script)
	}
	return r
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

// running says whether the guest has not ended yet.
func (g *guest) running() bool {
	select {
	case err := <-g.ended:
		g.ended <- err
		return false
	default:
		return true
	}
}

// supervise starts the process that is the guest and, when the test ends, sees
// that it has ended, by kill if need be.
func (g *guest) supervise(cmd *exec.Cmd, kill func()) {
	t := g.t
	t.Helper()
	console := t.TempDir() + "/console"
	file, err := os.Create(console)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot boot the tree: %v", err)
	}
	go func() { g.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if g.running() {
			kill()
		}
		if g.shutdown(10*time.Second) != nil && g.running() {
			_ = cmd.Process.Kill()
			_ = g.shutdown(10 * time.Second)
		}
		if text, err := os.ReadFile(console); err == nil && t.Failed() {
			t.Logf("console of the guest:\n%s", text)
		}
	})
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
	testutil.Eventually(g.t, within, what, func() bool {
		if !g.running() {
			g.t.Fatalf("the guest ended before: %s", what)
		}
		return holds()
	})
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
