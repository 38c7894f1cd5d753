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
		if first, last, ok := droppable(line); ok {
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, first, last-first, unix.MADV_DONTNEED)
		}
	}
}

// fixedEnd is what a program that is linked to a fixed place lies below, and
// what the kernel loads elsewhere above. The read-only data of the latter was
// written to before it became read-only: the file has not what is dropped.
const fixedEnd = 1 << 32

// droppable tells whether a line of proc_pid_maps(5) is a mapping whose pages
// the file has, and where it is.
func droppable(line []byte) (first, last uintptr, ok bool) {
	fields := bytes.Fields(line) // first-last permissions offset device inode path
	if len(fields) < 6 || fields[1][1] != '-' || fields[5][0] != '/' {
		return 0, 0, false // not a file, or written to
	}
	from, to, _ := bytes.Cut(fields[0], []byte{'-'})
	a, err1 := strconv.ParseUint(string(from), 16, 64)
	b, err2 := strconv.ParseUint(string(to), 16, 64)
	return uintptr(a), uintptr(b), err1 == nil && err2 == nil && b <= fixedEnd
}
