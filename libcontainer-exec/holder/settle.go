// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settleAfter is how long nothing must have happened before memory is given
	// back: a container that ends soon is not to pay for it.
	settleAfter = time.Second
	// probedAfter is how long it takes until a probe was told of.
	probedAfter = 5 * time.Millisecond
	// collectAfter is after how many exec sessions, attachments and probes garbage
	// is collected: each leaves some ten kilobytes. A collection takes up to a
	// megabyte for itself, which stays: more than the garbage of a start and some
	// exec sessions.
	collectAfter = 16
)

// memory gives back what this process does not need any longer: it may live
// for years now and do nothing. Its zero value is ready.
type memory struct {
	mu      sync.Mutex // two may be at it at once
	program []span     // what drop lets go of; found at the first call
	found   bool
	used    int // exec sessions, attachments and probes since garbage was collected
	timer   *time.Timer
}

// settle gives memory back in a while, unless it is called again before that.
func (m *memory) settle() { m.after(settleAfter) }

// probed gives memory back soon: the next probe may come before memory would
// settle.
func (m *memory) probed() { m.after(probedAfter) }

func (m *memory) after(wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used++
	if m.timer == nil {
		m.timer = time.AfterFunc(wait, m.release)
		return
	}
	if m.used <= collectAfter { // else it is pending: a stream of sessions is not to put it off
		m.timer.Reset(wait)
	}
}

func (m *memory) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked() // or it would be resident beside what a collection needs
	if m.used >= collectAfter {
		debug.FreeOSMemory()
		m.used = 0
		m.dropLocked()
	}
}

// drop lets go of the pages of the own program that this process has mapped:
// the kernel has mapped sixteen for each that was used, and most were used for
// the last time. They stay in the page cache, and come back one fault each.
// Failure only means that they stay.
func (m *memory) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked()
}

func (m *memory) dropLocked() {
	if !m.found {
		m.program, m.found = ownProgram(), true
	}
	for _, s := range m.program {
		_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, s.first, s.last-s.first, unix.MADV_DONTNEED)
	}
}

// span is a part of the own address space.
type span struct{ first, last uintptr }

// ownProgram returns where the pages are that drop lets go of.
func ownProgram() []span {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	var spans []span
	for line := range bytes.Lines(maps) {
		if first, last, ok := droppable(line); ok {
			spans = append(spans, span{first, last})
		}
	}
	return spans
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
