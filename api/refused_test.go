// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/google/go-cmp/cmp"
)

// TestRefusedArchive sends bodies that the job does not read: the client gets
// its error, and the connection is not left with two readers.
func TestRefusedArchive(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Change, func(context.Context, *engine.Job, davit.Load) ([]davit.Image, error) {
		return nil, davit.Errorf(davit.InvalidArchive, "no archive")
	})
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.path)
	}}}
	defer client.CloseIdleConnections()
	for _, size := range []int{0, 3000, 300 << 10, maxRest + 1<<20} {
		for range 20 {
			resp, err := client.Post("http://d/images/load", "application/x-tar", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "no archive") {
				t.Fatalf("%d bytes: %d %q %v", size, resp.StatusCode, text, err)
			}
		}
	}
	if log := d.log.String(); strings.Contains(log, "panic") {
		t.Error("net/http panicked")
	}
}

// TestLoadQuiet is told what was loaded and no more, as the CLI wants it when
// its output is no terminal.
func TestLoadQuiet(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Change, func(_ context.Context, j *engine.Job, q davit.Load) ([]davit.Image, error) {
		j.Report(engine.Progress{Phase: "Reading archive", Current: 1})
		_, err := io.Copy(io.Discard, q.Source)
		return []davit.Image{{ID: "sha256:11", Tags: []string{"a:1"}}}, err
	})
	r := d.send(d.path, "POST", "/images/load?quiet=1", http.Header{}, io.LimitReader(zeros{}, 1024))
	if want := `{"stream":"Loaded image: a:1\n"}`; strings.TrimSpace(r.body) != want {
		t.Errorf("%d %q, want %q", r.status, r.body, want)
	}
}

// TestLoad sends progress before the body is read to its end, and more body
// than net/http would keep.
func TestLoad(t *testing.T) {
	d := openDoor(t)
	const size = 3 << 20
	reported := make(chan struct{})
	handle(d, engine.Change, func(_ context.Context, j *engine.Job, q davit.Load) ([]davit.Image, error) {
		n, err := io.CopyN(io.Discard, q.Source, size)
		if err != nil {
			return nil, err
		}
		j.Report(engine.Progress{Phase: "Loading layer", Item: "abc", Current: 1, Total: 2})
		close(reported)
		m, err := io.Copy(io.Discard, q.Source)
		if err != nil || n+m != 2*size {
			return nil, fmt.Errorf("read %d bytes: %w", n+m, err)
		}
		return []davit.Image{{ID: "sha256:11", Tags: []string{"a:1", "b:2"}}, {ID: "sha256:22"}}, nil
	})
	half := func() io.Reader { return io.LimitReader(zeros{}, size) }
	r := d.send(d.path, "POST", "/images/load", http.Header{}, &slowly{half(), reported, half()})
	want := `{"status":"Loading layer","progressDetail":{"current":1,"total":2},"id":"abc"}
{"stream":"Loaded image: a:1\n"}
{"stream":"Loaded image: b:2\n"}
{"stream":"Loaded image ID: sha256:22\n"}
`
	if diff := cmp.Diff(want, strings.ReplaceAll(r.body, "\r\n", "\n")); diff != "" || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %s", r.status, r.header, diff)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
