// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
	"github.com/davit-engine/davit"
)

// acceptWebSocket takes the connection over by RFC 6455. A page of another
// origin is refused: a browser would otherwise lend it the user's access.
func (d *duplex) acceptWebSocket(bool) (net.Conn, io.Reader, error) {
	c := d.call
	if o, err := url.Parse(c.r.Header.Get("Origin")); err != nil || (o.Host != "" && o.Host != c.r.Host) {
		return nil, nil, davit.Errorf(davit.AccessDenied, "a web page of %s may not attach", c.r.Header.Get("Origin"))
	}
	ws, err := websocket.Accept(c.w, c.r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // checked above
	if err != nil {
		c.status = http.StatusBadRequest // Accept has told the client
		return nil, nil, err
	}
	c.status = http.StatusSwitchingProtocols
	// It ends when it is closed, not with the job: what was written goes out.
	conn := websocket.NetConn(context.WithoutCancel(d.ctx), ws, websocket.MessageBinary)
	return &webSocket{conn, ws}, conn, nil
}

// webSocket is a WebSocket as a connection.
type webSocket struct {
	net.Conn
	ws *websocket.Conn
}

// CloseWrite says goodbye, as far as RFC 6455 knows half a close. Closing the
// connection at once would cut the reader in the middle of the handshake.
func (w *webSocket) CloseWrite() error { return w.ws.Close(websocket.StatusNormalClosure, "") }
