// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"
	"github.com/davit-engine/davit"
)

func TestAttachWebSocket(t *testing.T) {
	d := openDoor(t)
	onAttach(d, false, func(_ context.Context, s davit.Streams) error {
		b := make([]byte, 5)
		if _, err := io.ReadFull(s.Stdin, b); err != nil {
			return err
		}
		_, err := s.Stdout.Write(append(b, '!'))
		return err
	})
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", d.path)
	}}}
	dial := func(origin string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(t.Context(), "ws://d/containers/x/attach/ws?stream=1&stdin=1&stdout=1", &websocket.DialOptions{
			HTTPClient: hc, HTTPHeader: http.Header{"Origin": {origin}},
		})
	}
	// In one message, in several with an empty one among them, and in fragments.
	for _, send := range []func(*websocket.Conn) error{
		func(ws *websocket.Conn) error { return ws.Write(t.Context(), websocket.MessageBinary, []byte("hello")) },
		func(ws *websocket.Conn) error { return ws.Write(t.Context(), websocket.MessageText, []byte("hello")) },
		func(ws *websocket.Conn) error {
			return errors.Join(ws.Write(t.Context(), websocket.MessageText, []byte("hel")), ws.Write(t.Context(), websocket.MessageText, nil),
				ws.Write(t.Context(), websocket.MessageBinary, []byte("lo")))
		},
		func(ws *websocket.Conn) error {
			w, err := ws.Writer(t.Context(), websocket.MessageText)
			if err != nil {
				return err
			}
			for _, part := range []string{"he", "l", "lo"} {
				if _, err := io.WriteString(w, part); err != nil {
					return err
				}
			}
			return w.Close()
		},
	} {
		ws, _, err := dial("http://d")
		if err != nil {
			t.Fatal(err)
		}
		if err := send(ws); err != nil {
			t.Fatal(err)
		}
		kind, b, err := ws.Read(t.Context())
		if err != nil || kind != websocket.MessageBinary || string(b) != "hello!" {
			t.Errorf("got %v %q, %v", kind, b, err)
		}
		_, _, err = ws.Read(t.Context())
		if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the end: %v", err)
		}
	}
	if _, resp, err := dial("http://evil.example"); err == nil || resp.StatusCode != 403 {
		t.Errorf("a page of another origin: %v, %v", resp, err)
	}
}
