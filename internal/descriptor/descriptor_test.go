// SPDX-License-Identifier: Apache-2.0

package descriptor_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/internal/descriptor"
)

// dup returns a duplicate to give away.
func dup(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func openFile(t *testing.T, name string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// plainPipe is what a shell makes: blocking.
func plainPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(p[0]), "r"), os.NewFile(uintptr(p[1]), "w")
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func nonblocking(t *testing.T, f *os.File) bool {
	t.Helper()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.O_NONBLOCK != 0
}

func TestClosedSourceEndsItsReader(t *testing.T) {
	r, w := plainPipe(t)
	src, err := descriptor.Source(dup(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if nonblocking(t, r) {
		t.Error("the sender's pipe was made non-blocking")
	}
	if _, err := w.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 2)
	go func() {
		b := make([]byte, 8)
		for {
			if _, err := src.Read(b); err != nil {
				got <- err
				return
			}
			got <- nil
		}
	}()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-got:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("the reader got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the reader still waits")
	}
}

func TestUnfit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	rw := openFile(t, name, os.O_CREATE|os.O_RDWR)
	ro := openFile(t, name, os.O_RDONLY)
	wo := openFile(t, name, os.O_WRONLY)
	path := openFile(t, name, unix.O_PATH)
	dir := openFile(t, filepath.Dir(name), os.O_RDONLY)
	null := openFile(t, "/dev/null", os.O_RDWR)
	r, w := plainPipe(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	orphan := openFile(t, fifo, os.O_RDONLY|unix.O_NONBLOCK)
	nobody := openFile(t, fifo, os.O_WRONLY)
	if err := orphan.Close(); err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	datagrams, err := udp.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	tests := []struct {
		name           string
		f              *os.File
		source, target bool
	}{
		{"file", rw, true, true},
		{"file to read", ro, true, false},
		{"file to write", wo, false, true},
		{"path", path, false, false},
		{"directory", dir, false, false},
		{"device", null, false, false},
		{"reading end", r, true, false},
		{"writing end", w, false, true},
		{"named pipe that nobody reads from", nobody, false, false},
		{"datagram socket", datagrams, false, false},
	}
	for _, tt := range tests {
		for kind, open := range map[string]func(int) (*os.File, error){"source": descriptor.Source, "target": descriptor.Target} {
			fd := dup(t, tt.f)
			f, err := open(fd)
			want := tt.source
			if kind == "target" {
				want = tt.target
			}
			if (err == nil) != want || (err != nil && !errors.Is(err, descriptor.ErrUnfit)) {
				t.Errorf("%s as %s: %v", tt.name, kind, err)
			}
			if err == nil {
				_ = f.Close()
			}
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
				t.Errorf("%s as %s: the descriptor is still open (%v)", tt.name, kind, err)
			}
		}
	}
}

func TestOnHangup(t *testing.T) {
	makers := map[string]func() (*os.File, *os.File, error){
		"pipe":     func() (*os.File, *os.File, error) { return descriptor.Pipe(true) },
		"input":    func() (*os.File, *os.File, error) { return descriptor.Pipe(false) },
		"socket":   descriptor.SocketPair,
		"terminal": descriptor.Terminal,
	}
	for name, open := range makers {
		t.Run(name, func(t *testing.T) {
			ours, theirs, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			if nonblocking(t, theirs) {
				t.Error("the receiver's end does not block")
			}
			gone := false
			stop, err := descriptor.OnHangup(ours, func() { gone = true })
			if err != nil {
				t.Fatal(err)
			}
			stop()
			if gone {
				t.Error("a hangup was told of an end that is open")
			}
			told := make(chan struct{})
			stop, err = descriptor.OnHangup(ours, func() { close(told) })
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			if err := theirs.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-told:
			case <-time.After(10 * time.Second):
				t.Error("the hangup was not told")
			}
		})
	}
}

func TestTerminal(t *testing.T) {
	ours, theirs, err := descriptor.Terminal()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	const text = "a\r\n\x03\x04\xff"
	for _, d := range [][2]*os.File{{ours, theirs}, {theirs, ours}} {
		if _, err := d[0].WriteString(text); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(d[1], got); err != nil || string(got) != text {
			t.Errorf("%q came as %q, %v", text, got, err)
		}
	}
	if err := unix.IoctlSetWinsize(int(theirs.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	if rows, columns, err := descriptor.WindowSize(ours); rows != 24 || columns != 80 || err != nil {
		t.Errorf("%d × %d, %v", rows, columns, err)
	}
}
