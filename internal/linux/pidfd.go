// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PidOf returns the process that a pidfd (pidfd_open(2)) is of. It fails when
// the process has ended: its number may be another's.
func PidOf(pidfd int) (int, error) {
	// A descriptor of anything else has no such line (proc_pid_fdinfo(5)).
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(info)) {
		value, ok := strings.CutPrefix(line, "Pid:")
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return 0, fmt.Errorf("cannot read the process of a pidfd: %w", err)
		}
		if pid <= 0 {
			return 0, fmt.Errorf("the process has ended: %w", unix.ESRCH)
		}
		return pid, nil
	}
	return 0, fmt.Errorf("the descriptor is not of a process: %w", unix.EBADF)
}

// Ended tells whether the process of a pidfd has ended.
func Ended(pidfd int) (bool, error) {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return n > 0, err
}
