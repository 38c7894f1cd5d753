// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

const (
	nobody    = 65534
	policyXML = "../contrib/dbus/org.davit.Engine1.conf"
)

// systemBusConfig is what matters of dbus-daemon's system.conf, and the
// service's installed policy.
const systemBusConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>
<allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
<allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/></policy>
<include>POLICY</include></busconfig>`

// Users that every Debian has, with groups of their own, who stand for members
// of davit and davit-observers: dbus-daemon 1.14 asks the system for a user's
// groups, whatever the process has.
const (
	memberName   = "daemon"
	observerName = "bin"
)

// clientNamed connects as a user of the system.
func (b *bus) clientNamed(t *testing.T, name string) *godbus.Conn {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("needs user %s: %v", name, err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return b.clientOf(t, uid, uint32(gid))
}

// startSystemBus runs a bus with the policy that is installed, for groups that
// are there.
func startSystemBus(t *testing.T) *bus {
	t.Helper()
	policy, err := os.ReadFile(policyXML)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`group="davit"`, `group="`+memberName+`"`, `group="davit-observers"`, `group="`+observerName+`"`).Replace(string(policy))
	file := filepath.Join(t.TempDir(), "policy.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startBus(t, strings.ReplaceAll(systemBusConfig, "POLICY", file))
}

// clientOf connects as another user. The bus takes the credentials of the
// thread that connects (SO_PEERCRED and SO_PEERGROUPS of unix(7)), which are
// the thread's own: it ends with its goroutine.
func (b *bus) clientOf(t *testing.T, uid int, groups ...uint32) *godbus.Conn {
	t.Helper()
	var conn *godbus.Conn
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		conn, err = b.dialAs(uid, groups)
	}()
	<-done
	if err == nil {
		err = errors.Join(conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(uid))}), conn.Hello())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (b *bus) dialAs(uid int, groups []uint32) (*godbus.Conn, error) {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0); errno != 0 {
		return nil, errno
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
		return nil, errno
	}
	return godbus.Dial(b.address)
}

// judge decides by a function, and remembers whom it was asked about.
type judge struct {
	mu      sync.Mutex
	allow   func(engine.Caller, engine.Access) bool
	callers []engine.Caller
	actions []string
}

func (j *judge) Authorize(_ context.Context, c engine.Caller, a engine.Access) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.callers, j.actions = append(j.callers, c), append(j.actions, a.Action)
	switch {
	case j.allow(c, a):
		return nil
	case !c.Interactive:
		return davit.Errorf(davit.AuthenticationRequired, "%s needs authentication", a.Action)
	}
	return davit.Errorf(davit.AccessDenied, "%s is not allowed", a.Action)
}

// TestCallers looks at who the engine is told calls.
func TestCallers(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	j := &judge{allow: func(c engine.Caller, _ engine.Access) bool { return c.UID == 0 }}
	f.judge.Store(j)
	const group = 60001
	conn := f.clientOf(t, nobody, group)
	// A godbus object drops the flag.
	err := (<-conn.Send(&godbus.Message{
		Type: godbus.TypeMethodCall, Flags: godbus.FlagAllowInteractiveAuthorization,
		Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldDestination: godbus.MakeVariant(davit.BusName), godbus.FieldPath: godbus.MakeVariant(root),
			godbus.FieldInterface: godbus.MakeVariant(manager), godbus.FieldMember: godbus.MakeVariant("ListJobs"),
		},
	}, make(chan *godbus.Call, 1)).Done).Err
	if name := errorNameOf(err); name != "org.freedesktop.DBus.Error.AccessDenied" {
		t.Errorf("%s: %v", name, err)
	}
	err = f.call(conn, "StartContainer", "web", uint64(0)).Err
	if name := errorNameOf(err); name != "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" {
		t.Errorf("%s: %v", name, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.callers) != 2 {
		t.Fatalf("asked about %v", j.callers)
	}
	for i, c := range j.callers {
		if c.Transport != engine.Bus || c.UID != nobody || c.PID != os.Getpid() || c.Name != conn.Names()[0] || c.Interactive != (i == 0) {
			t.Errorf("call %d: %+v", i, c)
		}
		if c.GIDs != nil && !slices.Contains(c.GIDs, group) { // dbus-daemon before 1.15.8 does not tell
			t.Errorf("call %d: groups %v", i, c.GIDs)
		}
	}
}

// TestOwnJobs lets a user watch and cancel a job of theirs, and no other.
func TestOwnJobs(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	f.judge.Store(&judge{allow: func(c engine.Caller, a engine.Access) bool { return c.UID == 0 || a.Action == "" }})
	user, admin := f.clientOf(t, nobody), f.client(t)
	var own, other uint32
	var ownPath, otherPath godbus.ObjectPath
	if err := f.call(user, "PullImage", "slow", noOptions, uint64(0)).Store(&own, &ownPath); err != nil { // the fixture's type has no action
		t.Fatal(err)
	}
	job := user.Object(davit.BusName, ownPath)
	if v, err := job.GetProperty(davit.BusName + ".Job.OwnerUID"); err != nil || v.Value() != uint32(nobody) {
		t.Errorf("OwnerUID %v, %v", v, err)
	}
	if err := f.call(admin, "PullImage", "other", noOptions, uint64(0)).Store(&other, &otherPath); err != nil {
		t.Fatal(err)
	}
	for id, path := range map[uint32]godbus.ObjectPath{own: ownPath, other: otherPath} {
		refused := id == other
		if err := f.call(user, "GetJob", id).Err; (err != nil) != refused {
			t.Errorf("job %d: %v", id, err)
		}
		err := user.Object(davit.BusName, path).Call(davit.BusName+".Job.GetAfter", 0).Err
		if (err != nil) != refused {
			t.Errorf("job %d: %v", id, err)
		}
	}
	if err := f.call(user, "CancelJob", other).Err; err == nil {
		t.Error("another's job was cancelled")
	}
	if err := job.Call(davit.BusName+".Job.Cancel", 0).Err; err != nil {
		t.Error(err)
	}
	var result string
	var out options
	if err := f.call(user, "WaitJob", own).Store(&result, &out); err != nil || result != "canceled" {
		t.Error(result, out, err)
	}
}

// TestInstalledPolicy loads the policy of the package, and calls as several
// users whom the engine would let do everything.
func TestInstalledPolicy(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixtureOn(t, startSystemBus(t))
	f.judge.Store(&judge{allow: func(engine.Caller, engine.Access) bool { return true }})
	users := map[string]*godbus.Conn{"root": f.client(t), "member": f.clientNamed(t, memberName), "nobody": f.clientOf(t, nobody)}
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	const denied = "org.freedesktop.DBus.Error.AccessDenied"
	logControl := conn{"/org/freedesktop/LogControl1", "org.freedesktop.DBus.Properties"}
	tests := []struct {
		at     conn
		member string
		args   []any
		user   string // what others than root get; "" is nothing to complain of
	}{
		{conn{root, manager}, "ListJobs", nil, ""},
		{conn{root, manager}, "StartContainer", []any{"web", uint64(0)}, ""},
		{conn{root, manager}, "GetContainerByPIDFD", []any{fdOf(null)}, "org.freedesktop.DBus.Error.InvalidArgs"},
		{conn{root, manager}, "PullImage", []any{"busybox", option("Platform", fdOf(null)), uint64(0)}, denied},
		{conn{root, manager}, "Reload", nil, denied},
		{conn{root, manager}, "EnqueueJob", []any{"start", "web", noOptions, uint64(0)}, denied},
		{conn{root, manager}, "EnqueueJobWithFDs", []any{"start", "web", noOptions, []namedFD{}, uint64(0)}, denied},
		{conn{root, manager}, "Nothing", nil, denied},
		{conn{root, "org.freedesktop.DBus.Peer"}, "Ping", nil, ""},
		{conn{root, "org.freedesktop.DBus.Introspectable"}, "Introspect", nil, ""},
		{conn{root, "org.freedesktop.DBus.Properties"}, "GetAll", []any{manager}, ""},
		{logControl, "Get", []any{"org.freedesktop.LogControl1", "LogLevel"}, ""},
		{logControl, "Set", []any{"org.freedesktop.LogControl1", "LogLevel", godbus.MakeVariant("debug")}, denied},
	}
	for _, tt := range tests {
		for _, user := range []string{"member", "nobody"} {
			err := users[user].Object(davit.BusName, tt.at.path).Call(tt.at.iface+"."+tt.member, 0, tt.args...).Err
			if name := errorNameOf(err); name != tt.user || (err != nil && name == "") {
				t.Errorf("%s calls %s: %v (%s), not %q", user, tt.member, err, name, tt.user)
			}
		}
		err := users["root"].Object(davit.BusName, tt.at.path).Call(tt.at.iface+"."+tt.member, 0, tt.args...).Err
		if errorNameOf(err) == denied {
			t.Errorf("root calls %s: %v", tt.member, err)
		}
	}
	if v, err := users["root"].Object(davit.BusName, "/org/freedesktop/LogControl1").GetProperty("org.freedesktop.LogControl1.LogLevel"); err != nil || v.Value() != "debug" {
		t.Errorf("the log's level is %v, %v", v, err)
	}
	if _, err := users["member"].RequestName(davit.BusName+".Other", 0); err == nil {
		t.Error("a user owns a name")
	}
}

// conn is an interface of an object.
type conn struct {
	path  godbus.ObjectPath
	iface string
}

// TestSignalsAreNotForEverybody subscribes as several users.
func TestSignalsAreNotForEverybody(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixtureOn(t, startSystemBus(t))
	admin := f.client(t)
	nobodys := f.clientOf(t, nobody)
	member, observer, stranger := listen(t, f.clientNamed(t, memberName)), listen(t, f.clientNamed(t, observerName)), listen(t, nobodys)
	if result, _ := f.wait(t, admin, f.call(admin, "PullImage", "busybox", noOptions, uint64(0))); result != "done" {
		t.Fatal(result)
	}
	for name, signals := range map[string]chan *godbus.Signal{"member": member, "observer": observer} {
		t.Log(name, "waits")
		next(t, signals, manager+".JobRemoved")
	}
	// What the bus sends it sends in order: a stranger's answer comes after.
	if err := nobodys.Object(davit.BusName, root).Call("org.freedesktop.DBus.Peer.Ping", 0).Err; err != nil {
		t.Fatal(err)
	}
	for len(stranger) > 0 {
		if s := <-stranger; strings.HasPrefix(string(s.Path), string(root)) {
			t.Errorf("everybody hears of %s from %s", s.Name, s.Path)
		}
	}
}

// dawdler is asked for a permission and does not answer, as polkit while a user
// types a password. Root may.
type dawdler struct{ asked chan struct{} }

func (d dawdler) Authorize(ctx context.Context, c engine.Caller, _ engine.Access) error {
	if c.UID == 0 {
		return nil
	}
	d.asked <- struct{}{}
	<-ctx.Done()
	return davit.Errorf(davit.JobCanceled, "the caller left")
}

// TestOneUserCannotTakeAllCalls has a user make calls that wait for ever.
func TestOneUserCannotTakeAllCalls(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	const limit = 128
	d := dawdler{make(chan struct{}, limit+1)}
	f.eng.SetAuthorizer(d)
	first, second := f.clientOf(t, nobody), f.clientOf(t, nobody)
	calls := make(chan *godbus.Call, limit)
	for i := range limit {
		user := []*godbus.Conn{first, second}[i%2]
		user.Object(davit.BusName, root).Go(manager+".StartContainer", 0, calls, "web", uint64(0))
	}
	for range limit {
		<-d.asked
	}
	if err := f.call(second, "StartContainer", "web", uint64(0)).Err; errorNameOf(err) != "org.freedesktop.DBus.Error.LimitsExceeded" {
		t.Errorf("one more: %v", err)
	}
	if err := f.call(f.client(t), "StartContainer", "web", uint64(0)).Err; err != nil {
		t.Errorf("root: %v", err)
	}
	_ = first.Close() // half of the calls have nobody who waits
	testutil.Eventually(t, 10*time.Second, "calls of one who left to end", func() bool {
		done := make(chan *godbus.Call, 1)
		second.Object(davit.BusName, root).Go(manager+".StartContainer", 0, done, "web", uint64(0))
		select {
		case <-d.asked:
			return true
		case <-done:
			return false
		}
	})
}

// TestSecretsAreNotReadForEverybody passes a pipe into which nothing comes.
func TestSecretsAreNotReadForEverybody(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	f.eng.SetAuthorizer(&judge{allow: func(c engine.Caller, _ engine.Access) bool { return c.UID == 0 }})
	r, w := shellPipe(t)
	defer r.Close()
	defer w.Close()
	done := f.clientOf(t, nobody).Object(davit.BusName, root).Go(manager+".RegistryLogin", 0, make(chan *godbus.Call, 1), "registry.test", "joe", fdOf(r), uint64(0)).Done
	select {
	case c := <-done:
		if name := errorNameOf(c.Err); name != "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" {
			t.Error(c.Err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the secret of one who may not log in is waited for")
	}
}
