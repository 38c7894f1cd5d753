// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// startField is the place of starttime in proc_pid_stat(5), counted from the
// state, which follows the command's name in parentheses.
const startField = 22 - 3

// ProcessStart returns when the process began, in clock ticks since the boot:
// together with the pid it tells a process from a later one of that number.
func ProcessStart(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name may hold blanks and parentheses.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startField {
		return 0, fmt.Errorf("cannot read the start time of process %d: its stat has %d fields", pid, len(fields))
	}
	return strconv.ParseUint(string(fields[startField]), 10, 64)
}
