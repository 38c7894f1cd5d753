// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// client matches the replies of one connection to its requests.
type client struct {
	conn     *protocol.Conn
	onUpdate func(*protocol.State) // called by the reader, in order
	ended    chan struct{}         // closed when the connection is

	mu    sync.Mutex
	seq   uint64
	calls map[uint64]chan answer
	gone  bool
}

type answer struct {
	packet protocol.Packet
	fds    []int
}

// newClient takes conn over and reads from it until it ends.
func newClient(conn *protocol.Conn, onUpdate func(*protocol.State)) *client {
	c := &client{conn: conn, onUpdate: onUpdate, ended: make(chan struct{}), calls: map[uint64]chan answer{}}
	go c.read()
	return c
}

func (c *client) read() {
	defer close(c.ended)
	for {
		var a answer
		fds, err := c.conn.Receive(&a.packet)
		if err != nil {
			break
		}
		if a.packet.Update != nil {
			protocol.CloseFDs(fds)
			c.onUpdate(a.packet.Update)
			continue
		}
		a.fds = fds
		c.mu.Lock()
		ch := c.calls[a.packet.Seq]
		delete(c.calls, a.packet.Seq)
		c.mu.Unlock()
		if ch == nil {
			protocol.CloseFDs(fds) // its caller has given up
			continue
		}
		ch <- a // has room
	}
	_ = c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for seq, ch := range c.calls {
		delete(c.calls, seq)
		close(ch)
	}
}

// close ends the connection and waits for the reader.
func (c *client) close() {
	_ = c.conn.Close()
	<-c.ended
}

// errGone is what every method says once the holder has gone.
var errGone = fmt.Errorf("the container's monitor has gone: %w", os.ErrClosed)

// call sends a request with duplicates of fds and waits for its reply. The
// caller owns the descriptors in it.
func (c *client) call(ctx context.Context, req *protocol.Request, fds ...int) (answer, error) {
	ch := make(chan answer, 1)
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return answer{}, errGone
	}
	c.seq++
	req.Seq = c.seq
	c.calls[req.Seq] = ch
	c.mu.Unlock()
	if err := c.conn.Send(req, fds...); err != nil {
		c.forget(req.Seq)
		return answer{}, fmt.Errorf("%w: %w", errGone, err)
	}
	select {
	case a, ok := <-ch:
		if !ok {
			return answer{}, errGone
		}
		return a, toError(a.packet.Error)
	case <-ctx.Done():
		c.forget(req.Seq)
		select {
		case a, ok := <-ch: // it came at the same moment
			if ok {
				protocol.CloseFDs(a.fds)
			}
		default:
		}
		return answer{}, context.Cause(ctx)
	}
}

func (c *client) forget(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, seq)
}

// toError makes an error of the engine of one of the protocol.
func toError(e *protocol.Error) error {
	if e == nil {
		return nil
	}
	code := davit.Failed
	switch e.Kind {
	case protocol.KindStart:
		code = davit.StartFailed
	case protocol.KindDenied:
		return davit.Errorf(davit.StartFailed, "%w", &deniedError{e})
	case protocol.KindInvalid:
		code = davit.InvalidConfiguration
	case protocol.KindUnsupported:
		code = davit.NotSupported
	case protocol.KindNotRunning:
		code = davit.ContainerNotRunning
	case protocol.KindUnknown:
		return davit.Errorf(davit.NotSupported, "its monitor is of an older Davit and cannot do that; restart the container: %w", e)
	}
	return davit.Errorf(code, "%w", e)
}

// deniedError is a command that was found and cannot be executed: for a shell
// the exit code 126.
type deniedError struct{ err *protocol.Error }

func (e *deniedError) Error() string { return e.err.Error() }

// Is makes it an [os.ErrPermission].
func (*deniedError) Is(target error) bool { return target == os.ErrPermission }
