// SPDX-License-Identifier: Apache-2.0

package linux_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/internal/linux"
)

func TestPidOf(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Skipf("needs pidfd_open: %v", err)
	}
	defer unix.Close(fd)
	if pid, err := linux.PidOf(fd); err != nil || pid != cmd.Process.Pid {
		t.Errorf("%d, %v", pid, err)
	}
	if gone, err := linux.Ended(fd); gone || err != nil {
		t.Errorf("it has ended, %v", err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if gone, err := linux.Ended(fd); !gone || err != nil {
		t.Errorf("it has not ended, %v", err)
	}
	if pid, err := linux.PidOf(fd); err == nil {
		t.Errorf("process %d has ended", pid)
	}
	if pid, err := linux.PidOf(int(os.Stdin.Fd())); err == nil {
		t.Errorf("standard input is of process %d", pid)
	}
}

func TestMonotonic(t *testing.T) {
	first, err := linux.Monotonic()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for time.Since(begun) < time.Millisecond { // let it pass
	}
	if second, err := linux.Monotonic(); err != nil || second-first < time.Millisecond || second-first > time.Minute {
		t.Errorf("%v, then %v, %v", first, second, err)
	}
}
