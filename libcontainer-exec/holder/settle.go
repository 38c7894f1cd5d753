// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settleAfter is how long nothing must have happened before memory is given
	// back: a container that ends soon is not to pay for it.
	settleAfter = time.Second
	// collectAfter is at how many times garbage is collected, too. A collection
	// takes half a megabyte for itself, which stays: more than the garbage of a
	// start and some exec sessions.
	collectAfter = 32
)

// settle gives back, in a while, what a start, an exec session or an
// attachment needed: the process may live for years now and do nothing.
func (h *holder) settle() {
	h.settling.Do(func() {
		var times atomic.Uint32 // two may run at once
		h.settler = time.AfterFunc(settleAfter, func() {
			if times.Add(1)%collectAfter == 0 {
				debug.FreeOSMemory()
			}
			dropProgram()
		})
	})
	h.settler.Reset(settleAfter)
}

// dropProgram lets go of the pages of the own program that this process has
// mapped: the kernel has mapped sixteen for each that was used, and most were
// used for the last time. They stay in the page cache, and come back one fault
// each. Failure only means that they stay.
func dropProgram() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		fields := bytes.Fields(line) // first-last permissions offset device inode path
		if len(fields) < 6 || fields[1][1] != '-' || fields[5][0] != '/' {
			continue // not a file, or written to
		}
		from, to, _ := bytes.Cut(fields[0], []byte{'-'})
		first, err1 := strconv.ParseUint(string(from), 16, 64)
		last, err2 := strconv.ParseUint(string(to), 16, 64)
		if err1 == nil && err2 == nil {
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, uintptr(first), uintptr(last-first), unix.MADV_DONTNEED)
		}
	}
}
