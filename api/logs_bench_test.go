// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/containerlog/reader"
)

// BenchmarkLogs is the way of a log from its file through the decoder, the frames
// and a chunked reply over a socket to a client that throws it away. The bytes
// are the container's own.
func BenchmarkLogs(b *testing.B) {
	const lines = 50_000
	dir := b.TempDir()
	path := filepath.Join(dir, "log")
	line := `{"log":"` + strings.Repeat("x", 99) + `\n","stream":"stdout","time":"2024-01-01T00:00:01.123456789Z"}` + "\n"
	if err := os.WriteFile(path, []byte(strings.Repeat(line, lines)), 0o600); err != nil {
		b.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r}
		out := (&batch{ch: c.chunked()}).outputs(false, streams{stdout: true, stderr: true})
		if err := reader.Read(r.Context(), path, reader.Options{Stdout: true, Stderr: true, Tail: -1}, out.Stdout, out.Stderr); err != nil {
			b.Error(err)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer func() {
		transport.CloseIdleConnections()
		_ = s.Close()
		<-served
	}()
	client := &http.Client{Transport: transport}
	b.SetBytes(lines * 100)
	for b.Loop() {
		r, err := client.Get("http://d/")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		if err != nil || n != lines*108 {
			b.Fatalf("%d bytes, %v", n, err)
		}
	}
}
