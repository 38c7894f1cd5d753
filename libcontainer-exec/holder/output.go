// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/davit-engine/davit/internal/containerlog"
	"golang.org/x/sys/unix"
)

const (
	// smallChunk is how much is read at once of a container that writes little,
	// and bigChunk of one that has more to say.
	smallChunk = 4 << 10
	bigChunk   = 128 << 10

	// outputPipe is the size of the pipes that a container writes to: two
	// processes that hand over a page at a time would mostly change places.
	outputPipe = 1 << 20

	// calm is how long a container has to be silent for the memory that its flood
	// needed to be given back: to have it again costs some microseconds.
	calm = 50 * time.Millisecond

	// journalPatience is how long a journald that does not read holds the container
	// up, once: it takes that long to be restarted.
	journalPatience = 10 * time.Second
)

// openLog opens the container's log, if it keeps one.
func (h *holder) openLog() (err error) {
	l := &h.spec.Log
	options := containerlog.Options{MaxSize: l.MaxSize, MaxFiles: l.MaxFiles, Attrs: l.Attrs, Buffer: l.Buffer}
	if l.Compress {
		options.Compress = h.compress
	}
	switch l.Driver {
	case "":
	case "journald":
		h.log, err = containerlog.OpenJournal(containerlog.JournalOptions{
			Socket: containerlog.JournalSocket, Fields: l.Fields, Buffer: l.Buffer, Patience: journalPatience,
		})
	case "local":
		h.log, err = containerlog.CreateLocal(l.Path, options)
	default:
		h.log, err = containerlog.Create(l.Path, options)
	}
	return err
}

// compress has the monitor compress a file: what that takes is more than this
// process may keep.
func (h *holder) compress(path string) <-chan struct{} {
	done := make(chan struct{})
	files := []uintptr{h.stderr.Fd(), h.stderr.Fd(), h.stderr.Fd()}
	h.reaper.begin()
	pid, err := syscall.ForkExec(h.spec.Monitor, []string{"davit-monitor", "compress", path}, &syscall.ProcAttr{Dir: "/", Env: []string{"GOMAXPROCS=1"}, Files: files})
	if err != nil {
		h.reaper.end()
		h.complain("cannot compress "+path, err)
		close(done)
		return done
	}
	exited := h.reaper.watch(pid)
	h.reaper.end()
	h.background.Go(func() {
		<-exited // it has told what went wrong
		close(done)
	})
	return done
}

// pump copies one output to the log and to whoever is attached, until its end:
// EOF of a pipe, EIO of a terminal.
func (r *run) pump(stream containerlog.Stream, f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	in := newReader(raw)
	small := make([]byte, smallChunk)
	buf, failing := small, false // a full disk is complained about once, not once a line
	big := false
	for {
		if r.ending.Load() {
			r.rest(stream, raw, buf, &failing)
			if big {
				_ = unix.Munmap(buf)
			}
			return
		}
		if big {
			_ = f.SetReadDeadline(time.Now().Add(calm)) // refused: the memory stays
		}
		n, err := in.read(buf)
		if n > 0 {
			r.output(stream, buf[:n], &failing)
		}
		switch {
		case big && errors.Is(err, os.ErrDeadlineExceeded):
			_ = unix.Munmap(buf)
			buf, big = small, false
			_ = f.SetReadDeadline(time.Time{})
			if r.h.log != nil {
				r.h.log.Idle()
			}
			r.h.memory.drop()
		case errors.Is(err, os.ErrDeadlineExceeded): // to look at r.ending
		case err != nil || n == 0:
			if big {
				_ = unix.Munmap(buf)
			}
			return
		case !big && n == len(buf):
			// Not from the heap: what was used of that stays resident.
			if m, err := unix.Mmap(-1, 0, bigChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err == nil {
				buf, big = m, true
				r.h.memory.drop() // what floods needs some of it
			}
		}
	}
}

// rest copies what is in the pipe or terminal now. More may come for ever, from
// a process outside of the container.
func (r *run) rest(stream containerlog.Stream, raw syscall.RawConn, buf []byte, failing *bool) {
	left := 0
	_ = raw.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) // closed: nothing is left
	for left > 0 {
		n := 0
		_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf[:min(left, len(buf))]) })
		if n <= 0 {
			return
		}
		r.output(stream, buf[:n], failing)
		left -= n
	}
}

// reader reads a descriptor. It makes no garbage: a heap of some hundred
// kilobytes is not collected before it has come to four megabytes.
type reader struct {
	raw syscall.RawConn
	try func(fd uintptr) bool
	buf []byte
	n   int
	err error
}

func newReader(raw syscall.RawConn) *reader {
	r := &reader{raw: raw}
	r.try = func(fd uintptr) bool {
		for {
			r.n, r.err = unix.Read(int(fd), r.buf)
			if !errors.Is(r.err, unix.EINTR) {
				return !errors.Is(r.err, unix.EAGAIN)
			}
		}
	}
	return r
}

// read reads what there is, and waits for there to be something.
func (r *reader) read(buf []byte) (int, error) {
	r.buf = buf
	if err := r.raw.Read(r.try); err != nil {
		return 0, err
	}
	return max(r.n, 0), r.err
}

// output passes on what the container wrote.
func (r *run) output(stream containerlog.Stream, p []byte, failing *bool) {
	h := r.h
	h.seam.Lock() // between the two nobody begins to read along
	if h.log != nil {
		err := h.log.Write(stream, p)
		if err != nil && !*failing {
			h.complain("cannot write the log, output is lost", err)
		}
		*failing = err != nil
	}
	h.mu.Lock()
	clients := h.clients
	h.mu.Unlock()
	h.seam.Unlock()
	broadcast(clients, stream, p, r.ending.Load())
}

// widen makes a pipe larger, if that is allowed.
func widen(f *os.File, size int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size)
	})
}
