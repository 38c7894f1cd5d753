// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/stdcopy"
	"github.com/moby/moby/api/types/jsonstream"
)

// chunks is a reply that is sent as it is written. It may be written to from
// any goroutine while the handler runs.
type chunks struct {
	call *call
	rc   *http.ResponseController
	mu   sync.Mutex
}

func (c *call) chunked() *chunks {
	return &chunks{call: c, rc: http.NewResponseController(c.w)}
}

// begin sends the header, once.
func (ch *chunks) begin(mediaType string) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.call.status == 0 {
		ch.call.w.Header().Set("Content-Type", mediaType)
		ch.call.begin(http.StatusOK)
		_ = ch.rc.Flush() // the next write fails too, and is checked
	}
}

// Write sends p at once.
func (ch *chunks) Write(p []byte) (int, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	n, err := ch.call.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, ch.rc.Flush()
}

// batchSize is what a batch sends at once.
const batchSize = 64 << 10

// batch gathers small writes: one chunk, and one write(2), for each line of a
// log takes longer than all the rest. Who writes calls Flush before waiting for
// more to write. It may be used from any goroutine while the handler runs.
type batch struct {
	ch  *chunks
	mu  sync.Mutex
	buf []byte
}

func (b *batch) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if len(b.buf) < batchSize {
		return len(p), nil
	}
	return len(p), b.send()
}

// Flush sends what was written.
func (b *batch) Flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.send()
}

func (b *batch) send() error {
	if len(b.buf) == 0 {
		return nil
	}
	_, err := b.ch.Write(b.buf)
	b.buf = b.buf[:0]
	return err
}

// outputs returns the writers of a container's log.
func (b *batch) outputs(tty bool, want streams) (s davit.Streams) {
	if tty {
		if want.stdout {
			s.Stdout = b
		}
		return s
	}
	conn := stdcopy.NewConn(b)
	if want.stdout {
		s.Stdout = stdcopy.NewWriter(conn, stdcopy.Stdout)
	}
	if want.stderr {
		s.Stderr = stdcopy.NewWriter(conn, stdcopy.Stderr)
	}
	return s
}

// messages is a reply of JSON messages, by which a client shows progress. Its
// methods are for the handler's goroutine.
type messages struct {
	*chunks
	sent map[[2]string]time.Time // per phase and item
	held bool                    // the job reads the body: the handler must outlast it
	mute bool                    // no progress
}

// messageInterval bounds how often the advance of one item is told.
const messageInterval = 100 * time.Millisecond

func (c *call) messages() *messages {
	return &messages{chunks: c.chunked(), sent: map[[2]string]time.Time{}}
}

func (m *messages) send(msg any) error {
	m.begin("application/json")
	b, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	_, err = m.Write(append(b, '\r', '\n'))
	return err
}

// status sends a message without progress.
func (m *messages) status(text, id string) error {
	return m.send(jsonstream.Message{Status: text, ID: id})
}

// progress sends the advance of an item, unless it was told a moment ago and
// is not complete.
func (m *messages) progress(p engine.Progress) error {
	key := [2]string{p.Phase, p.Item}
	now := time.Now()
	if m.mute || (now.Sub(m.sent[key]) < messageInterval && p.Current < p.Total) {
		return nil
	}
	m.sent[key] = now
	msg := jsonstream.Message{Status: p.Phase, ID: p.Item}
	if p.Item != "" {
		msg.Progress = &jsonstream.Progress{Current: int64(p.Current), Total: int64(p.Total)}
	}
	return m.send(msg)
}

// fail tells of an error: by the status while nothing was sent, and then by
// a message.
func (m *messages) fail(err error) error {
	if m.call.status == 0 {
		return err
	}
	_ = m.send(struct { // to a client that may have gone
		Error  *jsonstream.Error `json:"errorDetail"`
		Legacy string            `json:"error"`
	}{&jsonstream.Error{Code: statusOf(err), Message: err.Error()}, err.Error()})
	return nil
}

// watched makes a job of q, sends its progress as messages and returns its
// result. A client that goes away leaves the job, which ends it unless others
// wait for it too. begin is called before each message.
func watched[Q engine.Typed[R], R any](m *messages, q Q, begin func() error) (R, error) {
	ctx := m.call.r.Context()
	j, err := m.call.submit(ctx, q)
	if err != nil {
		var none R
		return none, err
	}
	if m.held {
		defer m.call.letGo(j)()
	}
	err = j.Watch(ctx, func(p engine.Progress) error {
		if err := begin(); err != nil {
			return err
		}
		return m.progress(p)
	})
	if err != nil {
		j.Leave()
		if m.held {
			<-j.Done()
		}
	}
	return engine.Result(ctx, j, q)
}

// source returns the body for a job to read. The reply may begin before the
// body was read; net/http would then discard it, unless told otherwise.
func (m *messages) source() (io.Reader, error) {
	m.held = true
	return m.call.r.Body, m.rc.EnableFullDuplex()
}

// Bounds on the rest of a body that a job did not want.
const (
	maxRest     = 16 << 20
	restTimeout = 2 * time.Second
)

// finish reads what a job left of the body, within bounds, and else has the
// connection closed: net/http, told not to read a body itself, would take up
// reading it while it looks for the next request ("invalid concurrent
// Body.Read call").
func (m *messages) finish() {
	if err := m.rc.SetReadDeadline(time.Now().Add(restTimeout)); err != nil {
		return // the connection is gone
	}
	if _, err := io.CopyN(io.Discard, m.call.r.Body, maxRest); !errors.Is(err, io.EOF) {
		m.call.w.Header().Set("Connection", "close")
	}
	_ = m.rc.SetReadDeadline(time.Time{}) // of a connection that may be gone
}
