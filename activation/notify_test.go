// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// manager is systemd's end of the notify socket.
type manager struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func newManager(t *testing.T) (*manager, *Systemd) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for _, name := range captured {
		t.Setenv(name, "")
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return &manager{t: t, path: path, conn: conn}, s
}

// receive returns the next datagram and the descriptors that came with it.
func (m *manager) receive() (string, []int) {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	text, rights := make([]byte, 4096), make([]byte, 4096)
	n, oobn, _, _, err := m.conn.ReadMsgUnix(text, rights)
	if err != nil {
		m.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err != nil {
		m.t.Fatal(err)
	}
	var fds []int
	for _, message := range messages {
		got, err := unix.ParseUnixRights(&message)
		if err != nil {
			m.t.Fatal(err)
		}
		fds = append(fds, got...)
	}
	return string(text[:n]), fds
}

func TestNotify(t *testing.T) {
	m, s := newManager(t)
	if !s.Supervised() || s.WatchdogInterval() != 30*time.Second {
		t.Errorf("supervised %v, watchdog %v", s.Supervised(), s.WatchdogInterval())
	}
	for _, name := range captured {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%s is still in the environment", name, v)
		}
	}
	tests := []struct {
		send func() error
		want string
	}{
		{func() error { return s.Ready("Listening on 2 sockets.") }, "READY=1\nSTATUS=Listening on 2 sockets."},
		{func() error { return s.Status("a\nMAINPID=1\r\n") }, "STATUS=a MAINPID=1"},
		{func() error { return s.Stopping("Waiting for 3 jobs") }, "STOPPING=1\nSTATUS=Waiting for 3 jobs"},
		{func() error { return s.Extend(30 * time.Second) }, "EXTEND_TIMEOUT_USEC=30000000"},
		{func() error { return s.Fatal(fmt.Errorf("cannot bind: %w", unix.EADDRINUSE), "org.example.Failed") }, "STATUS=cannot bind: address already in use\nERRNO=98\nBUSERROR=org.example.Failed"},
		{func() error { return s.Fatal(errors.New("odd"), "") }, "STATUS=odd\nERRNO=5"},
		{func() error { return s.Trigger("lost count") }, "WATCHDOG=trigger\nSTATUS=lost count"},
		{func() error { return s.DropFDs("state") }, "FDSTOREREMOVE=1\nFDNAME=stored-state"},
	}
	for _, tt := range tests {
		if err := tt.send(); err != nil {
			t.Fatal(err)
		}
		got, _ := m.receive()
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if err := s.Reloading(); err != nil {
		t.Fatal(err)
	}
	got, _ := m.receive()
	usec, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.ParseInt(usec, 10, 64); !ok || err != nil || n > now.Nano()/1000 || n < now.Nano()/1000-10e6 {
		t.Errorf("got %q at %d", got, now.Nano()/1000)
	}
	for _, bad := range []string{"READY=1\nMAINPID=1", "READY", "STATUS=\x00"} {
		if err := s.Notify(bad); err == nil {
			t.Errorf("%q was sent", bad)
		}
	}
}

func TestBarrier(t *testing.T) {
	m, s := newManager(t)
	done := make(chan error, 1)
	go func() { done <- s.Barrier(t.Context()) }()
	text, fds := m.receive()
	if text != "BARRIER=1" || len(fds) != 1 {
		t.Fatalf("got %q and %d descriptors", text, len(fds))
	}
	select {
	case err := <-done:
		t.Fatalf("returned before the other end was closed: %v", err)
	default:
	}
	unix.Close(fds[0])
	if err := <-done; err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- s.Barrier(ctx) }()
	_, fds = m.receive()
	defer unix.Close(fds[0])
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestStoreFDs(t *testing.T) {
	m, s := newManager(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := s.StoreFDs("state", w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	text, fds := m.receive()
	if text != "FDSTORE=1\nFDNAME=stored-state" || len(fds) != 1 {
		t.Fatalf("got %q and %d descriptors", text, len(fds))
	}
	kept := os.NewFile(uintptr(fds[0]), "kept")
	if _, err := kept.WriteString("x"); err != nil {
		t.Error(err)
	}
	kept.Close()
	for _, name := range []string{"", "a:b", "a\n", strings.Repeat("x", 250)} {
		if err := s.StoreFDs(name, r); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	s := new(Systemd)
	if err := errors.Join(s.Ready(""), s.Barrier(t.Context()), s.StoreFDs("x", os.Stdin), s.Fatal(os.ErrClosed, "")); err != nil {
		t.Error(err)
	}
	_, gone := newManager(t)
	if err := os.Remove(gone.notify.Name); err != nil {
		t.Fatal(err)
	}
	if err := gone.Ready(""); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error is %v", err)
	}
}

func TestAbstractNotifySocket(t *testing.T) {
	name := "@davit-activation-test-" + strconv.Itoa(os.Getpid())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := &Systemd{}
	if err := errors.Join(s.readNotify(name), s.Ready("up")); err != nil {
		t.Fatal(err)
	}
	if text, _ := (&manager{t: t, conn: conn}).receive(); text != "READY=1\nSTATUS=up" {
		t.Errorf("got %q", text)
	}
}
