// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// What a holder may have resident, in kB: at each moment, when it has given
// back what it needed, and for the milliseconds that a probe takes.
const (
	most    = 3584
	settled = 2800
	probing = 4608
)

// holderOf returns the pid of a container's holder.
func (h *host) holderOf(l davit.Launch) int {
	h.t.Helper()
	var state protocol.State
	h.must(protocol.ReadFile(filepath.Join(h.rt.dir(l.Container.ID), protocol.StateFile), &state))
	return state.Holder
}

// watchMemory looks at what a holder has resident every two milliseconds, as
// long as wanted. The result is sorted.
func (h *host) watchMemory(holder int, wanted func() bool) []int {
	h.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	seen := []int{resident(h.t, holder)}
	for wanted() {
		<-tick.C
		seen = append(seen, resident(h.t, holder))
	}
	slices.Sort(seen)
	return seen
}

// forA returns a function that is true for so long.
func forA(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().Before(end) }
}

// checkMemory bounds what a holder has at each moment of a while, and what it has
// when it has settled.
func (h *host) checkMemory(holder int, when string, wanted func() bool) {
	h.t.Helper()
	seen := h.watchMemory(holder, wanted)
	h.t.Logf("%s a holder has %d kB resident at most, of %d looks, and %d in the middle", when, seen[len(seen)-1], len(seen), seen[len(seen)/2])
	if kb := seen[len(seen)-1]; kb > most {
		h.t.Errorf("%s a holder has %d kB resident, more than %d", when, kb, most)
	}
	h.until("the holder has given memory back, "+when, func() bool { return resident(h.t, holder) <= settled })
}

// TestHolderMemory bounds what a container costs while it runs.
func TestHolderMemory(t *testing.T) {
	h := newHost(t)
	l := h.launch("seq 1 1000; while sleep 1; do :; done")
	p := h.start(l)
	holder := h.holderOf(l)
	h.checkMemory(holder, "after the start", forA(200*time.Millisecond))
	for range 3 {
		h.exec(p, "echo", "x")
	}
	h.checkMemory(holder, "after exec sessions", forA(100*time.Millisecond))
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	attached := make(chan error, 1)
	go func() {
		attached <- p.Attach(ctx, davit.Streams{Stdout: io.Discard, Attached: func() { close(ready) }}, nil)
	}()
	<-ready
	cancel()
	<-attached
	h.checkMemory(holder, "after an attachment", forA(100*time.Millisecond))
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
}

// TestHolderMemoryFlood writes 200,000 lines at once.
func TestHolderMemoryFlood(t *testing.T) {
	h := newHost(t)
	l := h.launch("yes 'a line such as a server writes for each of its requests' | head -n 200000; while sleep 1; do :; done", func(l *davit.Launch) {
		l.LogPath = filepath.Join(l.Dir, "log", "log")
		h.must(os.MkdirAll(filepath.Dir(l.LogPath), 0o755))
	})
	p := h.start(l)
	holder := h.holderOf(l)
	const logged = 200_000 * 120 // bytes: a line is longer than that as JSON
	end := time.Now().Add(time.Minute)
	h.checkMemory(holder, "in a flood", func() bool {
		files, err := filepath.Glob(l.LogPath + "*")
		h.must(err)
		var size int64
		for _, name := range files {
			if st, err := os.Stat(name); err == nil { // else it was renamed
				size += st.Size()
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the log has %d bytes after a minute, less than %d", size, logged)
		}
		return size < logged
	})
	h.checkMemory(holder, "after a flood", forA(300*time.Millisecond))
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
}

// TestHolderMemoryProbes has a probe every 100 ms. For the milliseconds that one
// takes, the holder has more.
func TestHolderMemoryProbes(t *testing.T) {
	h := newHost(t)
	l := h.launch("while sleep 1; do :; done", func(l *davit.Launch) {
		l.Container.Config.Healthcheck = &davit.Healthcheck{Test: []string{"CMD", "echo", "well"}, Interval: 100 * time.Millisecond, Timeout: time.Minute, Retries: 3}
	})
	p := h.start(l)
	holder := h.holderOf(l)
	// Garbage is collected several times meanwhile.
	seen := h.watchMemory(holder, forA(8*time.Second))
	middle, last := seen[len(seen)/2], seen[len(seen)-1]
	t.Logf("with a probe every 100 ms a holder has %d kB resident, and %d at most", middle, last)
	if middle > most {
		t.Errorf("with a probe every 100 ms a holder has %d kB resident, more than %d", middle, most)
	}
	if last > probing {
		t.Errorf("with a probe every 100 ms a holder once has %d kB resident, more than %d", last, probing)
	}
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
}

// resident is a process's resident set in kB (proc_pid_status(5)).
func resident(t testing.TB, pid int) int {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kb, err := strconv.Atoi(string(bytes.Fields(value)[0]))
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
