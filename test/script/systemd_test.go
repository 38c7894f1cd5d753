// SPDX-License-Identifier: Apache-2.0

package script

import (
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// systemd is what a service manager is to a daemon: the one who made its
// socket, and hears its notifications.
type systemd struct {
	listener *net.UnixListener
	file     *os.File // the listener's, to be passed on
	notify   *net.UnixConn
	heard    chan string
}

func (h *host) systemd(t *testing.T) *systemd {
	t.Helper()
	var s systemd
	var err error
	if s.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: h.socket(), Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	if s.file, err = s.listener.File(); err != nil {
		t.Fatal(err)
	}
	if s.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.dir + "/notify", Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	s.heard = make(chan string, 100)
	var ended sync.WaitGroup
	ended.Go(func() {
		defer close(s.heard)
		buf := make([]byte, 4096)
		for {
			n, err := s.notify.Read(buf)
			if err != nil {
				return // closed
			}
			s.heard <- string(buf[:n])
		}
	})
	t.Cleanup(func() {
		s.notify.Close()
		ended.Wait()
		s.file.Close()
		s.listener.Close()
	})
	return &s
}

// launch starts the daemon as PID 1 does.
func (s *systemd) launch(t *testing.T, h *host) {
	t.Helper()
	c := before(h.command(), "export LISTEN_PID=$$")
	c.ExtraFiles = []*os.File{s.file}
	c.Env = append(c.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=api", "NOTIFY_SOCKET="+h.dir+"/notify")
	h.launch(t, c)
}

// until returns what was heard up to a message with the line.
func (s *systemd) until(t *testing.T, h *host, line string) (heard []string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case m := <-s.heard:
			heard = append(heard, strings.Split(m, "\n")...)
			if slices.Contains(strings.Split(m, "\n"), line) {
				return heard
			}
		case <-deadline:
			t.Fatalf("no %s was heard, but %q\n%s", line, heard, h.tail())
		}
	}
}

// rest returns what is heard until the daemon has ended.
func (s *systemd) rest(t *testing.T, h *host) (heard []string, err error) {
	t.Helper()
	select {
	case err = <-h.exited:
	case <-time.After(20 * time.Second):
		t.Fatalf("the daemon did not end in 20 s\n%s", h.tail())
	}
	h.daemon = nil
	s.notify.Close()
	for m := range s.heard {
		heard = append(heard, strings.Split(m, "\n")...)
	}
	return heard, err
}

func count(lines []string, line string) (n int) {
	for _, l := range lines {
		if l == line {
			n++
		}
	}
	return n
}
