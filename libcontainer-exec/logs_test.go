// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/containerlog/reader"
	"golang.org/x/sync/errgroup"
)

// TestAttachBehindTheLog attaches to a container that writes all the time, with
// the log before the stream: both together are what it wrote, without a gap and
// nothing twice. Its lines end now and then.
func TestAttachBehindTheLog(t *testing.T) {
	h := newHost(t)
	const script = `trap 'exit 0' TERM; i=0; while [ $i -lt 4000 ]; do i=$((i+1)); printf "$i "; [ $((i%9)) != 0 ] || echo; done; while :; do sleep 0.05; done`
	var want strings.Builder
	for n := range 4000 {
		fmt.Fprintf(&want, "%d ", n+1)
		if (n+1)%9 == 0 {
			want.WriteString("\n")
		}
	}
	for name, config := range map[string]davit.LogConfig{
		"json-file":    {Type: "json-file", Config: map[string]string{"max-size": "4k", "max-file": "1000", "compress": "true"}},
		"local":        {Type: "local", Config: map[string]string{"max-size": "4k", "max-file": "1000"}},
		"non-blocking": {Type: "json-file", Config: map[string]string{"mode": "non-blocking", "max-buffer-size": "4m"}},
		"none":         {Type: "none"},
	} {
		for _, tty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,tty=%t", name, tty), func(t *testing.T) {
				h := h.in(t)
				l := h.launch(script, func(l *davit.Launch) {
					l.Container.HostConfig.LogConfig, l.Container.Config.Tty = config, tty
					if config.Type == "local" {
						l.LogPath = filepath.Join(l.Dir, "local", "log")
					}
				})
				p, err := h.rt.Create(t.Context(), l)
				h.must(err)
				var seen [30]buffer
				var all errgroup.Group
				attach := func(n int) chan struct{} {
					attached := make(chan struct{})
					settle := sync.OnceFunc(func() { close(attached) })
					all.Go(func() error {
						defer settle()
						return p.Attach(t.Context(), davit.Streams{Stdout: &seen[n], Attached: settle, Log: func(place string) error {
							if place == "" && config.Type != "none" {
								t.Error("there is no place")
							}
							opts := reader.Options{Stdout: true, Stderr: true, Tail: -1, Local: config.Type == "local", To: place}
							return reader.Read(t.Context(), l.LogPath, opts, &seen[n], io.Discard)
						}}, nil)
					})
					return attached
				}
				<-attach(0)
				h.must(p.Start(t.Context(), nil))
				for n := range len(seen) - 1 { // over all of its life
					h.until("it has come further", func() bool { return len(seen[0].String()) >= n*600 })
					<-attach(n + 1)
				}
				h.until("it has written all", func() bool { return strings.HasSuffix(seen[0].String(), "3999 4000 ") })
				h.must(p.Signal(t.Context(), 15, true))
				h.await(p)
				h.must(all.Wait())
				for n := range seen {
					got := strings.ReplaceAll(seen[n].String(), "\r\n", "\n")
					if config.Type == "none" && n > 0 {
						continue // it sees what came after it
					}
					if got != want.String() {
						t.Errorf("attached as number %d: %d bytes, want %d, differing after %q", n, len(got), want.Len(), common(got, want.String()))
					}
				}
			})
		}
	}
}

// common is the end of what two texts begin with.
func common(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[max(0, n-30):n]
}
