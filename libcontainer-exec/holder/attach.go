// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"os"
	"time"

	"github.com/davit-engine/davit/internal/containerlog"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// lastPipe is the size that a client's pipe is given when the container has
// ended: what is still in the container's own pipes fits, so a client that
// reads slowly loses nothing and holds nobody up. It is the most that a
// process without CAP_SYS_RESOURCE may ask for (pipe(7)).
const lastPipe = 1 << 20

// client is an attachment: pipes whose other ends the daemon has.
type client struct {
	id       string
	stdin    *os.File
	outputs  [3]*os.File // by stream
	detached bool        // its stdin ended by detaching; guarded by holder.mu
	open     int         // how many of its pipes are open; guarded by holder.mu
}

// attach adds a client whose pipes are fds: those that are asked for, in the
// order stdin, stdout, stderr. It takes fds over. The place is that of the log at
// which the client begins, if that is asked for.
func (h *holder) attach(req *protocol.Request, fds []int) (place string, _ *protocol.Error) {
	c := &client{id: req.ID}
	rest := fds
	for i, wanted := range req.With {
		if !wanted || i > 2 || len(rest) == 0 {
			continue
		}
		_ = unix.SetNonblock(rest[0], true) // on a pipe's end it cannot fail
		f := os.NewFile(uintptr(rest[0]), "client")
		rest = rest[1:]
		if i == 0 {
			c.stdin = f
		} else {
			c.outputs[i] = f
		}
	}
	protocol.CloseFDs(rest)
	if req.Place {
		h.seam.Lock()
		defer h.seam.Unlock()
		place = h.place(c)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leaving || h.state.Status == protocol.Exited {
		c.close()
		return "", notRunning()
	}
	h.follow(c, c.stdin, func() { h.feed(c) })
	for _, f := range c.outputs {
		h.follow(c, f, func() { awaitNoReader(f) })
	}
	if c.open > 0 {
		h.clients = append(h.clients, c)
	}
	return place, nil
}

// place returns where the log is, and gives a new client what waits for the end
// of its line and is not logged yet; holder.seam is held.
func (h *holder) place(c *client) string {
	if h.log == nil {
		return ""
	}
	place, begun := h.log.Place()
	if place == "" {
		return ""
	}
	for stream, text := range begun {
		if f := c.outputs[stream]; f != nil && len(text) > 0 {
			_, _ = f.Write(text) // a new pipe has room for it
		}
	}
	return place
}

// follow closes the client's pipe f, if there is one, when wait returns, and
// forgets the client with its last; holder.mu is held.
func (h *holder) follow(c *client, f *os.File, wait func()) {
	if f == nil {
		return
	}
	c.open++
	h.background.Go(func() {
		wait()
		_ = f.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		if c.open--; c.open > 0 {
			return
		}
		// A new slice: broadcast reads the old one without the lock.
		rest := make([]*client, 0, len(h.clients))
		for _, other := range h.clients {
			if other != c {
				rest = append(rest, other)
			}
		}
		h.clients = rest
		h.memory.settle()
	})
}

// awaitNoReader returns when the other end of the pipe f, which is for
// writing, was closed, or f itself. Output that never comes would not tell.
func awaitNoReader(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	// A writing end is never readable: it wakes a reader with EPOLLERR alone.
	_ = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(p, 0)
		return err == nil && n > 0
	})
}

func (h *holder) detach(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.clients {
		if c.id == id {
			c.detached = true
		}
	}
}

func (c *client) close() {
	if c.stdin != nil {
		_ = c.stdin.Close()
	}
	for _, f := range c.outputs {
		if f != nil {
			_ = f.Close()
		}
	}
}

// feed copies a client's input to the container until either has ended.
func (h *holder) feed(c *client) {
	buf := make([]byte, smallChunk)
	for {
		n, err := c.stdin.Read(buf)
		if n > 0 && !h.input(buf[:n]) {
			_ = c.stdin.Close() // the client's writes fail, as into a pipe that nobody reads
			return
		}
		if err != nil {
			break
		}
	}
	h.mu.Lock()
	r, last := h.run, h.spec.StdinOnce && !c.detached
	h.mu.Unlock()
	if last && r != nil {
		r.closeStdin()
	}
}

// input writes p to the container's stdin; false when it has none.
func (h *holder) input(p []byte) bool {
	h.mu.Lock()
	r := h.run
	h.mu.Unlock()
	if r == nil || !h.spec.OpenStdin {
		return false
	}
	r.stdinMu.Lock()
	f := r.stdin
	r.stdinMu.Unlock()
	if f == nil {
		return false
	}
	_, err := f.Write(p) // whole: the file has its own write lock
	return err == nil
}

// broadcast writes p to the clients, all that there are, of the stream. A slow one makes the
// container wait, one whose pipe is broken is dropped; and so is, when hurry
// says that the container has ended, one that does not read.
func broadcast(clients []*client, stream containerlog.Stream, p []byte, hurry bool) {
	for _, c := range clients {
		f := c.outputs[stream]
		if f == nil {
			continue
		}
		if hurry {
			_ = f.SetWriteDeadline(time.Now().Add(drainTimeout))
		}
		if _, err := f.Write(p); err != nil {
			_ = f.Close() // further writes fail at once
		}
	}
}

// widenClients makes room for the last output.
func (h *holder) widenClients() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.clients {
		for _, f := range c.outputs {
			if f == nil {
				continue
			}
			widen(f, lastPipe) // refused: the client may be held up
		}
	}
}

// hurryClients has a write to a client that is under way end at last.
func (h *holder) hurryClients() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.clients {
		for _, f := range c.outputs {
			if f != nil {
				_ = f.SetWriteDeadline(time.Now().Add(drainTimeout))
			}
		}
	}
}

// endClients closes all attachments: their output has ended.
func (h *holder) endClients() {
	h.mu.Lock()
	clients := h.clients
	h.clients = nil
	h.mu.Unlock()
	for _, c := range clients {
		c.close()
	}
}
