// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// session is the process of an exec session. It outlives the connection that
// asked for it, as a process; its record does not.
type session struct {
	pid   int
	owner *conn // nil when that has gone; guarded by holder.mu
	done  chan struct{}
	exit  *protocol.Exit // written before done is closed
}

// exec runs a session with the stdio and the spec in fds, which it takes over.
func (h *holder) exec(c *conn, id string, fds []int) (int, *protocol.Error) {
	if !isID(id) {
		protocol.CloseFDs(fds)
		return 0, &protocol.Error{Kind: protocol.KindInvalid, Message: "invalid id of an exec session"}
	}
	if len(fds) != 2 && len(fds) != 4 {
		protocol.CloseFDs(fds)
		return 0, &protocol.Error{Kind: protocol.KindUnsupported, Message: "the engine is of an earlier version than this container's monitor: restart the engine"}
	}
	h.mu.Lock()
	r := h.run
	running := r != nil && h.state.Status == protocol.Running
	h.mu.Unlock()
	if !running {
		protocol.CloseFDs(fds)
		return 0, notRunning()
	}
	h.reaper.begin()
	defer h.reaper.end()
	last := len(fds) - 1
	pid, err := h.enter(r, fds[:last], os.NewFile(uintptr(fds[last]), "session"), nil)
	if err != nil {
		return 0, wireError(err)
	}
	s := &session{pid: pid, owner: c, done: make(chan struct{})}
	exited := h.reaper.watch(pid)
	h.mu.Lock()
	h.execs[id] = s
	h.mu.Unlock()
	h.background.Go(func() {
		status := <-exited
		s.exit = &protocol.Exit{Code: exitCode(status), At: time.Now()}
		close(s.done)
		h.memory.settle()
		h.mu.Lock()
		defer h.mu.Unlock()
		if s.owner == nil {
			delete(h.execs, id)
		}
	})
	return pid, nil
}

// execSignal sends a signal to a session's process.
func (h *holder) execSignal(id string, number int) *protocol.Error {
	h.mu.Lock()
	s := h.execs[id]
	h.mu.Unlock()
	if s == nil {
		return notRunning()
	}
	err := h.reaper.kill(s.pid, syscall.Signal(number))
	if errors.Is(err, os.ErrProcessDone) {
		return notRunning()
	}
	return wireError(err)
}

// execWait waits for the end of a session's process, and forgets the session.
func (h *holder) execWait(id string) (*protocol.Exit, *protocol.Error) {
	h.mu.Lock()
	s := h.execs[id]
	h.mu.Unlock()
	if s == nil {
		return nil, &protocol.Error{Kind: protocol.KindInvalid, Message: "no such exec session"}
	}
	<-s.done
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.execs, id)
	return s.exit, nil
}

// forgetSessions drops the records of a connection that has gone.
func (h *holder) forgetSessions(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, s := range h.execs {
		if s.owner != c {
			continue
		}
		s.owner = nil
		select {
		case <-s.done:
			delete(h.execs, id)
		default:
		}
	}
}
