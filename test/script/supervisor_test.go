// SPDX-License-Identifier: Apache-2.0

package script

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// supervisor does for a daemon what PID 1 does for a service: it holds the
// listening socket, hears what the service says, keeps the descriptors that it
// gives away, and starts it again.
type supervisor struct {
	*host
	listener *os.File
	notify   *net.UnixConn
	env      []string // of the daemons to come
	flags    []string
	reading  sync.WaitGroup

	mu      sync.Mutex
	heard   []string // datagrams of the daemon that runs
	seen    int      // of them were looked at by until
	store   map[string]*os.File
	changed chan struct{} // closed and renewed
}

// supervise stands in for systemd on a host whose daemon is made to end.
func supervise(t *testing.T, flags ...string) *supervisor {
	t.Helper()
	h := newHost(t)
	if err := h.end(t, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.daemon = nil
	s := &supervisor{host: h, flags: flags, store: map[string]*os.File{}, changed: make(chan struct{})}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if s.listener, err = listener.File(); err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if s.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.dir + "/notify", Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	s.reading.Go(s.read)
	t.Cleanup(func() { // before the host is removed, which wants a daemon of its own
		if h.daemon != nil {
			_ = h.end(t, syscall.SIGTERM)
			h.daemon = nil
		}
		s.notify.Close()
		s.reading.Wait()
		s.listener.Close()
		for _, f := range s.store {
			f.Close()
		}
		_ = os.Remove(h.socket())
		h.start(t)
	})
	return s
}

// read hears what the daemon says until the socket is closed.
func (s *supervisor) read() {
	text, rights := make([]byte, 8192), make([]byte, 1024)
	for {
		n, oobn, _, _, err := s.notify.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		message := string(text[:n])
		s.mu.Lock()
		s.heard = append(s.heard, message)
		for _, f := range received(rights[:oobn]) {
			name := field(message, "FDNAME")
			if !strings.HasPrefix(message, "FDSTORE=1\n") { // BARRIER=1: closing it is the answer
				f.Close()
				continue
			}
			s.store[name] = f
		}
		if strings.HasPrefix(message, "FDSTOREREMOVE=1\n") {
			delete(s.store, field(message, "FDNAME"))
		}
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

func received(oob []byte) (files []*os.File) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files
}

// field returns the value of an assignment in a message.
func field(message, name string) string {
	for line := range strings.Lines(message) {
		if v, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), name+"="); ok {
			return v
		}
	}
	return ""
}

// spawn starts a daemon with the socket and what is kept.
func (s *supervisor) spawn(t *testing.T) {
	t.Helper()
	c := before(s.command(s.flags...), "export LISTEN_PID=$$ WATCHDOG_PID=$$")
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ExtraFiles = []*os.File{s.listener}
	names := []string{"api"}
	for name, f := range s.store {
		names, c.ExtraFiles = append(names, name), append(c.ExtraFiles, f)
	}
	c.Env = append(c.Env, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"), "NOTIFY_SOCKET="+s.dir+"/notify", "GOTRACEBACK=all")
	c.Env = append(c.Env, s.env...)
	s.heard, s.seen = nil, 0
	s.launch(t, c)
}

// until returns the first message from the latest that was returned on which
// has the line, or a line that begins with it and "=".
func (s *supervisor) until(t *testing.T, line string) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		for s.seen < len(s.heard) {
			m := s.heard[s.seen]
			s.seen++
			if slices.ContainsFunc(strings.Split(m, "\n"), func(l string) bool { return l == line || strings.HasPrefix(l, line+"=") }) {
				s.mu.Unlock()
				return m
			}
		}
		heard, changed := s.heard, s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no %s was heard, but %q\n%s", line, heard, s.tail())
		}
	}
}

// all returns what the daemon said.
func (s *supervisor) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heard)
}

// said counts the messages with the line.
func (s *supervisor) said(line string) (n int) {
	for _, m := range s.all() {
		if slices.Contains(strings.Split(m, "\n"), line) {
			n++
		}
	}
	return n
}

func (s *supervisor) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := s.daemon.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// job makes a job over REST and returns its number.
func (s *supervisor) job(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("curl", "-sS", "-i", "-X", "POST", "--unix-socket", s.socket(), "-H", "Content-Type: application/json", "-d", "{}", "http://d/volumes/create").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := regexp.MustCompile(`(?i)davit-job: (\d+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no job in %s", out)
	}
	id, _ := strconv.Atoi(string(m[1]))
	return id
}
