// SPDX-License-Identifier: Apache-2.0

// Package containerlog writes a container's output in the formats of Docker's
// log drivers json-file and local, or to the journal. It is linked into the
// resident process of every container, so it imports nothing that a process of
// two megabytes would notice; package reader, which only the daemon links, is
// its other half.
package containerlog

import (
	"bytes"
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

var streamNames = [...]string{Stdout: "stdout", Stderr: "stderr"}

// MaxLine is the most bytes of output that one record holds, the newline
// included. A longer line takes several records, of which only the last has
// the newline: what Docker calls a partial message.
const MaxLine = 16 << 10

// record is a line, or a part of one.
type record struct {
	stream Stream
	end    bool   // the line ends here; its newline is not in text
	part   int32  // the number, from 1, of a part of a line; 0: text is all of it
	line   uint64 // what the parts of a line have in common, if there are some
	at     int64  // when the line began to be read, nanoseconds since 1970
	text   []byte // valid until the call returns
}

// sink keeps records. The methods are never called at the same time.
type sink interface {
	record(*record) error // may leave it for flush to write
	flush() error
	idle()         // gives memory back that only a flood needs
	place() string // see [Writer.Place]; after a flush
	close() error  // after a flush
}

// Writer logs a container's output. Its methods may be called from several
// goroutines.
//
// A write that fails loses the lines of that call and nothing else.
type Writer struct {
	mu    sync.Mutex
	to    sink // nil: closed
	lines [3]line
	last  uint64 // the latest number of a line that has parts
	rec   record // the one at hand: on the stack it would be garbage of each call
}

// line is the state of a stream between two newlines.
type line struct {
	text  []byte // since the last record
	at    int64  // of the line's beginning; 0: there is none
	parts int32  // records of this line so far
	id    uint64 // when there are parts
}

// closedError is of a log that was closed.
type closedError struct{}

func (closedError) Error() string   { return "the log is closed" }
func (closedError) Is(e error) bool { return e == unix.EBADF }

// Write logs a piece of a stream, cut anywhere. Complete lines are on their way
// when it returns; the rest waits for its newline, for [MaxLine] bytes, or for
// Flush. All lines that begin in one call carry the same time.
func (w *Writer) Write(stream Stream, p []byte) error {
	if stream != Stdout && stream != Stderr {
		return unix.EINVAL
	}
	now := time.Now().UnixNano()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to == nil {
		return closedError{}
	}
	var failed error
	l := &w.lines[stream]
	r := &w.rec
	r.stream = stream
	for len(p) > 0 {
		room := MaxLine - len(l.text)
		n := bytes.IndexByte(p[:min(room, len(p))], '\n')
		switch {
		case n >= 0:
			r.end, r.text = true, p[:n]
			p = p[n+1:]
		case len(p) < room:
			l.keep(p, now)
			p = nil
			continue
		default:
			r.end, r.text = false, p[:room]
			p = p[room:]
		}
		if l.at == 0 && r.end { // the common case: a line within one call
			r.at, r.part = now, 0
			failed = first(failed, w.to.record(r))
			continue
		}
		failed = first(failed, w.piece(l, r, now))
	}
	return first(failed, w.to.flush())
}

// keep holds text back until more of its line comes.
func (l *line) keep(p []byte, now int64) {
	if cap(l.text)-len(l.text) < len(p) && cap(l.text) < MaxLine {
		// At once what it may come to: what append leaves behind would stay.
		size := 1 << 10
		if len(l.text)+len(p) > size {
			size = MaxLine
		}
		l.text = append(make([]byte, 0, size), l.text...)
	}
	l.text = append(l.text, p...)
	if l.at == 0 {
		l.at = now
	}
}

// piece logs a record of a line that did not come whole in one call.
func (w *Writer) piece(l *line, r *record, now int64) error {
	if len(l.text) > 0 {
		// Encoded as one: a character may be cut between the two.
		l.keep(r.text, now)
		r.text = l.text
	}
	if l.at == 0 {
		l.at = now
	}
	r.at, r.part, r.line = l.at, 0, 0
	if l.parts > 0 || !r.end {
		if l.parts == 0 {
			w.last++
			l.id = w.last
		}
		l.parts++
		r.part, r.line = l.parts, l.id
	}
	err := w.to.record(r)
	l.text = l.text[:0]
	if r.end {
		l.at, l.parts = 0, 0
	}
	return err
}

// Flush logs the unfinished lines of both streams as partial records.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to == nil {
		return closedError{}
	}
	return w.flush()
}

func (w *Writer) flush() error {
	var failed error
	for _, stream := range [...]Stream{Stdout, Stderr} {
		l := &w.lines[stream]
		if len(l.text) > 0 {
			text := l.text
			l.text = nil
			w.rec.stream, w.rec.end, w.rec.text = stream, false, text
			failed = first(failed, w.piece(l, &w.rec, l.at))
			l.text = text[:0]
		}
		l.at, l.parts = 0, 0
	}
	return first(failed, w.to.flush())
}

// Place returns where the log is now, for a reader to read to exactly there
// (package reader's Options.To), and what has come of lines that have not ended,
// by stream: that is not logged yet. The place is "" when it cannot be told.
func (w *Writer) Place() (place string, begun [3][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to == nil {
		return "", begun
	}
	for stream, l := range w.lines {
		begun[stream] = append([]byte(nil), l.text...)
	}
	return w.to.place(), begun
}

// Idle gives back the memory that only a flood needs. It is called when there
// is nothing to log for a while, and costs little if it is called too often.
func (w *Writer) Idle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to != nil {
		w.to.idle()
	}
}

// Close flushes and closes the log. Further calls of any method fail.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to == nil {
		return closedError{}
	}
	err := w.flush()
	err = first(err, w.to.close())
	w.to = nil
	return err
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
