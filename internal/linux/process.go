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

// ProcessUsers returns the user ids of a process: real, effective, saved and
// of the file system (proc_pid_status(5)).
func ProcessUsers(pid int) ([]uint32, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(status) {
		list, ok := bytes.CutPrefix(line, []byte("Uid:"))
		if !ok {
			continue
		}
		var out []uint32
		for _, field := range bytes.Fields(list) {
			uid, err := strconv.ParseUint(string(field), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("cannot read the users of process %d: %w", pid, err)
			}
			out = append(out, uint32(uid))
		}
		return out, nil
	}
	return nil, fmt.Errorf("cannot read the users of process %d: its status has none", pid)
}
