// SPDX-License-Identifier: Apache-2.0

package polkit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"go.uber.org/goleak"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/polkit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/service/access"
	"github.com/davit-engine/davit/service/drivertest"
)

// The test runs itself as another user, who connects to the bus or only lives.
const (
	asUser = "DAVIT_TEST_UID"
	onBus  = "DAVIT_TEST_BUS"
)

func TestMain(m *testing.M) {
	if uid, err := strconv.Atoi(os.Getenv(asUser)); err == nil {
		os.Exit(live(uid, os.Getenv(onBus)))
	}
	goleak.VerifyTestMain(m)
}

// live is a process of a user until its stdin ends. It prints its name on the
// bus, or a line without one.
func live(uid int, address string) int {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	name := "-"
	if address != "" {
		conn, err := godbus.Connect(address)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		name = conn.Names()[0]
	}
	fmt.Println(name)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// The users of the test's host, and their groups. The numbers are of nobody
// here.
var users = map[string]int{"davit": 54101, davit.ObserversGroup: 54102, "": 54103}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/>
<allow send_destination="*"/></policy></busconfig>`

// host is a bus with a polkitd that sees users, actions and rules of its own.
type host struct {
	dir, address string
	bus, polkitd *exec.Cmd
}

const polkitdPath = "/usr/lib/polkit-1/polkitd"

// The scripts make a private view of the file system. The bus lets nobody in
// who has no account; polkitd looks nowhere else for what it goes by.
const accounts = `set -e
mount --make-rprivate /
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
`

const runBus = accounts + `exec dbus-daemon --config-file="$1/bus.conf" --nofork --print-address`

const runPolkit = accounts + `
mkdir -p /etc/polkit-1/rules.d /usr/share/polkit-1/rules.d /usr/share/polkit-1/actions
mount --bind "$1/none" /etc/polkit-1/rules.d
mount --bind "$1/rules" /usr/share/polkit-1/rules.d
mount --bind "$1/actions" /usr/share/polkit-1/actions
exec "$2" --no-debug`

func newHost(t *testing.T) *host {
	t.Helper()
	testutil.RequireRoot(t)
	for _, tool := range []string{polkitdPath, "dbus-daemon", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	dir, err := os.MkdirTemp("", "davit-polkit-") //nolint:usetesting // short enough for a socket (unix(7)), and open to polkitd's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &host{dir: dir, address: "unix:path=" + dir + "/bus"}
	h.files(t)
	h.bus = h.startBus(t)
	h.startPolkit(t)
	return h
}

// files writes what polkitd goes by: the package's files, and one more rule.
func (h *host) files(t *testing.T) {
	t.Helper()
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	passwd, group := read("/etc/passwd"), read("/etc/group")
	for name, uid := range users {
		user := "user-" + strconv.Itoa(uid)
		passwd += fmt.Sprintf("%s:x:%d:%d::/:/bin/sh\n", user, uid, uid)
		group += fmt.Sprintf("%s:x:%d:\n", user, uid)
		if name != "" {
			group += fmt.Sprintf("%s:x:%d:%s\n", name, uid+100, user)
		}
	}
	for name, text := range map[string]string{
		"passwd": passwd, "group": group,
		"actions/org.davit.Engine1.policy": read(policyFile),
		"rules/org.davit.Engine1.rules":    read(rulesFile),
		"rules/10-no.rules": `polkit.addRule(function(action, subject) {
			if (action.id === "org.davit.Engine1.push-images") return polkit.Result.NO;
		});`,
		"none/readme": "", "bus.conf": strings.ReplaceAll(busConfig, "SOCKET", h.dir+"/bus"),
	} {
		path := filepath.Join(h.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// startBus runs a bus that starts no services.
func (h *host) startBus(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("unshare", "-m", "sh", "-c", runBus, "sh", h.dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("dbus-daemon does not start: %v", err)
	}
	return cmd
}

func (h *host) startPolkit(t *testing.T) {
	t.Helper()
	h.polkitd = exec.Command("unshare", "-m", "sh", "-c", runPolkit, "sh", h.dir, polkitdPath)
	h.polkitd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+h.address)
	h.polkitd.Stdout, h.polkitd.Stderr = t.Output(), t.Output()
	if err := h.polkitd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(h.polkitd) })
	h.await(t, true)
}

// await waits until polkit is on the bus, or is not.
func (h *host) await(t *testing.T, there bool) {
	t.Helper()
	conn, err := godbus.Connect(h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	testutil.Eventually(t, 20*time.Second, fmt.Sprintf("polkit on the bus: %v", there), func() bool {
		var owned bool
		if err := conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, "org.freedesktop.PolicyKit1").Store(&owned); err != nil {
			t.Fatal(err)
		}
		return owned == there
	})
}

// end kills a process that may have ended, or be stopped, and waits for it.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// process runs a process of a user, connected to the bus if address is one.
func process(t *testing.T, uid int, address string) (cmd *exec.Cmd, name string) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asUser+"="+strconv.Itoa(uid), onBus+"="+address)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		end(cmd)
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the process of uid %d does not start: %v", uid, err)
	}
	return cmd, strings.TrimSpace(line)
}

func peer(cmd *exec.Cmd, uid int) engine.Caller {
	return engine.Caller{Transport: engine.REST, Door: davit.DoorAPI, UID: uint32(uid), PID: cmd.Process.Pid}
}

// TestAuthority has the real polkitd sit the suite, for both kinds of callers.
func TestAuthority(t *testing.T) {
	for _, transport := range []string{engine.REST, engine.Bus} {
		t.Run(transport, func(t *testing.T) {
			drivertest.TestAuthority(t, func(t *testing.T) drivertest.Polkit { return sit(t, transport) })
		})
	}
}

func sit(t *testing.T, transport string) drivertest.Polkit {
	h := newHost(t)
	client := polkit.New(polkit.Options{Address: h.address, Answer: 2 * time.Second})
	t.Cleanup(func() { _ = client.Close() })
	var _ access.Authority = client
	as := func(t *testing.T, group string) (engine.Caller, *exec.Cmd) {
		uid := users[group]
		if transport == engine.Bus {
			cmd, name := process(t, uid, h.address)
			return engine.Caller{Transport: engine.Bus, UID: uint32(uid), Name: name}, cmd
		}
		cmd, _ := process(t, uid, "")
		return peer(cmd, uid), cmd
	}
	return drivertest.Polkit{
		Authority: client,
		As:        func(t *testing.T, group string) engine.Caller { c, _ := as(t, group); return c },
		Gone: func(t *testing.T) engine.Caller {
			c, cmd := as(t, "davit")
			end(cmd)
			return c
		},
		Remove: func(t *testing.T) { end(h.polkitd); h.await(t, false) },
		Hang: func(t *testing.T) {
			if err := h.polkitd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// TestPidOfAnotherUser asks for a process that took the pid of one that has
// gone: polkit must not take the one for the other.
func TestPidOfAnotherUser(t *testing.T) {
	h := newHost(t)
	client := polkit.New(polkit.Options{Address: h.address})
	defer client.Close()
	cmd, _ := process(t, users[""], "")
	who := peer(cmd, users["davit"])
	if allowed, err := client.Check(t.Context(), who, davit.ActionManageContainers, nil); allowed {
		t.Errorf("a process of another user passes for a member (%v)", err)
	}
	cmd, _ = process(t, users["davit"], "")
	who = peer(cmd, users[""])
	if allowed, err := client.Check(t.Context(), who, davit.ActionManageContainers, nil); allowed {
		t.Errorf("a member's process makes another user a member (%v)", err)
	}
}

// TestBusComesBack loses the bus between two questions.
func TestBusComesBack(t *testing.T) {
	h := newHost(t)
	client := polkit.New(polkit.Options{Address: h.address})
	defer client.Close()
	cmd, _ := process(t, users["davit"], "")
	who := peer(cmd, users["davit"])
	check := func(doing string) {
		t.Helper()
		if allowed, err := client.Check(t.Context(), who, davit.ActionInspect, nil); !allowed || err != nil {
			t.Fatalf("%s: %v, %v", doing, allowed, err)
		}
	}
	check("at first")
	end(h.polkitd)
	h.await(t, false)
	h.startPolkit(t)
	check("with another polkitd")
	end(h.polkitd)
	end(h.bus)
	h.bus = h.startBus(t)
	h.startPolkit(t)
	check("on another bus")
}

func TestNoBus(t *testing.T) {
	dir := t.TempDir()
	for name, address := range map[string]string{"no socket": "unix:path=" + dir + "/none", "no directory": "unix:path=" + dir + "/no/ne"} {
		t.Run(name, func(t *testing.T) {
			client := polkit.New(polkit.Options{Address: address})
			defer client.Close()
			who := engine.Caller{Transport: engine.REST, UID: uint32(os.Getuid()), PID: os.Getpid()}
			if allowed, err := client.Check(t.Context(), who, davit.ActionInspect, nil); allowed || davit.CodeOf(err) != davit.NoAuthority {
				t.Errorf("got %v, %v", allowed, err)
			}
		})
	}
}

// TestLeavingCancels checks that a question whose caller left is taken back.
func TestLeavingCancels(t *testing.T) {
	h := newHost(t)
	end(h.polkitd)
	h.await(t, false)
	conn, err := godbus.Connect(h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f := &forgetful{asked: make(chan string, 1), cancelled: make(chan string, 1)}
	if err := conn.Export(f, "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.PolicyKit1", godbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	client := polkit.New(polkit.Options{Address: h.address})
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := client.Check(ctx, engine.Caller{Transport: engine.REST, UID: uint32(os.Getuid()), PID: os.Getpid(), Interactive: true}, davit.ActionInspect, nil)
		answered <- err
	}()
	var id string
	select {
	case id = <-f.asked:
	case err := <-answered:
		t.Fatalf("polkit was not asked: %v", err)
	}
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := <-f.cancelled; got != id {
		t.Errorf("%q was cancelled, want %q", got, id)
	}
}

// forgetful is a polkit that never answers.
type forgetful struct{ asked, cancelled chan string }

// CheckAuthorization waits until it is cancelled.
func (f *forgetful) CheckAuthorization(_ struct {
	Kind    string
	Details map[string]godbus.Variant
}, _ string, _ map[string]string, flags uint32, id string,
) (out struct {
	A, B bool
	C    map[string]string
}, err *godbus.Error,
) {
	if flags != 1 {
		return out, godbus.NewError("org.freedesktop.PolicyKit1.Error.Failed", []any{"the caller is interactive"})
	}
	f.asked <- id
	got := <-f.cancelled
	f.cancelled <- got
	return out, godbus.NewError("org.freedesktop.PolicyKit1.Error.Cancelled", nil)
}

// CancelCheckAuthorization notes what was cancelled.
func (f *forgetful) CancelCheckAuthorization(id string) *godbus.Error {
	f.cancelled <- id
	return nil
}
