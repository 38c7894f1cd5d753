// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestProcessStart(t *testing.T) {
	self, err := ProcessStart(os.Getpid())
	if err != nil || self == 0 {
		t.Fatal(self, err)
	}
	c := exec.Command("sleep", "10")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Wait() }()
	defer func() { _ = c.Process.Kill() }()
	if child, err := ProcessStart(c.Process.Pid); err != nil || child < self {
		t.Errorf("child began at %d, we at %d: %v", child, self, err)
	}
	if _, err := ProcessStart(1 << 30); err == nil {
		t.Error("a process that is not there has a start time")
	}
}

func TestSignalNumber(t *testing.T) {
	for name, want := range map[string]int{
		"TERM": 15, "SIGTERM": 15, "sigterm": 15, "KILL": 9, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-1": 63, "RTMAX": 64,
		"NOSUCH": 0, "": 0, "RTMIN+99": 0, "RTMIN+-1": 0, "RTMIN+x": 0,
	} {
		if got, ok := SignalNumber(name); got != want || ok != (want != 0) {
			t.Errorf("%q: %d %v, want %d", name, got, ok, want)
		}
	}
}

func TestProcessUsers(t *testing.T) {
	uid := uint32(os.Getuid())
	got, err := ProcessUsers(os.Getpid())
	if err != nil || !slices.Equal(got, []uint32{uid, uid, uid, uid}) {
		t.Errorf("got %v, %v; want four times %d", got, err, uid)
	}
	if _, err := ProcessUsers(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no process: %v", err)
	}
}
