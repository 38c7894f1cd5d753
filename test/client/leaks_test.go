// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/moby/moby/client"
)

// TestNothingIsLeftOfADay has clients go away in the middle of what they do, a
// hundred times: the daemon has as many descriptors and goroutines as before.
func TestNothingIsLeftOfADay(t *testing.T) {
	e := daemon(t)
	count := func() (descriptors, goroutines int) {
		t.Helper()
		info, err := e.cli.Info(t.Context(), client.InfoOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return info.Info.NFd, info.Info.NGoroutines
	}
	round := func(n int) {
		t.Helper()
		id := e.start(t, sh("while :; do echo line; sleep 0.01; done", func(s *spec) { s.OpenStdin, s.Tty = true, n%2 == 0 }))
		ctx, cut := context.WithCancel(t.Context())
		defer cut()
		logs, err := e.cli.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		events := e.cli.Events(ctx, client.EventsListOptions{})
		stats, err := e.cli.ContainerStats(ctx, id, client.ContainerStatsOptions{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		attached := e.attach(t, id, client.ContainerAttachOptions{Stdin: true, Stdout: true})
		made, err := e.cli.ExecCreate(ctx, id, client.ExecCreateOptions{Cmd: []string{"cat"}, AttachStdin: true, AttachStdout: true})
		if err != nil {
			t.Fatal(err)
		}
		exec, err := e.cli.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(exec.Conn, "text")
		buf := make([]byte, 1)
		for _, r := range []interface{ Read([]byte) (int, error) }{logs, attached.Reader, exec.Reader} {
			if _, err := r.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		exec.Close()
		attached.Close()
		cut()
		logs.Close()
		stats.Body.Close()
		<-events.Err
		e.remove(t, id)
	}
	round(0) // what is made once
	descriptors, goroutines := count()
	if descriptors == 0 || goroutines == 0 {
		t.Skip("the daemon does not tell")
	}
	rounds := 20 // of five broken clients each
	for n := range rounds {
		round(n)
	}
	testutil.Eventually(t, patience, "as many descriptors and goroutines as before", func() bool {
		d, g := count()
		if d <= descriptors && g <= goroutines {
			return true
		}
		t.Logf("descriptors %d, were %d; goroutines %d, were %d", d, descriptors, g, goroutines)
		return false
	})
}
