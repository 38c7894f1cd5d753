// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/moby/moby/client"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// door is a server on real unix sockets over an engine of test handlers.
type door struct {
	underWay atomic.Int32 // what Begin was told of and is not over
	*Server
	t      *testing.T
	eng    *engine.Engine
	path   string // of the api socket
	roPath string
	stop   context.CancelFunc
	served chan error
	log    *logBuffer
}

// handle registers a test's handler.
func handle[Q engine.Typed[R], R any](d *door, class engine.Class, h func(context.Context, *engine.Job, Q) (R, error)) {
	d.t.Helper()
	if err := engine.Register(d.eng, engine.Type[Q]{Class: class}, h); err != nil {
		d.t.Fatal(err)
	}
}

// answer registers a handler that always returns r.
func answer[Q engine.Typed[R], R any](d *door, class engine.Class, _ Q, r R) {
	d.t.Helper()
	handle(d, class, func(context.Context, *engine.Job, Q) (R, error) { return r, nil })
}

// newDoor serves until the test ends. The gate is closed.
func newDoor(t *testing.T) *door {
	t.Helper()
	dir, err := os.MkdirTemp("", "api") //nolint:usetesting // t.TempDir may be too long for a socket (unix(7))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &door{t: t, path: filepath.Join(dir, "s"), roPath: filepath.Join(dir, "ro"), served: make(chan error, 1), log: &logBuffer{}}
	log := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.eng = engine.New(slog.New(slog.DiscardHandler))
	var socks []Socket
	for name, path := range map[string]string{davit.DoorAPI: d.path, davit.DoorReadOnly: d.roPath} {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		socks = append(socks, Socket{name, l})
	}
	d.Server = New(d.eng, Options{Log: log, Sockets: socks, RequestTimeout: patience, DrainTimeout: patience, Begin: func() func() {
		d.underWay.Add(1)
		return func() { d.underWay.Add(-1) }
	}})
	var ctx context.Context
	ctx, d.stop = context.WithCancel(t.Context())
	ready := make(chan struct{})
	go func() { d.served <- d.Serve(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		d.close()
		if t.Failed() {
			t.Log(d.log.String())
		}
	})
	return d
}

// openDoor is newDoor with an open gate.
func openDoor(t *testing.T) *door {
	d := newDoor(t)
	d.Open()
	return d
}

// close stops the server and the engine, and waits for both.
func (d *door) close() {
	d.stop()
	select {
	case err := <-d.served:
		d.served <- err
		if err != nil {
			d.t.Errorf("Serve: %v", err)
		}
		// net/http does not wait for the goroutines of connections that it closed.
		testutil.Eventually(d.t, patience, "all that was counted in to be counted out", func() bool { return d.underWay.Load() == 0 })
	case <-time.After(patience):
		d.t.Error("Serve did not return")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.eng.Shutdown(ctx, patience); err != nil {
		d.t.Error(err)
	}
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct{ lockedBuffer }

// client returns moby's client at a version of the API.
func (d *door) client(version string) *client.Client {
	d.t.Helper()
	c, err := client.New(client.WithHost("unix://"+d.path), client.WithAPIVersion(version))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	return c
}

// reply is what a raw request got.
type rawReply struct {
	status int
	header http.Header
	body   string
}

// message is the text of an error.
func (r rawReply) message() string {
	var m struct{ Message string }
	_ = json.Unmarshal([]byte(r.body), &m)
	return m.Message
}

// do sends a request with the given body; "" is none.
func (d *door) do(method, url, body string) rawReply {
	d.t.Helper()
	var r io.Reader
	h := http.Header{}
	if body != "" {
		r = strings.NewReader(body)
		h.Set("Content-Type", "application/json")
	}
	return d.send(d.path, method, url, h, r)
}

func (d *door) send(socket, method, url string, h http.Header, body io.Reader) rawReply {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://d"+url, body)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header = h
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", socket)
	}}}
	resp, err := c.Do(req)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, url, err)
	}
	return rawReply{resp.StatusCode, resp.Header, string(b)}
}

// dial opens a raw connection and sends text.
func (d *door) dial(text string) (*net.UnixConn, *bufio.Reader) {
	d.t.Helper()
	c, err := net.Dial("unix", d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		d.t.Fatal(err)
	}
	return c.(*net.UnixConn), bufio.NewReader(c)
}

// head reads a reply's first line and header.
func head(t *testing.T, r *bufio.Reader) (line string, h http.Header) {
	t.Helper()
	h = http.Header{}
	for first := true; ; first = false {
		l, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("head of the reply: %v", err)
		}
		l = strings.TrimRight(l, "\r\n")
		switch k, v, ok := strings.Cut(l, ": "); {
		case first:
			line = l
		case l == "":
			return line, h
		case ok:
			h.Add(k, v)
		}
	}
}

// within fails the test unless c is closed, or sends, in time.
func within[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
	return v
}

// frame is a piece of a multiplexed stream.
func frame(stream byte, s string) string {
	n := len(s)
	return string([]byte{stream, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + s
}

var errBoom = errors.New("boom")
