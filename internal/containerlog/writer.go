// SPDX-License-Identifier: Apache-2.0

// Package containerlog writes a container's output in the format of Docker's
// json-file log driver. It is linked into the resident process of every
// container, so it imports nothing that a process of two megabytes would
// notice; package reader, which only the daemon links, is its other half.
package containerlog

import (
	"bytes"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Stream says which of a process's outputs a piece of log is of. The values
// are those of the stream byte in Docker's multiplexed streams.
type Stream byte

// The streams.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// MaxLine is the most bytes of output that one record holds, the newline
// included. A longer line takes several records, of which only the last has
// the newline: what Docker calls a partial message.
const MaxLine = 16 << 10

// batch is how much is collected before a write(2) within one call of Write.
const batch = 64 << 10

// Options say when a log is rotated.
type Options struct {
	MaxSize  int64 // bytes after which a file is rotated; 0 or less: never
	MaxFiles int   // files kept, the current one included; less than 1 is 1
}

// Writer appends to a log. Its methods may be called from several goroutines.
//
// A write that fails loses the lines of that call and nothing else: the next
// one starts on a line of its own, and readers skip the torn record.
type Writer struct {
	mu    sync.Mutex
	path  string
	opts  Options
	fd    int
	size  int64
	torn  bool      // the file's last byte is not a newline
	parts [3][]byte // by Stream: output since the last newline
	buf   []byte    // records not yet written
	tail  [3][]byte // by Stream: how a record of this call ends, made once a call
	clock clock
}

// pathError is fs.PathError without its package.
type pathError struct {
	verb, path string
	err        error
}

func (e *pathError) Error() string { return "cannot " + e.verb + " " + e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// Create opens the log at path for appending and makes it, with mode 0640, if
// there is none. The caller closes the Writer.
func Create(path string, opts Options) (*Writer, error) {
	w := &Writer{path: path, opts: opts, fd: -1}
	if err := w.open(unix.O_CREAT); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Writer) open(flags int) error {
	// O_RDWR: the last byte is read back.
	fd, err := openRetry(w.path, flags|unix.O_RDWR|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NOFOLLOW)
	if err != nil {
		return &pathError{"open log", w.path, err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return &pathError{"stat log", w.path, err}
	}
	w.fd, w.size, w.torn = fd, st.Size, false
	if st.Size > 0 {
		var last [1]byte
		n, err := unix.Pread(fd, last[:], st.Size-1)
		w.torn = err != nil || n != 1 || last[0] != '\n'
	}
	return nil
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0o640)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Write logs a piece of a stream, cut anywhere. Complete lines are in the file
// when it returns; the rest waits for its newline, for [MaxLine] bytes, or for
// Flush. All lines of one call carry the same time.
func (w *Writer) Write(stream Stream, p []byte) error {
	if stream != Stdout && stream != Stderr {
		return unix.EINVAL
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stamp()
	var failed error
	for len(p) > 0 {
		part := w.parts[stream]
		room := MaxLine - len(part)
		n := bytes.IndexByte(p[:min(room, len(p))], '\n')
		switch {
		case n >= 0:
			n++
		case len(p) < room:
			w.parts[stream] = append(part, p...)
			p = nil
			continue
		default:
			n = room
		}
		failed = first(failed, w.record(stream, part, p[:n]))
		w.parts[stream] = part[:0]
		p = p[n:]
	}
	return first(failed, w.write())
}

// Flush writes the unfinished lines of both streams as partial records. What
// follows of them continues the line.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *Writer) flush() error {
	w.stamp()
	var failed error
	for _, stream := range [...]Stream{Stdout, Stderr} {
		if part := w.parts[stream]; len(part) > 0 {
			failed = first(failed, w.record(stream, part, nil))
			w.parts[stream] = part[:0]
		}
	}
	return first(failed, w.write())
}

// Close flushes and closes the log. Further calls of any method fail.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return &pathError{"close log", w.path, unix.EBADF}
	}
	err := w.flush()
	err = first(err, w.closeFile())
	return err
}

func (w *Writer) closeFile() error {
	fd := w.fd
	w.fd = -1
	if err := unix.Close(fd); err != nil {
		return &pathError{"close log", w.path, err}
	}
	return nil
}

// record appends one record to the batch; its text is head and then text.
func (w *Writer) record(stream Stream, head, text []byte) error {
	var failed error
	pending := int64(len(w.buf))
	full := w.opts.MaxSize > 0 && w.size+pending >= w.opts.MaxSize
	if full || pending >= batch {
		failed = w.write()
	}
	if full && w.size >= w.opts.MaxSize {
		failed = first(failed, w.rotate())
	}
	buf := append(w.buf, `{"log":"`...)
	if len(head) > 0 {
		// Escaped as one: a character may be cut between the two.
		head = append(head, text...)
		text = head
	}
	buf = appendEscaped(buf, text)
	w.buf = append(buf, w.tail[stream]...)
	return failed
}

// write writes the batch out and empties it, whatever happens.
func (w *Writer) write() error {
	buf := w.buf
	w.buf = w.buf[:0]
	if len(buf) == 0 {
		return nil
	}
	if w.fd < 0 {
		return &pathError{"write log", w.path, unix.EBADF}
	}
	if w.torn {
		if err := w.writeAll([]byte{'\n'}); err != nil {
			return err
		}
		w.torn = false
	}
	return w.writeAll(buf)
}

func (w *Writer) writeAll(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(w.fd, p)
		if n > 0 {
			w.size += int64(n)
			w.torn = p[n-1] != '\n'
			p = p[n:]
		}
		if err != nil && err != unix.EINTR {
			return &pathError{"write log", w.path, err}
		}
	}
	return nil
}

// rotate moves path to path.1, path.1 to path.2 and so on, and starts anew. A
// log of one file is unlinked, not truncated: a reader that has it open still
// finds its end. When a move fails the log goes on in the file it has.
func (w *Writer) rotate() error {
	keep := max(w.opts.MaxFiles, 1)
	shift := keep - 1
	var st unix.Stat_t
	if unix.Lstat(w.path, &st) == unix.ENOENT {
		shift = 0 // moved by an earlier try, which then could not make the file
	}
	for n := shift; n > 0; n-- {
		from := w.path
		if n > 1 {
			from += "." + strconv.Itoa(n-1)
		}
		if err := unix.Rename(from, w.path+"."+strconv.Itoa(n)); err != nil && err != unix.ENOENT {
			return &pathError{"rotate log", from, err}
		}
	}
	if keep == 1 {
		if err := unix.Unlink(w.path); err != nil && err != unix.ENOENT {
			return &pathError{"rotate log", w.path, err}
		}
	}
	old := w.fd
	// If this fails (no descriptors, no inodes) the old file, renamed, is
	// still the log, and the next record tries again.
	if err := w.open(unix.O_CREAT | unix.O_EXCL); err != nil {
		return err
	}
	_ = unix.Close(old) // a log is not synced; each write to it was checked
	return nil
}

// stamp makes the ends of this call's records.
func (w *Writer) stamp() {
	at := w.clock.format(time.Now())
	for stream, name := range [...]string{Stdout: "stdout", Stderr: "stderr"} {
		if name == "" {
			continue
		}
		t := append(w.tail[stream][:0], `","stream":"`...)
		t = append(t, name...)
		t = append(t, `","time":"`...)
		t = append(t, at...)
		w.tail[stream] = append(t, '"', '}', '\n')
	}
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
