// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// copyBuffer is how much is copied at once, in bytes.
const copyBuffer = 32 << 10

// newID returns a random name of 64 digits for an attachment.
func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // cannot fail (crypto/rand)
	return hex.EncodeToString(b[:])
}

// ends are the daemon's ends of a process's stdio; nil where not attached.
type ends struct {
	in       *os.File
	out, err *os.File
}

func (e *ends) close() {
	for _, f := range []*os.File{e.in, e.out, e.err} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Attach copies between the container's streams and s.
//
// When ctx ends or the keys were read, Attach returns at once; a Read of
// s.Stdin or a Write that is under way then ends when the caller closes them.
func (p *Process) Attach(ctx context.Context, s davit.Streams, detach []byte) error {
	var e ends
	var theirs []int
	req := &protocol.Request{Op: protocol.OpAttach, ID: newID(), With: make([]bool, 3)}
	open := func(i int, wanted, write bool, end **os.File) error {
		if !wanted {
			return nil
		}
		fd, f, err := protocol.Pipe(write)
		if err != nil {
			return err
		}
		req.With[i], *end = true, f
		theirs = append(theirs, fd)
		return nil
	}
	req.Place = s.Log != nil
	err := errors.Join(open(0, s.Stdin != nil, true, &e.in), open(1, s.Stdout != nil, false, &e.out), open(2, s.Stderr != nil, false, &e.err))
	var reply answer
	if err == nil {
		reply, err = p.call(ctx, req, theirs...)
	}
	protocol.CloseFDs(theirs)
	if err != nil {
		e.close()
		return fmt.Errorf("cannot attach to container %s: %w", p.name, err)
	}
	defer e.close()
	if s.Attached != nil {
		s.Attached()
	}
	if s.Log != nil {
		if err := s.Log(reply.packet.Place); err != nil {
			return err
		}
	}
	c := startCopies(&e, s, detach)
	select {
	case <-c.done:
		return nil
	case <-c.detached:
		s.TellDetached()
		// Told apart from the end of the input, which may end the container's.
		_, err := p.call(ctx, &protocol.Request{Op: protocol.OpDetach, ID: req.ID})
		if errors.Is(err, os.ErrClosed) {
			err = nil
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// copies are the goroutines between a process's stdio and a caller's streams.
type copies struct {
	done     chan struct{} // the output has ended, or its reader has gone
	detached chan struct{} // the keys were read
}

// startCopies copies until the output ends. Without any output the input's
// end is the end.
func startCopies(e *ends, s davit.Streams, detach []byte) *copies {
	c := &copies{done: make(chan struct{}), detached: make(chan struct{})}
	inputEnded := make(chan struct{})
	switch {
	case e.in == nil:
		close(inputEnded)
	case s.Stdin == nil:
		close(inputEnded)
		if e.in != e.out {
			_ = e.in.Close()
		}
	default:
		go func() {
			defer close(inputEnded)
			if copyInput(e.in, s.Stdin, detach) {
				close(c.detached)
				return // the end stays open until the holder knows
			}
			if e.in != e.out { // a terminal is read on
				_ = e.in.Close()
			}
		}()
	}
	outputs := 0
	ended := make(chan struct{}, 2)
	for _, o := range []struct {
		f *os.File
		w io.Writer
	}{{e.out, s.Stdout}, {e.err, s.Stderr}} {
		if o.f == nil || o.w == nil {
			continue
		}
		outputs++
		go func() {
			copyOutput(o.w, o.f)
			ended <- struct{}{}
		}()
	}
	go func() {
		defer close(c.done)
		if outputs == 0 {
			<-inputEnded
		}
		for range outputs {
			<-ended
		}
	}()
	return c
}

// copyOutput copies until the end of f, or until w fails: then f is closed, and
// whoever writes into it learns that nobody reads.
func copyOutput(w io.Writer, f *os.File) {
	buf := make([]byte, copyBuffer)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				_ = f.Close()
				return
			}
		}
		if err != nil {
			return // EOF of a pipe, EIO of a terminal, closed
		}
	}
}

// copyInput copies until the end of r, until f cannot be written, or until the
// detach keys have been read: then it returns true.
func copyInput(f io.Writer, r io.Reader, detach []byte) bool {
	d := detacher{keys: detach}
	buf := make([]byte, copyBuffer)
	for {
		n, err := r.Read(buf)
		out, found := d.filter(buf[:n])
		if len(out) > 0 {
			if _, werr := f.Write(out); werr != nil {
				return false
			}
		}
		if found {
			return true
		}
		if err != nil {
			return false
		}
	}
}

// detacher finds the detach keys in an input. What may be their beginning is
// held back until the next byte decides, as the docker daemon does.
type detacher struct {
	keys []byte
	held int // how many of keys have been read
}

// filter returns what of p is to be passed on, and whether the keys are
// complete; what follows them is dropped.
func (d *detacher) filter(p []byte) ([]byte, bool) {
	if len(d.keys) == 0 {
		return p, false
	}
	out := make([]byte, 0, len(p)+d.held)
	for _, b := range p {
		if b != d.keys[d.held] {
			out = append(out, d.keys[:d.held]...)
			d.held = 0
			if b != d.keys[0] {
				out = append(out, b)
				continue
			}
		}
		if d.held++; d.held == len(d.keys) {
			return out, true
		}
	}
	return out, false
}
