// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

// openFDs counts this process's descriptors: the server's and the clients'.
func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// settle waits until no more descriptors are open than before.
func settle(t *testing.T, before int) {
	t.Helper()
	testutil.Eventually(t, 10*time.Second, "the descriptors are closed", func() bool { return openFDs(t) <= before })
}

func TestReturnedDescriptors(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	f.wait(t, conn, f.call(conn, "PullImage", "busybox", noOptions, uint64(0)))
	before := openFDs(t)
	job := conn.Object(davit.BusName, root+"/job/_32")
	for i := range 200 {
		var fd godbus.UnixFD
		if err := job.Call(davit.BusName+".Job.OpenOutput", 0, uint64(0)).Store(&fd); err != nil {
			t.Fatal(i, err)
		}
		if out := readAll(t, fd); !strings.Contains(out, "Pull complete") {
			t.Fatalf("output %d: %q", i, out)
		}
	}
	settle(t, before)
	// A caller that wants no reply gets no descriptor either.
	for range 200 {
		job.Call(davit.BusName+".Job.OpenOutput", godbus.FlagNoReplyExpected, uint64(0))
	}
	settle(t, before)
}

// TestAbandonedOutputs leaves the reading ends open and never reads.
func TestAbandonedOutputs(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	if err := f.call(conn, "PullImage", "slow", noOptions, uint64(0)).Err; err != nil {
		t.Fatal(err)
	}
	job := conn.Object(davit.BusName, root+"/job/_32")
	var open []godbus.UnixFD
	refused := ""
	for refused == "" && len(open) < 300 {
		var fd godbus.UnixFD
		if err := job.Call(davit.BusName+".Job.OpenOutput", 0, uint64(0)).Store(&fd); err != nil {
			refused = errorNameOf(err)
			continue
		}
		open = append(open, fd)
	}
	if refused != "org.freedesktop.DBus.Error.LimitsExceeded" {
		t.Errorf("%d outputs: %q", len(open), refused)
	}
	if err := f.stop(); err != nil {
		t.Errorf("open outputs hold up the end: %v", err)
	}
	close(f.release)
	for _, fd := range open {
		_ = syscall.Close(int(fd))
	}
}

func TestReceivedDescriptors(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	fd := godbus.UnixFD(0)
	tests := []struct {
		path   godbus.ObjectPath
		method string
		args   []any
	}{
		{root, "org.freedesktop.DBus.Peer.Ping", []any{fd}},
		{"/nowhere", "a.b.C", []any{fd, fd}},
		{root, manager + ".Nothing", []any{[]godbus.UnixFD{fd, fd, fd}}},
		{root, manager + ".GetJob", []any{fd}},
		{root, manager + ".PullImage", []any{"busybox", option("Platform", fd), uint64(0)}},
		{root, manager + ".RunContainer", []any{"busybox", "x", []string{}, option("Foo", []any{fd}), uint64(0)}},
		{root, manager + ".EnqueueJob", []any{"start", "x", option("Container", fd), uint64(0)}},
		{root, "org.freedesktop.DBus.Properties.Set", []any{manager, "Version", godbus.MakeVariant(fd)}},
	}
	before := openFDs(t)
	for i := range 200 {
		tt := tests[i%len(tests)]
		err := conn.Object(davit.BusName, tt.path).Call(tt.method, 0, tt.args...).Err
		if errorNameOf(err) == "" {
			t.Fatalf("%s with descriptors: %v", tt.method, err)
		}
	}
	settle(t, before)
}

// TestUnnamedDescriptors sends descriptors that the body does not name, which
// no library would, and bodies that name descriptors that are not there.
func TestUnnamedDescriptors(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	raw := dialRaw(t, f.address)
	if err := f.call(conn, "ListJobs").Err; err != nil {
		t.Fatal(err)
	}
	before := openFDs(t)
	for i := range 200 {
		m := &godbus.Message{Type: godbus.TypeMethodCall, Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldDestination: godbus.MakeVariant(davit.BusName), godbus.FieldPath: godbus.MakeVariant(root),
			godbus.FieldInterface: godbus.MakeVariant(manager), godbus.FieldMember: godbus.MakeVariant("ListJobs"),
		}}
		fds := []int{0, 0, 0}
		if i%2 == 1 {
			m.Body = []any{godbus.UnixFDIndex(7)}
			m.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.ParseSignatureMust("h"))
		}
		raw.send(t, m, fds)
	}
	raw.expect(t, 200)
	settle(t, before)
	if err := f.server.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLongCalls sends arguments that take much memory when they are decoded.
func TestLongCalls(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	long := make([]byte, 3<<20+1)
	for range 10 {
		for _, path := range []godbus.ObjectPath{root, "/"} {
			err := conn.Object(davit.BusName, path).Call("org.freedesktop.DBus.Introspectable.Introspect", 0, long).Err
			if errorNameOf(err) != "org.freedesktop.DBus.Error.LimitsExceeded" {
				t.Fatal(err)
			}
		}
	}
	for length, want := range map[int]string{60 << 10: "UnknownObject", 1 << 20: "LimitsExceeded", 20 << 20: "LimitsExceeded"} {
		path := godbus.ObjectPath("/" + strings.Repeat("x", length))
		if err := conn.Object(davit.BusName, path).Call(manager+".ListJobs", 0).Err; errorNameOf(err) != "org.freedesktop.DBus.Error."+want {
			t.Errorf("a path of %d bytes: %.200v", length, err)
		}
	}
	if err := conn.Object(davit.BusName, root).Call(manager+".ListJobs", 0, long[:1<<20]).Err; errorNameOf(err) != "org.freedesktop.DBus.Error.InvalidArgs" {
		t.Error(err)
	}
	if err := f.call(conn, "ListJobs").Err; err != nil {
		t.Error(err)
	}
}

// rawClient speaks to the bus without a library.
type rawClient struct {
	conn   *net.UnixConn
	r      *bufio.Reader
	serial uint32
}

func dialRaw(t *testing.T, address string) *rawClient {
	t.Helper()
	path, _, _ := strings.Cut(strings.TrimPrefix(address, "unix:path="), ",")
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &rawClient{conn: conn, r: bufio.NewReader(conn)}
	uid := hex.EncodeToString(fmt.Append(nil, os.Geteuid()))
	for _, line := range []string{"\x00AUTH EXTERNAL " + uid, "NEGOTIATE_UNIX_FD"} {
		if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if answer, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(answer, "OK") && !strings.HasPrefix(answer, "AGREE") {
			t.Fatal(answer, err)
		}
	}
	if _, err := io.WriteString(conn, "BEGIN\r\n"); err != nil {
		t.Fatal(err)
	}
	c.send(t, &godbus.Message{Type: godbus.TypeMethodCall, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldDestination: godbus.MakeVariant("org.freedesktop.DBus"), godbus.FieldPath: godbus.MakeVariant(godbus.ObjectPath("/org/freedesktop/DBus")),
		godbus.FieldInterface: godbus.MakeVariant("org.freedesktop.DBus"), godbus.FieldMember: godbus.MakeVariant("Hello"),
	}}, nil)
	c.expect(t, 1)
	return c
}

func (c *rawClient) send(t *testing.T, m *godbus.Message, fds []int) {
	t.Helper()
	if len(fds) > 0 {
		m.Headers[godbus.FieldUnixFDs] = godbus.MakeVariant(uint32(len(fds)))
	}
	var buf bytes.Buffer
	if err := m.EncodeTo(&buf, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	c.serial++
	binary.LittleEndian.PutUint32(buf.Bytes()[8:], c.serial)
	var oob []byte
	if len(fds) > 0 {
		oob = syscall.UnixRights(fds...)
	}
	if _, _, err := c.conn.WriteMsgUnix(buf.Bytes(), oob, nil); err != nil {
		t.Fatal(err)
	}
}

// expect reads n answers.
func (c *rawClient) expect(t *testing.T, n int) {
	t.Helper()
	for range n {
		c.answer(t)
	}
}

// answer reads one.
func (c *rawClient) answer(t *testing.T) *godbus.Message {
	t.Helper()
	for {
		m, err := godbus.DecodeMessage(c.r)
		if err != nil {
			t.Fatal(err)
		}
		if m.Type != godbus.TypeSignal {
			return m
		}
	}
}

// fuzzCalls is how many calls TestWrongCalls makes.
const fuzzCalls = 10_000

// TestWrongCalls makes calls of all methods, and of none, on objects that are
// there and on others, with arguments of any types and any descriptors. Each
// must be answered, the service must live, and nothing may stay behind.
func TestWrongCalls(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	close(f.release)
	files := fuzzFiles(t)
	methods := slices.DeleteFunc(allMethods(t), func(m method) bool { // these may rightly wait
		return strings.HasSuffix(m.name, ".Wait") || strings.HasSuffix(m.name, ".WaitJob")
	})
	conns := []*godbus.Conn{f.client(t), f.client(t), f.clientOf(t, nobody), f.client(t)}
	for _, c := range conns {
		_ = f.call(c, "ListJobs").Err // the service has asked who it is
	}
	fds, goroutines := openFDs(t), runtime.NumGoroutine()
	var callers sync.WaitGroup
	for i, c := range conns {
		callers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for range fuzzCalls / len(conns) {
				fuzzCall(t, c, rnd, methods, files)
			}
		})
	}
	callers.Wait()
	if err := f.call(conns[0], "ListJobs").Err; err != nil {
		t.Error(err)
	}
	if err := f.server.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for _, j := range f.eng.Jobs() {
		if j.Snapshot().State != engine.Finished && j.Type() != "events" {
			t.Logf("job %d (%s) goes on", j.ID(), j.Type())
		}
	}
	settle(t, fds)
	testutil.Eventually(t, 10*time.Second, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	testutil.Eventually(t, 10*time.Second, "nothing is under way", func() bool { return f.busy.Load() == 0 })
}

// fuzzFiles returns descriptors of several kinds, none of which lets its reader
// wait.
func fuzzFiles(t *testing.T) (fds []godbus.UnixFD) {
	t.Helper()
	r, w := shellPipe(t)
	_ = w.Close()
	for name, flags := range map[string]int{"/dev/null": os.O_RDWR, "/etc": os.O_RDONLY, filepath.Join(t.TempDir(), "x"): os.O_RDWR | os.O_CREATE} {
		file, err := os.OpenFile(name, flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		fds = append(fds, fdOf(file))
	}
	return append(fds, fdOf(r))
}

// fuzzPaths returns the object that fits an interface, and others.
func fuzzPaths(iface string) []godbus.ObjectPath {
	fit := map[string]godbus.ObjectPath{
		"Manager": root, "Job": root + "/job/_31", "Container": containerObject, "Exec": execObject, "Image": imageObject,
		"Network": root + "/network/" + godbus.ObjectPath(networkID), "Volume": root + "/volume/data",
	}[strings.TrimPrefix(iface, davit.BusName+".")]
	others := []godbus.ObjectPath{"/", root, root + "/job", root + "/nothing", root + "/container/_zz", root + "/volume/none", "/org/freedesktop/LogControl1"}
	if fit == "" {
		return others
	}
	return append(others, fit, fit, fit, fit, fit, fit, fit, fit, fit, fit, fit, fit)
}

func fuzzCall(t *testing.T, c *godbus.Conn, rnd *rand.Rand, methods []method, files []godbus.UnixFD) {
	m := methods[rnd.IntN(len(methods))]
	name := m.name
	if rnd.IntN(50) == 0 {
		name += "X"
	}
	var args []any
	if rnd.IntN(3) > 0 { // right types, and any content
		for _, a := range m.in {
			args = append(args, randomOf(rnd, a, files))
		}
	} else {
		for range rnd.IntN(6) {
			args = append(args, randomValue(rnd, 3, files))
		}
	}
	paths := fuzzPaths(name[:strings.LastIndexByte(name, '.')])
	reply := c.Object(davit.BusName, paths[rnd.IntN(len(paths))]).Call(name, 0, args...)
	if e := errorNameOf(reply.Err); reply.Err != nil && (e == "" || e == "org.freedesktop.DBus.Error.NoReply") || e == davit.BusName+".Failed" {
		t.Errorf("%s(%v): %s: %v", name, args, e, reply.Err)
	}
	closeReturned(reply.Body)
}

// closeReturned closes the descriptors of a reply.
func closeReturned(values []any) {
	for _, v := range values {
		switch v := v.(type) {
		case godbus.UnixFD:
			_ = syscall.Close(int(v))
		case []any:
			closeReturned(v)
		case [][]any:
			for _, one := range v {
				closeReturned(one)
			}
		}
	}
}

// method is a method and the types of its arguments.
type method struct {
	name string
	in   []string
}

func allMethods(t *testing.T) []method {
	t.Helper()
	files, err := filepath.Glob("xml/*.xml")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	var out []method
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var n introspect.Node
		if err := xml.Unmarshal(data, &n); err != nil {
			t.Fatal(err)
		}
		for _, i := range n.Interfaces {
			for _, m := range i.Methods {
				one := method{name: i.Name + "." + m.Name}
				for _, a := range m.Args {
					if a.Direction == "in" {
						one.in = append(one.in, a.Type)
					}
				}
				out = append(out, one)
			}
		}
	}
	return out
}

// randomOf returns a value of a type that the methods take.
func randomOf(rnd *rand.Rand, signature string, files []godbus.UnixFD) any {
	words := []string{"", "web", "busybox", "stop", "pull", "start", "volume_create", "load", "image_export", "auth", "reload", "stdout", "tty", "TAGS", "\u2028", strings.Repeat("x", 5000), manager}
	switch signature {
	case "s":
		return words[rnd.IntN(len(words))]
	case "u":
		return rnd.Uint32() % 4
	case "t":
		return rnd.Uint64() >> rnd.IntN(64)
	case "i":
		return int32(rnd.Uint32()) >> rnd.IntN(32)
	case "h":
		return files[rnd.IntN(len(files))]
	case "a(sh)":
		pairs := []namedFD{}
		for range rnd.IntN(3) {
			pairs = append(pairs, namedFD{[]string{"Source", "Target", "Auth", ""}[rnd.IntN(4)], files[rnd.IntN(len(files))]})
		}
		return pairs
	case "as":
		return words[:rnd.IntN(len(words))]
	case "v":
		return godbus.MakeVariant(randomValue(rnd, 3, files))
	case "a{sv}":
		keys := []string{"Container", "Timeout", "Signal", "Labels", "Platform", "Publish", "MemoryMax", "Environment", "Restart", "Nothing", "status", "Follow", "TTY", "SourcePath", "TargetPath", "Limit"}
		o := options{}
		for range rnd.IntN(4) {
			o[keys[rnd.IntN(len(keys))]] = godbus.MakeVariant(randomValue(rnd, 3, files))
		}
		return o
	}
	return randomValue(rnd, 3, files)
}

func randomValue(rnd *rand.Rand, depth int, files []godbus.UnixFD) any {
	n := 13
	if depth == 0 {
		n = 9
	}
	switch rnd.IntN(n) {
	case 0:
		return "web"
	case 1:
		return rnd.Uint32()
	case 2:
		return rnd.Uint64() >> rnd.IntN(64)
	case 3:
		return int32(rnd.Uint32())
	case 4:
		return rnd.IntN(2) == 0
	case 5:
		return godbus.ObjectPath("/a/b")
	case 6:
		return []string{"a", strings.Repeat("x", rnd.IntN(5000))}
	case 7:
		return rnd.Float64()
	case 8:
		return []byte{0xff, 0}
	case 12:
		return files[rnd.IntN(len(files))]
	case 9:
		return godbus.MakeVariant(randomValue(rnd, depth-1, files))
	case 10:
		return map[string]godbus.Variant{"Container": godbus.MakeVariant(randomValue(rnd, depth-1, files)), "Labels": godbus.MakeVariant(randomValue(rnd, depth-1, files))}
	}
	return struct{ A, B any }{godbus.MakeVariant(randomValue(rnd, depth-1, files)), uint64(0)}
}
