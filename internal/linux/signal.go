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
	switch {
	case name == "RTMIN":
		return sigRTMin, true
	case name == "RTMAX":
		return sigRTMax, true
	}
	base, sign, offset := sigRTMin, 1, ""
	if o, ok := strings.CutPrefix(name, "RTMIN+"); ok {
		offset = o
	} else if o, ok := strings.CutPrefix(name, "RTMAX-"); ok {
		base, sign, offset = sigRTMax, -1, o
	} else {
		return 0, false
	}
	n, err := strconv.Atoi(offset)
	if err != nil || n < 0 || n > sigRTMax-sigRTMin {
		return 0, false
	}
	return base + sign*n, true
}
