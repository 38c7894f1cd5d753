// SPDX-License-Identifier: Apache-2.0

// Package stdcopy writes several streams to one connection in the frames of
// the Docker API ("Stream format" of POST /containers/{id}/attach): a byte
// that names the stream, three zeros, the length as 32 bits big endian, the
// payload.
package stdcopy

import (
	"encoding/binary"
	"io"
	"sync"
)

// The streams. SystemError tells the client that the stream before it failed;
// the docker CLI shows its payload as an error.
const (
	Stdin       byte = 0
	Stdout      byte = 1
	Stderr      byte = 2
	SystemError byte = 3
)

// maxPayload bounds one frame: clients allocate what a header announces.
const maxPayload = 64 << 10

// Conn is the connection that the writers of several streams share. It keeps
// their frames whole.
type Conn struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	err error
}

// NewConn returns a Conn that writes to w. The caller keeps w, and writes
// nothing else to it meanwhile.
func NewConn(w io.Writer) *Conn { return &Conn{w: w} }

// NewWriter returns a writer that frames what it is given for one stream of w.
// If w is a [*Conn], writers of it may be used from several goroutines; with
// any other writer the result must be the only user of w. Each frame is one
// Write of w; its method Flush() error passes Flush on to w, for a w that
// gathers them. After a failed one, which may have cut a frame, every further
// Write fails with the same error.
func NewWriter(w io.Writer, stream byte) io.Writer {
	conn, ok := w.(*Conn)
	if !ok {
		conn = NewConn(w)
	}
	return &writer{conn: conn, stream: stream}
}

// Write writes p as it is, between frames. It makes Conn an io.Writer for
// [NewWriter] to take.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.err = err
	return n, err
}

// Flush has the connection send what it holds back, if it is one that does.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.w.(interface{ Flush() error }); ok && c.err == nil {
		c.err = f.Flush()
	}
	return c.err
}

type writer struct {
	conn   *Conn
	stream byte
}

func (w *writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		piece := p[:min(len(p), maxPayload)]
		if err := w.conn.frame(w.stream, piece); err != nil {
			return n, err
		}
		n += len(piece)
		p = p[len(piece):]
	}
	return n, nil
}

// Flush is that of the connection.
func (w *writer) Flush() error { return w.conn.Flush() }

func (c *Conn) frame(stream byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.buf = append(c.buf[:0], stream, 0, 0, 0)
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(len(payload)))
	c.buf = append(c.buf, payload...)
	_, c.err = c.w.Write(c.buf)
	return c.err
}
