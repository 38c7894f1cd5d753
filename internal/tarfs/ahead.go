// SPDX-License-Identifier: Apache-2.0

package tarfs

import "io"

// Sizes of what a reader is ahead: enough to keep both sides busy.
const (
	aheadChunk  = 256 << 10
	aheadChunks = 4
)

// Ahead reads r in a goroutine of its own, at most a megabyte ahead of whoever
// reads the result: decompressing and unpacking then use two processors. Close
// ends the goroutine, for which it waits out a Read of r, and does not close r.
func Ahead(r io.Reader) io.ReadCloser {
	a := &ahead{
		full: make(chan chunk, aheadChunks), free: make(chan []byte, aheadChunks),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	for range aheadChunks {
		a.free <- make([]byte, aheadChunk)
	}
	go a.fill(r)
	return a
}

type chunk struct {
	buf  []byte
	data []byte // of buf, not read yet
	err  error  // after data
}

type ahead struct {
	full    chan chunk
	free    chan []byte
	stop    chan struct{}
	done    chan struct{}
	current chunk
	closed  bool
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.done)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.stop:
			return
		}
		var n int
		var err error
		for n < aheadChunk/2 && err == nil { // few large chunks, of a reader that gives small ones
			var m int
			m, err = r.Read(buf[n:])
			n += m
		}
		a.full <- chunk{buf: buf, data: buf[:n], err: err} // has room for all buffers
		if err != nil {
			return
		}
	}
}

// Read implements [io.Reader].
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.current.data) == 0 {
		if a.current.err != nil {
			return 0, a.current.err
		}
		if a.current.buf != nil {
			a.free <- a.current.buf // has room for all buffers
		}
		a.current = <-a.full
	}
	n := copy(p, a.current.data)
	a.current.data = a.current.data[n:]
	return n, nil
}

// Close implements [io.Closer].
func (a *ahead) Close() error {
	if !a.closed {
		a.closed = true
		close(a.stop)
	}
	<-a.done
	return nil
}
