// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
)

// TestConnectionsAreCounted from the moment they are accepted, silent ones and
// those that were taken over from HTTP too.
func TestConnectionsAreCounted(t *testing.T) {
	d := openDoor(t)
	is := func(when string, want int32) {
		t.Helper()
		testutil.Eventually(t, patience, when, func() bool { return d.underWay.Load() == want })
	}
	silent, _ := d.dial("")
	is("a silent connection", 1)
	kept, r := d.dial("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
	reply, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		t.Fatal(err)
	}
	_ = reply.Body.Close()
	is("one that is kept after its request", 2)
	began := make(chan struct{})
	onAttach(d, true, func(ctx context.Context, _ davit.Streams) error {
		close(began)
		<-ctx.Done()
		return nil
	})
	taken, r := d.dial(attachReq("", "stream=1&stdout=1"))
	head(t, r)
	<-began
	is("one that was taken over: its request counts", 3)
	for i, c := range []io.Closer{taken, kept, silent} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		is("a client that left", int32(2-i))
	}
}
