// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// maxPending bounds the updates that a connection may have unread; one that
// reads none is closed, and connects again when it lives.
const maxPending = 1024

// acceptPause is between attempts to accept a connection when that is refused.
const acceptPause = 50 * time.Millisecond

// leaveTimeout is how long the last update waits to be read.
const leaveTimeout = 5 * time.Second

// conn is a connection of the daemon's.
type conn struct {
	h       *holder
	wire    *protocol.Conn
	updates chan *protocol.State // guarded by holder.mu; nil before it subscribes, and after the end
	writer  sync.WaitGroup
	answers sync.WaitGroup // requests that are not answered yet
}

// accept serves the listening socket fd for the rest of the process's life.
func (h *holder) accept(fd int) error {
	listener := os.NewFile(uintptr(fd), protocol.SocketFile)
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		for {
			var peer int
			var acceptErr error
			err := raw.Read(func(fd uintptr) bool {
				peer, _, acceptErr = unix.Accept4(int(fd), unix.SOCK_CLOEXEC)
				return !errors.Is(acceptErr, unix.EAGAIN)
			})
			if err != nil {
				return
			}
			switch {
			case acceptErr == nil:
				h.admit(peer)
			case errors.Is(acceptErr, unix.ECONNABORTED), errors.Is(acceptErr, unix.EINTR): // the peer has gone again
			default:
				// Out of descriptors or memory, accept(2): the peer still waits, and
				// is tried again when there may be some.
				<-time.After(acceptPause)
			}
		}
	}()
	return nil
}

func (h *holder) admit(fd int) {
	wire, err := protocol.NewConn(fd)
	if err != nil {
		h.complain("cannot use a connection", err)
		return
	}
	c := &conn{h: h, wire: wire}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leaving {
		_ = wire.Close()
		return
	}
	h.conns[c] = struct{}{}
	go c.serve()
}

func (h *holder) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// serve answers requests until the peer closes.
func (c *conn) serve() {
	h := c.h
	for {
		var req protocol.Request
		fds, err := c.wire.Receive(&req)
		if err != nil {
			break
		}
		if !c.begin() {
			protocol.CloseFDs(fds)
			break
		}
		switch req.Op {
		case protocol.OpCreated, protocol.OpStart, protocol.OpExec, protocol.OpExecWait, protocol.OpFreeze, protocol.OpThaw, protocol.OpUpdate:
			h.background.Go(func() { c.answer(&req, fds) }) // they wait for something
		default:
			c.answer(&req, fds)
		}
	}
	h.mu.Lock()
	delete(h.conns, c)
	if c.updates != nil {
		close(c.updates)
		c.updates = nil
	}
	last := len(h.conns) == 0
	h.mu.Unlock()
	_ = c.wire.Close()
	c.writer.Wait()
	h.forgetSessions(c)
	if last {
		select {
		case h.idle <- struct{}{}:
		default:
		}
	}
}

// begin counts a request that is to be answered before this process leaves: a
// program may have ended before its start was answered.
func (c *conn) begin() bool {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if c.h.leaving {
		return false
	}
	c.answers.Add(1)
	return true
}

// answer does one request, which was begun. It takes fds over.
func (c *conn) answer(req *protocol.Request, fds []int) {
	defer c.answers.Done()
	h := c.h
	packet := protocol.Packet{Seq: req.Seq}
	var pass []int
	switch req.Op {
	case protocol.OpCreated:
		<-h.created
		packet.Error = h.createErr
		h.mu.Lock()
		packet.Pid = h.state.Pid
		h.mu.Unlock()
	case protocol.OpHold:
		h.mu.Lock()
		h.hold, fds = append(h.hold, fds...), nil
		h.mu.Unlock()
	case protocol.OpStart:
		packet.Error = h.requestStart()
	case protocol.OpSignal:
		packet.Error = h.signal(req.Signal, req.Stop)
	case protocol.OpResize:
		packet.Error = h.resize(req.Rows, req.Cols)
	case protocol.OpNetns:
		pass, packet.Error = h.netnsFD()
	case protocol.OpFreeze, protocol.OpThaw:
		packet.Error = wireError(h.freeze(req.Op == protocol.OpFreeze))
	case protocol.OpUpdate:
		packet.Error = wireError(h.update())
	case protocol.OpPolicy:
		packet.Error = h.setPolicy(req.Policy)
	case protocol.OpRoot:
		pass, packet.Error = h.rootFD()
	case protocol.OpAttach:
		packet.Place, packet.Error = h.attach(req, fds)
		fds = nil
	case protocol.OpDetach:
		h.detach(req.ID)
	case protocol.OpExec:
		packet.Pid, packet.Error = h.exec(c, req.ID, fds)
		fds = nil
	case protocol.OpExecSignal:
		packet.Error = h.execSignal(req.ID, req.Signal)
	case protocol.OpExecWait:
		packet.Exit, packet.Error = h.execWait(req.ID)
	case protocol.OpSubscribe:
		c.subscribe()
	default:
		packet.Error = &protocol.Error{Kind: protocol.KindUnknown, Message: "unknown request " + string(req.Op)}
	}
	protocol.CloseFDs(fds)
	err := c.wire.Send(&packet, pass...)
	protocol.CloseFDs(pass)
	if err == nil && req.Op == protocol.OpCreated && packet.Error != nil {
		select {
		case h.fetched <- struct{}{}:
		default:
		}
	}
}

// subscribe has the current state and all that follow sent.
func (c *conn) subscribe() {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.updates != nil || h.leaving {
		return
	}
	updates := make(chan *protocol.State, maxPending)
	c.updates = updates
	if h.state.Status != "" {
		state := h.state
		updates <- &state
	}
	c.writer.Go(func() {
		for state := range updates {
			if c.wire.Send(&protocol.Packet{Update: state}) != nil {
				_ = c.wire.Close()
			}
		}
	})
}

// publish queues an update; holder.mu is held.
func (c *conn) publish(state *protocol.State) {
	if c.updates == nil {
		return
	}
	select {
	case c.updates <- state:
	default:
		_ = c.wire.Close()
	}
}

// closeConns lets what was published be read, within reason, and ends all
// connections.
func (h *holder) closeConns() {
	h.mu.Lock()
	h.leaving = true
	conns := make([]*conn, 0, len(h.conns))
	for c := range h.conns {
		conns = append(conns, c)
		if c.updates != nil {
			close(c.updates)
			c.updates = nil
		}
	}
	h.mu.Unlock()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, c := range conns {
			c.writer.Wait()
			c.answers.Wait()
		}
	}()
	timer := time.NewTimer(leaveTimeout)
	defer timer.Stop()
	select {
	case <-sent:
	case <-timer.C:
	}
	for _, c := range conns {
		_ = c.wire.Close()
	}
}

func notRunning() *protocol.Error {
	return &protocol.Error{Kind: protocol.KindNotRunning, Message: "the container is not running"}
}

func wireError(err error) *protocol.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e
	}
	return &protocol.Error{Message: err.Error()}
}

func (h *holder) requestStart() *protocol.Error {
	<-h.created
	if h.createErr != nil {
		return h.createErr
	}
	h.mu.Lock()
	r, status := h.run, h.state.Status
	h.mu.Unlock()
	if r == nil || status != protocol.Created {
		return &protocol.Error{Kind: protocol.KindInvalid, Message: "the container has been started already"}
	}
	done := make(chan error, 1)
	select {
	case h.started <- startRequest{done}:
		return wireError(<-done)
	case <-r.ended:
		return notRunning()
	}
}

// signal sends a signal to the container's first process. A container between
// two runs is stopped by keeping the next from beginning.
func (h *holder) signal(number int, stop bool) *protocol.Error {
	h.mu.Lock()
	r, status, policy := h.run, h.state.Status, h.spec.Restart
	h.mu.Unlock()
	if stop {
		r = h.requestStop()
	}
	err := os.ErrProcessDone
	if r != nil {
		err = r.end(syscall.Signal(number), stop)
	}
	if !errors.Is(err, os.ErrProcessDone) {
		return wireError(err)
	}
	// One that has ended and is not told of yet is between two runs, too.
	again := status == protocol.Restarting || status == protocol.Running && policy != "" && policy != "no"
	if stop && again {
		return nil
	}
	return notRunning()
}

func (h *holder) resize(rows, cols uint16) *protocol.Error {
	h.mu.Lock()
	r := h.run
	h.mu.Unlock()
	if r == nil {
		return notRunning()
	}
	return wireError(r.resize(rows, cols))
}

// netnsFD returns a duplicate of the network namespace's descriptor, or of the
// own one when the container uses the host's.
func (h *holder) netnsFD() ([]int, *protocol.Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var fd int
	var err error
	if h.netns != nil {
		fd, err = unix.FcntlInt(h.netns.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	} else if h.spec.OwnNetns {
		return nil, notRunning()
	} else {
		fd, err = unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, wireError(err)
	}
	return []int{fd}, nil
}
