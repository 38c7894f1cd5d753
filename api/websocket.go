// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

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
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.ctx))
	conn := &webSocket{Conn: websocket.NetConn(ctx, ws, websocket.MessageBinary), ws: ws, ctx: ctx, cancel: cancel}
	return conn, conn, nil
}

// webSocket is a WebSocket as a connection. It writes binary messages, and reads
// those of either type: a browser sends a string as text.
type webSocket struct {
	net.Conn
	ws      *websocket.Conn
	ctx     context.Context // its deadlines are the connection's
	cancel  context.CancelFunc
	message io.Reader // what is being read; nil between two messages
}

// Read reads what the client sends. One that says goodbye is at the end of its input.
func (w *webSocket) Read(p []byte) (int, error) {
	for {
		if w.message == nil {
			_, message, err := w.ws.Reader(w.ctx)
			if code := websocket.CloseStatus(err); code == websocket.StatusNormalClosure || code == websocket.StatusGoingAway {
				return 0, io.EOF
			}
			if err != nil {
				return 0, err
			}
			w.message = message
		}
		n, err := w.message.Read(p)
		if errors.Is(err, io.EOF) {
			w.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// SetReadDeadline ends the connection when a read waits at that time, and later ones.
func (w *webSocket) SetReadDeadline(t time.Time) error {
	time.AfterFunc(time.Until(t), w.cancel)
	return nil
}

// Close ends the connection.
func (w *webSocket) Close() error {
	defer w.cancel()
	return w.Conn.Close()
}

// CloseWrite says goodbye, as far as RFC 6455 knows half a close. Closing the
// connection at once would cut the reader in the middle of the handshake.
func (w *webSocket) CloseWrite() error { return w.ws.Close(websocket.StatusNormalClosure, "") }
