// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"golang.org/x/sys/unix"
)

// hierarchies are where a freezer may be: version 2, alone or beside version 1,
// and version 1.
var hierarchies = map[string][2]string{ // controller, and a file that each cgroup of it has
	cgroup.Root:                           {"", "cgroup.freeze"},
	filepath.Join(cgroup.Root, "unified"): {"", "cgroup.freeze"},
	filepath.Join(cgroup.Root, "freezer"): {"freezer", "freezer.state"},
}

func TestFreeze(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("RequireRoot: needs root")
	}
	tested := 0
	for root, h := range hierarchies {
		dir := filepath.Join(root, "davit-test-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue // not here
		}
		if _, err := os.Stat(filepath.Join(dir, h[1])); err != nil {
			_ = os.Remove(dir)
			continue
		}
		tested++
		t.Run(filepath.Base(root), func(t *testing.T) { testFreeze(t, dir, map[string]string{h[0]: dir}) })
	}
	if tested == 0 {
		t.Skip("RequireFreezer: no cgroup can be made here")
	}
	if err := cgroup.Freeze(map[string]string{"memory": "/x"}, true); err == nil {
		t.Error("a container without a freezer was frozen")
	}
}

// testFreeze sends a signal that the process has a handler for: one that kills
// does so in a frozen cgroup of version 2, too.
func testFreeze(t *testing.T, dir string, cgroups map[string]string) {
	c := exec.Command("sh", "-c", "trap 'echo handled; exit 7' TERM; echo ready; read line")
	stdin, err := c.StdinPipe() // open, so that it waits
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the process says %q: %v", line, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(c.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if err := cgroup.Freeze(cgroups, true); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := out.(*os.File).SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("frozen, it says %q: %v", line, err)
	}
	if err := cgroup.Freeze(cgroups, false); err != nil {
		t.Fatal(err)
	}
	if err := out.(*os.File).SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); line != "handled\n" { // or the test never ends
		t.Errorf("thawed, it says %q: %v", line, err)
	}
	if err := c.Wait(); c.ProcessState.ExitCode() != 7 {
		t.Errorf("thawed, it ended with %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}

// TestRemoveOfFrozen removes a cgroup whose processes cannot even die, as a
// holder that is killed leaves it.
func TestRemoveOfFrozen(t *testing.T) {
	dir := filepath.Join(cgroup.Root, "freezer", "davit-test-r"+strconv.Itoa(os.Getpid()))
	if os.Mkdir(dir, 0o755) != nil {
		t.Skip("RequireCgroupV1: no freezer of version 1 here, or no right to it")
	}
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(c.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if err := cgroup.Freeze(map[string]string{"freezer": dir}, true); err != nil {
		t.Fatal(err)
	}
	if err := cgroup.Remove(dir); err != nil {
		t.Error(err)
	}
	<-exited
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the cgroup is still there: %v", err)
	}
}
