// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

func step(id, status string, current, total uint64) progress {
	p := progress{Status: status, ID: id}
	p.ProgressDetail.Current, p.ProgressDetail.Total = current, total
	return p
}

// TestBars draws on terminals of several widths, and sees what is on them.
func TestBars(t *testing.T) {
	var all strings.Builder
	for _, columns := range []int{100, 60, 40, 24, 12, 3, 1} {
		var out bytes.Buffer
		scr := newScreen(columns, 12)
		b := newBars(&out, style{utf8: true, color: true, tty: true})
		b.size = func() (int, int) { return columns, 12 }
		for _, p := range []progress{
			step("", "Pulling from busybox", 0, 0),
			step("0123456789ab", "Pulling fs layer", 0, 0),
			step("例えば", "Downloading", 0, 27_000_000),
			step("例えば", "Downloading", 9_000_000, 27_000_000),
			step("0123456789ab", "Extracting", 1023*1024, 1023*1024),
			step("", "Digest: sha256:ab", 0, 0),
		} {
			if err := b.show(p); err != nil {
				t.Fatal(err)
			}
			b.mu.Lock()
			b.draw(false)
			b.mu.Unlock()
		}
		if err := b.end(); err != nil {
			t.Fatal(err)
		}
		scr.feed(t, strings.ReplaceAll(out.String(), "\n", "\r\n"))
		if scr.x != 0 {
			t.Errorf("%d columns: the cursor is left at column %d", columns, scr.x)
		}
		fmt.Fprintf(&all, "%d columns:\n%s\n", columns, scr)
	}
	testutil.Golden(t, "bars.txt", all.String())
}

// TestBarsThatDoNotFit has more items than the terminal has lines: no line is
// drawn twice until the end.
func TestBarsThatDoNotFit(t *testing.T) {
	var out bytes.Buffer
	scr := newScreen(40, 6)
	b := newBars(&out, style{tty: true})
	b.size = func() (int, int) { return 40, 6 }
	for i := range 20 {
		if err := b.show(step(fmt.Sprintf("layer%02d", i), "Downloading", 1, 2)); err != nil {
			t.Fatal(err)
		}
		b.mu.Lock()
		b.draw(false)
		b.mu.Unlock()
	}
	scr.feed(t, strings.ReplaceAll(out.String(), "\n", "\r\n"))
	testutil.Golden(t, "bars-many.txt", scr.String())
	out.Reset()
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "layer"); n != 20 {
		t.Errorf("%d of 20 layers are left on the terminal:\n%s", n, out.String())
	}
}

// TestBarsAfterTheTerminalBecameNarrower counts the lines that it has broken.
func TestBarsAfterTheTerminalBecameNarrower(t *testing.T) {
	b := &bars{drawn: []int{79, 30, 0}}
	for columns, want := range map[int]int{80: 3, 79: 3, 40: 4, 20: 7} {
		if got := b.above(columns); got != want {
			t.Errorf("%d columns: %d lines up, not %d", columns, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	l := &lines{w: &out, last: map[lineKey]uint64{}}
	for i := range uint64(101) {
		if err := l.show(step("abc", "Downloading", i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := l.show(step("abc", "Pull complete", 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 12 || !strings.HasSuffix(out.String(), "abc: Downloading 100%\nabc: Pull complete\n") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

// TestWatchOnATerminal watches a job that reports for a while, on a real
// terminal.
func TestWatchOnATerminal(t *testing.T) {
	startBus(t)
	f := serve(t)
	t.Setenv("TERM", "xterm")
	master, tty := openPTY(t)
	setSize(t, tty, 50, 10)
	j, err := f.eng.Submit(t.Context(), layers{})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string)
	go func() {
		var all bytes.Buffer
		_, _ = io.Copy(&all, master) // EIO at the end: pty(7)
		seen <- all.String()
	}()
	code := run(t.Context(), []string{"watch", itoa(j.ID())}, stdio{tty, tty, os.Stderr, time.Now})
	if err := tty.Close(); err != nil {
		t.Fatal(err)
	}
	text := <-seen
	scr := newScreen(50, 10)
	scr.feed(t, text)
	testutil.Golden(t, "watch-terminal.txt", scr.String())
	if code != 0 || !strings.Contains(text, "\x1b[2A\r") || strings.Contains(text, "\x1b[?") {
		t.Errorf("exit status %d; the bars were not drawn over, or the cursor hidden: %q", code, text)
	}
}

// layers is a job that reports the progress of two layers.
type layers struct{ davit.Returns[davit.Nothing] }

func (layers) JobType() string { return "layers" }

func reportLayers(ctx context.Context, j *engine.Job, _ layers) (davit.Nothing, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := range uint64(60) {
		j.Report(engine.Progress{Phase: "Downloading", Item: "first", Current: i + 1, Total: 60})
		j.Report(engine.Progress{Phase: "Downloading", Item: "second", Current: i / 2, Total: 60})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return davit.Nothing{}, ctx.Err()
		}
	}
	return davit.Nothing{}, nil
}
