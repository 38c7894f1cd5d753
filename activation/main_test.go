// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// childEnv makes the test binary a daemon that reports what it was given.
const childEnv = "ACTIVATION_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(counterEnv) != "" {
		countingChild()
		return
	}
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

// report is what the child says on its standard output.
type report struct {
	Err       string
	Sockets   []string // name and address
	Env       []string // of a grandchild, systemd's variables only
	Leaked    int      // sockets that a grandchild inherited
	Activated bool
}

func child() {
	var r report
	defer func() {
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			panic(err)
		}
	}()
	s, err := New()
	if err != nil {
		r.Err = err.Error()
		return
	}
	r.Activated = s.Activated()
	sockets, err := s.Sockets()
	if err != nil {
		r.Err = err.Error()
		return
	}
	for _, socket := range sockets {
		r.Sockets = append(r.Sockets, socket.Name+" "+socket.Listener.Addr().String())
	}
	slices.Sort(r.Sockets)
	out, err := exec.Command("sh", "-c", "env; echo --; ls -l /proc/self/fd").Output()
	if err != nil {
		r.Err = err.Error()
		return
	}
	env, fds, _ := strings.Cut(string(out), "--\n")
	for line := range strings.Lines(env) {
		name, _, _ := strings.Cut(line, "=")
		if slices.Contains(captured, name) {
			r.Env = append(r.Env, name)
		}
	}
	r.Leaked = strings.Count(fds, "-> socket:")
	for _, socket := range sockets {
		if conn, err := acceptQueued(socket.Listener); err == nil {
			fmt.Fprintln(conn, "hello")
			conn.Close()
		}
	}
}

// acceptQueued accepts a connection that is already waiting.
func acceptQueued(l net.Listener) (net.Conn, error) {
	if d, ok := l.(*net.UnixListener); ok {
		if err := d.SetDeadline(now()); err != nil {
			return nil, err
		}
		return d.Accept()
	}
	return nil, os.ErrInvalid
}
