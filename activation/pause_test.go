// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// accepting accepts and counts until its listener is closed.
func accepting(l net.Listener, count *atomic.Int32) <-chan error {
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			count.Add(1)
			c.Close()
		}
	}()
	return ended
}

func TestPause(t *testing.T) {
	p := NewPause()
	var counts [2]atomic.Int32
	var ends []<-chan error
	var listeners []net.Listener
	path := filepath.Join(t.TempDir(), "s")
	for i, address := range [][2]string{{"unix", path}, {"tcp", "127.0.0.1:0"}} {
		l, err := net.Listen(address[0], address[1])
		if err != nil {
			t.Fatal(err)
		}
		if l, err = p.Listener(l); err != nil {
			t.Fatal(err)
		}
		listeners, ends = append(listeners, l), append(ends, accepting(l, &counts[i]))
	}
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	served := func(c net.Conn) {
		t.Helper()
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("not accepted")
		}
		c.Close()
	}
	served(dial())
	for round := range 200 {
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		before := counts[0].Load()
		c := dial() // the backlog takes it
		if n := counts[0].Load(); n != before {
			t.Fatalf("round %d: accepted in a pause", round)
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		served(c)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	for i, l := range listeners {
		l.Close()
		if err := <-ends[i]; !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed in a pause: %v", err)
		}
	}
	if err := errors.Join(p.Stop(), p.Resume()); err != nil {
		t.Errorf("of closed listeners: %v", err)
	}
}
