// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
)

// peer has another process connect, as a user with groups.
func peer(t *testing.T, uid, gid int, groups []string) (Peer, int) {
	t.Helper()
	testutil.RequireRoot(t)
	for _, tool := range []string{"setpriv", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	dir, err := os.MkdirTemp("", "davit-peer-") //nolint:usetesting // other users must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, mode := range map[string]os.FileMode{dir: 0o755, filepath.Join(dir, "s"): 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--reuid", strconv.Itoa(uid), "--regid", strconv.Itoa(gid), "--clear-groups"}
	if len(groups) > 0 {
		args = append(args[:4], "--groups", strings.Join(groups, ","))
	}
	cmd := exec.Command("setpriv", append(args, "curl", "-s", "--unix-socket", filepath.Join(dir, "s"), "http://x/")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := PeerOf(conn.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	return p, cmd.Process.Pid
}

func TestPeerOf(t *testing.T) {
	many := make([]string, 200) // more than fit at the first try
	for i := range many {
		many[i] = fmt.Sprint(3000 + i)
	}
	for name, groups := range map[string][]string{"none": nil, "two": {"501", "502"}, "many": many} {
		t.Run(name, func(t *testing.T) {
			p, pid := peer(t, 1234, 2345, groups)
			want := []uint32{2345}
			for _, g := range groups {
				n, err := strconv.ParseUint(g, 10, 32)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, uint32(n))
			}
			if p.UID != 1234 || p.PID != pid || !slices.Equal(p.GIDs, want) {
				t.Errorf("got %+v, want uid 1234, pid %d, groups %v", p, pid, want)
			}
		})
	}
}
