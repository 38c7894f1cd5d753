// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net"
	"net/http"
	"sync"
)

// connections tells Options.Begin of the connections of a server. One that
// was taken over from HTTP is not followed further: its request is counted
// until it ends.
type connections struct {
	begin func() (end func())
	mu    sync.Mutex
	ends  map[net.Conn]func()
}

func newConnections(begin func() func()) *connections {
	return &connections{begin: begin, ends: map[net.Conn]func(){}}
}

// state is the ConnState of a server, which calls it with StateNew before it
// accepts the next connection.
func (c *connections) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.ends[conn] = c.begin()
	case http.StateClosed, http.StateHijacked:
		if end := c.ends[conn]; end != nil {
			end()
		}
		delete(c.ends, conn)
	}
}
