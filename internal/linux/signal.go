// SPDX-License-Identifier: Apache-2.0

// Package linux wraps system calls and kernel files, each once.
package linux

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Real-time signals as glibc counts them (signal(7)).
const (
	sigRTMin = 34
	sigRTMax = 64
)

// SignalNumber returns the number of a signal by its name, with or without
// SIG, in any case: TERM, SIGHUP, RTMIN+3.
func SignalNumber(name string) (int, bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return int(n), true
	}
	switch name {
	case "RTMIN":
		return sigRTMin, true
	case "RTMAX":
		return sigRTMax, true
	}
	base, sign := sigRTMin, 1
	offset, ok := strings.CutPrefix(name, "RTMIN+")
	if !ok {
		base, sign = sigRTMax, -1
		if offset, ok = strings.CutPrefix(name, "RTMAX-"); !ok {
			return 0, false
		}
	}
	n, err := strconv.Atoi(offset)
	if err != nil || n < 0 || n > sigRTMax-sigRTMin {
		return 0, false
	}
	return base + sign*n, true
}
