// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListenHost(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	live, err := net.Listen("unix", filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	stale := filepath.Join(dir, "stale")
	dead, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()

	tests := []struct {
		host, group string
		mode        fs.FileMode
		err         []string
	}{
		{"unix://" + dir + "/new", "", 0o600, nil},
		{"unix://" + dir + "/made/for/it/new", "", 0o600, nil},
		{"unix://" + dir + "/group", "0", 0o660, nil},
		{"unix://" + stale, "", 0o600, nil},
		{"unix://" + plain, "", 0, []string{plain, "not a socket"}},
		{"unix://" + dir + "/live", "", 0, []string{"live", "another server answers"}},
		{"unix://relative", "", 0, []string{"absolute"}},
		{"unix://" + dir + "/", "", 0, []string{"absolute"}},
		{"unix://@abstract", "", 0, []string{"absolute"}},
		{"unix://" + dir + "/" + strings.Repeat("x", 108), "", 0, []string{"107"}},
		{"unix://" + dir + "/g", "no-such-group", 0, []string{"no-such-group", "--group"}},
		{"tcp://127.0.0.1:2375", "", 0, []string{"tcp://127.0.0.1:2375", "root", "davit-tls.socket"}},
		{"fd://", "", 0, []string{"davit.socket"}},
		{"fd://3", "", 0, []string{"FileDescriptorName"}},
		{"npipe://x", "", 0, []string{"npipe"}},
		{"/run/x", "", 0, []string{"unix:///PATH"}},
		{"", "", 0, []string{"unix:///PATH"}},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			socket, err := ListenHost(tt.host, tt.group)
			if len(tt.err) > 0 {
				if err == nil {
					socket.Listener.Close()
					t.Fatal("no error")
				}
				for _, word := range tt.err {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("error %q does not say %q", err, word)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkListens(t, socket, strings.TrimPrefix(tt.host, "unix://"), tt.mode)
		})
	}
}

// checkListens sees that the socket is where and what it should be, and closes it.
func checkListens(t *testing.T, socket Socket, path string, mode fs.FileMode) {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != fs.ModeSocket|mode || socket.Name != API || socket.Listener.Addr().String() != path {
		t.Errorf("mode %v, name %s, address %v", st.Mode(), socket.Name, socket.Listener.Addr())
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := socket.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the path is still there: %v", err)
	}
}

// A server whose backlog is full still lives.
func TestFullBacklogIsALiveServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := ListenHost("unix://"+path, ""); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("error is %v", err)
	}
}

func TestOfManyAtOnceOneListens(t *testing.T) {
	host := "unix://" + filepath.Join(t.TempDir(), "s")
	var mu sync.Mutex
	var wg sync.WaitGroup
	var won []Socket
	for range 20 {
		wg.Go(func() {
			if socket, err := ListenHost(host, ""); err == nil {
				mu.Lock()
				defer mu.Unlock()
				won = append(won, socket)
			}
		})
	}
	wg.Wait()
	for _, socket := range won {
		socket.Listener.Close()
	}
	if len(won) != 1 {
		t.Errorf("%d listen", len(won))
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	host := func(name string) string { return "unix://" + filepath.Join(dir, name) }
	tests := []struct {
		hosts []string
		want  int
		err   string
	}{
		{nil, 0, "socket unit"},
		{[]string{host("a")}, 1, ""},
		{[]string{host("a"), host("b")}, 2, ""},
		{[]string{host("a"), "fd://"}, 0, "systemd passed no socket"},
		{[]string{host("a"), host("a")}, 0, "another server"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.hosts), func(t *testing.T) {
			sockets, err := new(Systemd).Listen(tt.hosts, "")
			for _, socket := range sockets {
				socket.Listener.Close()
			}
			if len(sockets) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%d sockets, error %v", len(sockets), err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
