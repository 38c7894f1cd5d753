// SPDX-License-Identifier: Apache-2.0

// Package reader reads the logs that package containerlog writes: rotated
// files in order, from a given line before the end, and on as they grow.
package reader

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxRecord bounds what is held of one record: 16 KiB of output of which each
// byte may be escaped to six, and room for what other writers of the format
// add. A longer line is skipped.
const maxRecord = 256 << 10

// Options select what Read gives.
type Options struct {
	Stdout, Stderr bool
	Local          bool      // the log is in the format of Docker's local driver; else in json-file's
	Follow         bool      // go on as the log grows
	Timestamps     bool      // RFC 3339 with nanoseconds and a blank before each record
	Details        bool      // the record's attributes and a blank before its text
	Since, Until   time.Time // zero: no bound; both are inclusive
	// Tail is how many records to give of what there is at first, counted over
	// both streams before Since, as Docker does; negative is all.
	Tail int
	// To is a place ([containerlog.Writer.Place]) where to end; "" is the end. It
	// is for reading from the beginning, without Follow.
	To string
	// Done is closed once nothing more is written to the log. Read then
	// returns when it has given everything. Nil: only ctx and Until end a
	// Read that follows.
	Done <-chan struct{}
}

// Read copies the output logged at path to stdout and stderr, which are only
// touched if the options ask for them. A log that does not exist is empty. A
// record that is torn (a writer killed, a full disk) is skipped, and what follows
// is read. Of a compressed file that is damaged the beginning is given, and what
// is newer; then Read returns an error that names it. The error of
// a Read that ctx ended is ctx's; errors of stdout and stderr are returned
// wrapped. Each record is one Write; writers that gather them have a method
// Flush() error, which is called before Read waits for more and when it returns.
func Read(ctx context.Context, path string, opts Options, stdout, stderr io.Writer) (err error) {
	r := &reading{path: path, opts: opts, out: sink{opts: opts, stdout: stdout, stderr: stderr}}
	defer r.close()
	defer func() { err = first(err, r.out.flush()) }()
	if !opts.Follow {
		return r.once(ctx)
	}
	// The watch is set before the first read: what is written in between is
	// then an event, not a loss.
	w := newWatch(path)
	defer w.close()
	if err := r.once(ctx); err != nil || r.out.past {
		return err
	}
	return r.follow(ctx, w)
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// reading is one Read.
type reading struct {
	path string
	opts Options
	out  sink
	file *segment // the newest file, read to its end; nil: none yet
	in   *bufio.Reader
	part []byte // of the record at the end of file, read but not complete
	at   int64  // local: where the next record begins in file
	pass int    // records that are not to be given

	damage error // the first file that could not be read to its end
}

func (r *reading) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// once gives what there is.
func (r *reading) once(ctx context.Context) error {
	files, err := openAll(r.path)
	if err != nil {
		return err
	}
	defer func() { closeAll(files) }()
	if r.opts.To != "" {
		if files, err = endAt(files, r.opts.To); err != nil {
			return err
		}
	}
	if r.opts.Tail >= 0 {
		kept, err := r.seekTail(ctx, files, r.opts.Tail)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("cannot find the end of log %s: %w", r.path, err)
		}
		closeAll(files[:len(files)-kept])
		files = files[len(files)-kept:]
	}
	for len(files) > 0 {
		err := r.use(files[0])
		files = files[1:]
		if err != nil {
			return err
		}
		if err := r.toEnd(ctx); err != nil || r.out.past {
			return err
		}
	}
	if !r.opts.Follow {
		r.lastRecord()
		return first(r.out.err, r.damage)
	}
	return r.out.err
}

// use goes on with another file, which then is r's to close.
func (r *reading) use(f *segment) error {
	r.close()
	r.file, r.pass = f, f.pass
	r.part = r.part[:0]
	text, err := f.text()
	if err != nil {
		r.damaged(err)
		text = eof{}
	}
	if r.at, err = f.Seek(0, io.SeekCurrent); err != nil {
		return fmt.Errorf("cannot read log %s: %w", r.path, err)
	}
	if r.in == nil {
		size := 64 << 10
		if r.opts.Local {
			size = maxRecord // a record is looked at whole
		}
		r.in = bufio.NewReaderSize(text, size)
	} else {
		r.in.Reset(text)
	}
	return nil
}

// eof is an empty file.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// damaged notes that the current file cannot be read on.
func (r *reading) damaged(err error) {
	r.damage = first(r.damage, fmt.Errorf("cannot read log %s to its end: %w", r.file.Name(), err))
}

// toEnd gives the records from the current position to the end of the file.
func (r *reading) toEnd(ctx context.Context) error {
	for n := 0; r.file != nil; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		more, err := r.next()
		switch {
		case r.out.err != nil || r.out.past:
			return r.out.err
		case err != nil && r.file.packed:
			r.damaged(err)
			return nil
		case err != nil:
			return fmt.Errorf("cannot read log %s: %w", r.path, err)
		case !more:
			return nil
		}
	}
	return nil
}

// next gives the next record; more is false when there is none that is whole.
func (r *reading) next() (more bool, err error) {
	if r.opts.Local {
		return r.frame()
	}
	line, err := r.in.ReadSlice('\n')
	if err == nil && len(r.part) == 0 {
		r.record(line)
	} else {
		r.piece(line, err == nil)
	}
	switch {
	case err == nil || errors.Is(err, bufio.ErrBufferFull):
		return true, nil
	case errors.Is(err, io.EOF): // and not io.ErrUnexpectedEOF
		return false, nil
	}
	return false, err
}

// record takes a line of the file.
func (r *reading) record(line []byte) {
	if r.pass > 0 {
		r.pass--
		return
	}
	r.out.record(line)
}

// piece takes a part of a record; whole says that it is the last. Of one that is
// too long the end is kept: a record may begin in it, behind what is torn.
func (r *reading) piece(line []byte, whole bool) {
	if tooMany := len(r.part) + len(line) - maxRecord; tooMany > 0 {
		r.part = append(r.part[:0], r.part[min(len(r.part), tooMany+maxRecord/2):]...)
	}
	r.part = append(r.part, line...)
	if whole {
		r.record(r.part)
		r.part = r.part[:0]
	}
}

// lastRecord gives a last record that is complete but for its newline.
func (r *reading) lastRecord() {
	if len(r.part) > 0 && r.out.err == nil && !r.out.past {
		r.record(r.part)
		r.part = r.part[:0]
	}
}

// follow gives what comes.
func (r *reading) follow(ctx context.Context, w *watch) error {
	var until <-chan time.Time
	if !r.opts.Until.IsZero() {
		timer := time.NewTimer(time.Until(r.opts.Until))
		defer timer.Stop()
		until = timer.C
	}
	for {
		if err := r.out.flush(); err != nil {
			return err
		}
		last := false
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.opts.Done:
			last = true
		case <-until:
			last = true
		case <-w.changed:
		}
		if err := r.catchUp(ctx); err != nil || r.out.past {
			return err
		}
		if last {
			r.lastRecord()
			return first(r.out.err, r.damage)
		}
	}
}

// catchUp reads to the end of the log, through any rotations since.
func (r *reading) catchUp(ctx context.Context) error {
	for {
		if err := r.toEnd(ctx); err != nil || r.out.past {
			return err
		}
		next, err := r.successor()
		if err != nil || next == nil {
			return err
		}
		// Nothing is written to a file after it was replaced, but between
		// reading its end and finding its successor it may have grown.
		if err := r.toEnd(ctx); err != nil || r.out.past {
			next.Close()
			return err
		}
		if err := r.use(next); err != nil {
			return err
		}
	}
}

// successor opens the file that follows the current one, nil if that is still
// the newest.
func (r *reading) successor() (*segment, error) {
	if r.file != nil && !r.file.packed {
		now, err := os.Stat(r.path)
		if errors.Is(err, os.ErrNotExist) || err == nil && inode(now) == r.file.origin.Inode {
			return nil, nil // in the midst of a rotation, or none
		}
	}
	files, err := openAll(r.path)
	if err != nil {
		return nil, err
	}
	next := 0 // the oldest, if the current one was rotated away
	for i, f := range files {
		if r.file != nil && f.is(r.file) {
			next = i + 1
		}
	}
	for i, f := range files {
		if i != next {
			f.Close()
		}
	}
	if next >= len(files) {
		return nil, nil
	}
	return files[next], nil
}
