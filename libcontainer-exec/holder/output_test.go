// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/containerlog"
)

// A container that ended while the log is slow: all that is in its pipes comes,
// though a process outside holds their other ends, and a client sees it, too.
func TestDrainTakesAll(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "socket")
	journal, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	log, err := containerlog.OpenJournal(containerlog.JournalOptions{Socket: socket, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	reading, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()

	h := &holder{log: log, clients: []*client{{outputs: [3]*os.File{containerlog.Stdout: theirs}}}}
	r := &run{h: h, pumps: make(chan struct{})}
	r.outputs[containerlog.Stdout] = in
	const lines = 800 // more than is read at once
	if _, err := io.WriteString(out, strings.Repeat("a line\n", lines)); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.pumps)
		r.pump(containerlog.Stdout, in)
	}()
	slow := make(chan int)
	go func() { // by the time that drain loses its patience only a part has been read
		n, buf := 0, make([]byte, 4096)
		for n < lines {
			if size, err := journal.Read(buf); err != nil || !bytes.Contains(buf[:size], []byte("MESSAGE=a line\n")) {
				break
			}
			n++
			<-time.After(time.Millisecond)
		}
		slow <- n
	}()
	r.drain(10 * time.Millisecond)
	h.endClients()
	if n := <-slow; n != lines {
		t.Errorf("the log has %d lines, want %d", n, lines)
	}
	if seen, err := io.ReadAll(reading); err != nil || len(seen) != lines*len("a line\n") {
		t.Errorf("the client has %d bytes: %v", len(seen), err)
	}
}
