// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/stdcopy"
	"github.com/moby/moby/api/types"
)

const (
	// lingerTimeout bounds how long a finished connection is kept for its
	// client to read the end: closing a socket with unread input makes the
	// client see a reset instead of what was last sent (RFC 2525, 2.17; unix
	// sockets do the same).
	lingerTimeout = 2 * time.Second
	// hangupInterval is how often a client is looked after that has sent more
	// than the container reads.
	hangupInterval = time.Second
)

// streams says which of a container's streams a client wants.
type streams struct{ stdin, stdout, stderr bool }

// opener is the Open of a job that carries streams.
type opener = func(tty bool) (davit.Streams, error)

// duplex is a connection that carries a container's streams in both
// directions after it was taken over from HTTP.
type duplex struct {
	call   *call
	want   streams
	framed bool // without a terminal, stdout and stderr are told apart
	take   func(tty bool) (net.Conn, io.Reader, error)

	ctx    context.Context // ends with the job, the client and the server
	cancel context.CancelFunc

	tty   bool
	conn  net.Conn // nil until it is taken over
	in    io.Reader
	out   *stdcopy.Conn
	input chan []byte    // what the client sent; closed at its end
	pump  sync.WaitGroup // of the one goroutine that reads the connection
}

// newDuplex returns a duplex that takes the connection over by HTTP's rules.
// The caller releases it.
func newDuplex(c *call, want streams) (d *duplex, release func()) {
	d = &duplex{call: c, want: want, framed: true, input: make(chan []byte)}
	d.take = d.upgrade
	d.ctx, d.cancel = c.server.calls.follow(c.r.Context())
	return d, d.cancel
}

// serve runs the job, which got d's open, until it ends, or the client or the
// server does.
func serve[Q engine.Typed[R], R any](d *duplex, q Q) error {
	_, err := follow(d.ctx, d.call, q)
	return d.close(err)
}

// opener returns the function that takes the connection over and gives the
// caller's ends of the streams. From then on the reply is not HTTP's.
func (d *duplex) opener(q engine.Request) opener {
	wait := d.call.awaitJob(q)
	return func(tty bool) (s davit.Streams, err error) {
		wait()
		if d.conn, d.in, err = d.take(tty); err != nil {
			return s, fmt.Errorf("cannot take over the connection: %w", err)
		}
		d.tty, d.out = tty, stdcopy.NewConn(d.conn)
		d.pump.Go(d.read)
		// A client that does not read must not hold up the end.
		context.AfterFunc(d.ctx, func() { _ = d.conn.SetWriteDeadline(time.Now()) })
		if d.want.stdin {
			s.Stdin = &input{d: d, closed: make(chan struct{})}
		}
		if d.want.stdout {
			s.Stdout = d.writer(stdcopy.Stdout)
		}
		if d.want.stderr && !tty {
			s.Stderr = d.writer(stdcopy.Stderr)
		}
		return s, nil
	}
}

func (d *duplex) writer(stream byte) io.Writer {
	if d.tty || !d.framed {
		return d.out
	}
	return stdcopy.NewWriter(d.out, stream)
}

// upgrade takes the connection over as Docker does: 101 for a client that
// asked for it, 200 and the end of HTTP for an older one.
func (d *duplex) upgrade(tty bool) (net.Conn, io.Reader, error) {
	c := d.call
	conn, buf, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	var head bytes.Buffer
	c.status = http.StatusOK
	h := c.w.Header()
	h.Set("Content-Type", streamType(c.version, tty))
	if c.job != 0 {
		h.Set("Davit-Job", fmt.Sprint(c.job))
	}
	if c.r.Header.Get("Upgrade") != "" {
		c.status = http.StatusSwitchingProtocols
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "tcp")
		head.WriteString("HTTP/1.1 101 UPGRADED\r\n")
	} else {
		head.WriteString("HTTP/1.1 200 OK\r\n")
	}
	_ = h.Write(&head) // to memory
	head.WriteString("\r\n")
	if _, err := conn.Write(head.Bytes()); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	// What net/http has read already comes first. Its reader is not used
	// further: it takes the client's end of file for the end of the request.
	early, err := buf.Peek(buf.Reader.Buffered())
	return conn, io.MultiReader(bytes.NewReader(early), conn), err
}

// streamType is the media type of a container's output.
func streamType(v version, tty bool) string {
	if !tty && v >= 42 {
		return types.MediaTypeMultiplexedStream
	}
	return types.MediaTypeRawStream
}

// read hands on what the client sends, and then waits for it to hang up. It
// is the only reader of the connection.
func (d *duplex) read() {
	err := d.copyInput()
	close(d.input)
	if errors.Is(err, io.EOF) && !d.awaitHangup() {
		return // the connection was closed by us
	}
	d.cancel()
}

func (d *duplex) copyInput() error {
	buf := make([]byte, 32<<10)
	for {
		n, err := d.in.Read(buf)
		if n > 0 && d.want.stdin {
			d.deliver(bytes.Clone(buf[:n]))
		}
		if err != nil {
			return err
		}
	}
}

// deliver hands p to the reader of the input. Once the job has ended, what
// the client still sends is dropped.
func (d *duplex) deliver(p []byte) {
	tick := time.NewTicker(hangupInterval)
	defer tick.Stop()
	for {
		select {
		case d.input <- p:
			return
		case <-d.ctx.Done():
			return
		case <-tick.C:
			if d.hungUp() {
				d.cancel()
			}
		}
	}
}

// raw returns the socket under the connection, nil when it has none.
func (d *duplex) raw() syscall.RawConn {
	conn := d.conn
	if under, ok := conn.(interface{ NetConn() net.Conn }); ok { // crypto/tls
		conn = under.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// awaitHangup blocks after the client's end of file until the client has
// closed the connection for reading too, and returns true then; false when
// the wait was interrupted. A TCP client's FIN does not tell whether it still
// reads: that one is found out by the next write.
func (d *duplex) awaitHangup() bool {
	raw := d.raw()
	if raw == nil {
		return true
	}
	// The poller wakes the function at each change of the socket's state.
	return raw.Read(sendRefused) == nil
}

func (d *duplex) hungUp() (yes bool) {
	if raw := d.raw(); raw != nil {
		_ = raw.Control(func(fd uintptr) { yes = sendRefused(fd) }) // fails when the connection is closed
	}
	return yes
}

// sendRefused tells whether a socket's peer has gone: sending nothing is then
// refused (send(2), EPIPE), and otherwise has no effect on a stream.
func sendRefused(fd uintptr) bool {
	_, err := syscall.SendmsgN(int(fd), nil, nil, nil, syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT)
	return err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
}

// close ends the connection after its job has ended with err. It returns err
// when HTTP still has to tell the client.
func (d *duplex) close(err error) error {
	if d.conn == nil {
		return err
	}
	alive, deadline := d.ctx.Err() == nil, time.Now()
	if err != nil && alive && davit.KindOf(err) != davit.Cancelled {
		_, _ = fmt.Fprintf(d.writer(stdcopy.Stderr), "%v\r\n", err) // to a client that may go
	}
	if half, ok := d.conn.(interface{ CloseWrite() error }); ok && alive && half.CloseWrite() == nil {
		deadline = deadline.Add(lingerTimeout)
	}
	d.cancel() // unblocks who still reads the input
	_ = d.conn.SetReadDeadline(deadline)
	d.pump.Wait()
	_ = d.conn.Close() // everything was written before
	return nil
}

// input is the client's end of a container's stdin. Close makes a blocked
// Read return.
type input struct {
	d      *duplex
	left   []byte
	closed chan struct{}
	once   sync.Once
}

// Read returns what the client sent, and EOF when it has closed its side.
func (i *input) Read(p []byte) (int, error) {
	if len(i.left) == 0 {
		select {
		case b, ok := <-i.d.input:
			if !ok {
				return 0, io.EOF
			}
			i.left = b
		case <-i.closed:
			return 0, io.ErrClosedPipe
		case <-i.d.ctx.Done():
			return 0, i.d.ctx.Err()
		}
	}
	n := copy(p, i.left)
	i.left = i.left[n:]
	return n, nil
}

// Close ends reading; what the client still sends is dropped.
func (i *input) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}
