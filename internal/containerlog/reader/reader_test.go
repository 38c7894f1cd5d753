// SPDX-License-Identifier: Apache-2.0

package reader_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/containerlog"
	"github.com/davit-engine/davit/internal/containerlog/reader"
	"github.com/google/go-cmp/cmp"
)

var all = reader.Options{Stdout: true, Stderr: true, Tail: -1}

func record(text, stream string, second int) string {
	return fmt.Sprintf(`{"log":"%s\n","stream":"%s","time":"2024-01-01T00:00:%02dZ"}`+"\n", text, stream, second)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func at(second int) time.Time { return time.Date(2024, 1, 1, 0, 0, second, 0, time.UTC) }

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	writeFile(t, path+".2", record("a", "stdout", 1)+record("b", "stderr", 2))
	writeFile(t, path+".1", record("c", "stdout", 3)+"{\"log\":\"torn\n"+record("d", "stderr", 4))
	writeFile(t, path, record("e", "stdout", 5)+record("f", "stdout", 6)+`{"log":"half`)
	empty := filepath.Join(dir, "empty")
	writeFile(t, empty, "")
	unended := filepath.Join(dir, "unended")
	writeFile(t, unended, record("a", "stdout", 1)+strings.TrimSuffix(record("b", "stdout", 2), "\n"))
	huge := filepath.Join(dir, "huge")
	writeFile(t, huge, record(strings.Repeat("x", 300<<10), "stdout", 1)+record(strings.Repeat("y", 100<<10), "stdout", 2))

	tests := []struct {
		name        string
		path        string
		opts        reader.Options
		out, errOut string
	}{
		{"all", path, all, "a\nc\ne\nf\n", "b\nd\n"},
		{"stdout", path, reader.Options{Stdout: true, Tail: -1}, "a\nc\ne\nf\n", ""},
		{"stderr", path, reader.Options{Stderr: true, Tail: -1}, "", "b\nd\n"},
		{"none of it", path, reader.Options{Stdout: true, Stderr: true}, "", ""},
		{"tail in one", path, reader.Options{Stdout: true, Stderr: true, Tail: 1}, "f\n", ""},
		{"tail is a file", path, reader.Options{Stdout: true, Stderr: true, Tail: 2}, "e\nf\n", ""},
		{"tail over two", path, reader.Options{Stdout: true, Stderr: true, Tail: 3}, "e\nf\n", "d\n"},
		{"tail over all", path, reader.Options{Stdout: true, Stderr: true, Tail: 6}, "c\ne\nf\n", "b\nd\n"},
		{"tail of more", path, reader.Options{Stdout: true, Stderr: true, Tail: 100}, "a\nc\ne\nf\n", "b\nd\n"},
		{"since", path, reader.Options{Stdout: true, Stderr: true, Tail: -1, Since: at(4)}, "e\nf\n", "d\n"},
		{"until", path, reader.Options{Stdout: true, Stderr: true, Tail: -1, Until: at(3)}, "a\nc\n", "b\n"},
		{"both", path, reader.Options{Stdout: true, Stderr: true, Tail: -1, Since: at(2), Until: at(3)}, "c\n", "b\n"},
		{"times", path, reader.Options{Stdout: true, Tail: 1, Timestamps: true}, "2024-01-01T00:00:06.000000000Z f\n", ""},
		{"no log", path + "none", all, "", ""},
		{"empty", empty, all, "", ""},
		{"empty, tail", empty, reader.Options{Stdout: true, Tail: 1}, "", ""},
		{"unended", unended, all, "a\nb\n", ""},
		{"huge", huge, all, strings.Repeat("y", 100<<10) + "\n", ""},
		{"follow until the past", path, reader.Options{Stdout: true, Tail: -1, Follow: true, Until: at(3)}, "a\nc\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if err := reader.Read(t.Context(), tt.path, tt.opts, &out, &errOut); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.out, out.String()); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.errOut, errOut.String()); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

// Tails of every length over blocks, against the whole.
func TestTailOverBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := containerlog.Create(path, containerlog.Options{MaxSize: 200 << 10, MaxFiles: 3})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 400 {
		if err := w.Write(containerlog.Stdout, fmt.Appendf(nil, "%d%s\n", n, strings.Repeat("x", n*7%3000))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := lines(t, path, all)
	for _, n := range []int{1, 2, 41, 43, 100, 150, 200, len(whole) - 1, len(whole), len(whole) + 1} {
		got := lines(t, path, reader.Options{Stdout: true, Tail: n})
		want := whole[max(0, len(whole)-n):]
		if !cmp.Equal(want, got) {
			t.Errorf("tail %d gives %d lines, want %d", n, len(got), len(want))
		}
	}
}

func lines(t *testing.T, path string, opts reader.Options) []string {
	t.Helper()
	var out bytes.Buffer
	if err := reader.Read(t.Context(), path, opts, &out, &out); err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// A follower sees every line once, in order, through rotations, and ends when
// the log has.
func TestFollow(t *testing.T) {
	for _, files := range []int{1000, 2} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			out, errOut := newLineWriter(), newLineWriter()
			done := make(chan struct{})
			opts := all
			opts.Follow, opts.Done = true, done
			result := make(chan error, 1)
			go func() { result <- reader.Read(t.Context(), path, opts, out, errOut) }()

			w, err := containerlog.Create(path, containerlog.Options{MaxSize: 4 << 10, MaxFiles: files})
			if err != nil {
				t.Fatal(err)
			}
			const total = 2000
			for n := range total {
				if err := w.Write(containerlog.Stdout, fmt.Appendf(nil, "%d\n", n)); err != nil {
					t.Fatal(err)
				}
				if n%50 == 0 {
					// With two files a follower that is behind loses some.
					out.waitFor(t, fmt.Sprintf("%d\n", n))
				}
				if n%100 == 99 {
					if err := w.Write(containerlog.Stderr, []byte("e\n")); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.Write(containerlog.Stdout, []byte("the end")); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			close(done)
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			want := make([]string, 0, total+1)
			for n := range total {
				want = append(want, fmt.Sprintf("%d\n", n))
			}
			want = append(want, "the end")
			if diff := cmp.Diff(want, out.all()); diff != "" && files == 1000 {
				t.Errorf("stdout (-want +got):\n%s", diff)
			} else if got := out.all(); got[len(got)-1] != "the end" {
				t.Errorf("last line %q", got[len(got)-1])
			}
			if got := len(errOut.all()); got != total/100 {
				t.Errorf("%d lines of stderr", got)
			}
		})
	}
}

func TestFollowWaitsForTheRestOfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	line := record("abc", "stdout", 1)
	writeFile(t, path, record("old", "stdout", 0)+line[:20])
	out := newLineWriter()
	ctx, cancel := context.WithCancel(t.Context())
	opts := reader.Options{Stdout: true, Follow: true, Tail: -1}
	result := make(chan error, 1)
	go func() { result <- reader.Read(ctx, path, opts, out, out) }()
	out.waitFor(t, "old\n")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, piece := range []string{line[20:30], line[30:], record("d", "stdout", 2)} {
		if _, err := f.WriteString(piece); err != nil {
			t.Fatal(err)
		}
	}
	out.waitFor(t, "d\n")
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if diff := cmp.Diff([]string{"old\n", "abc\n", "d\n"}, out.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFollowEndsAtUntil(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeFile(t, path, "")
	opts := all
	opts.Follow, opts.Until = true, time.Now().Add(20*time.Millisecond)
	if err := reader.Read(t.Context(), path, opts, nil, nil); err != nil {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWriterFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeFile(t, path, record("a", "stdout", 1))
	gone := errors.New("gone")
	for _, follow := range []bool{false, true} {
		opts := all
		opts.Follow = follow
		if err := reader.Read(t.Context(), path, opts, failing{gone}, failing{gone}); !errors.Is(err, gone) {
			t.Errorf("follow %v: error is %v", follow, err)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("a\nb"), 1)
	f.Add([]byte("\xff\u2028\n<>\n\n"), 3)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		if cut < 1 {
			t.Skip()
		}
		path := filepath.Join(t.TempDir(), "log")
		w, err := containerlog.Create(path, containerlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for rest := text; len(rest) > 0; {
			n := min(cut, len(rest))
			if err := w.Write(containerlog.Stderr, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := reader.Read(t.Context(), path, all, &out, &out); err != nil {
			t.Fatal(err)
		}
		// One replacement for each byte that is not of a character.
		var want []byte
		for _, r := range string(text) {
			want = append(want, string(r)...)
		}
		if len(text) < containerlog.MaxLine && !bytes.Equal(want, out.Bytes()) {
			t.Errorf("got %q, want %q", out.Bytes(), want)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(record("a", "stdout", 1)), 1)
	f.Add([]byte("{\"log\"\n\n{}\nnull\n"), 2)
	f.Fuzz(func(t *testing.T, file []byte, tail int) {
		path := filepath.Join(t.TempDir(), "log")
		writeFile(t, path, string(file))
		var out bytes.Buffer
		if err := reader.Read(t.Context(), path, reader.Options{Stdout: true, Tail: tail}, &out, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	line := record(strings.Repeat("x", 79), "stdout", 1)
	if err := os.WriteFile(path, []byte(strings.Repeat(line, 50000)), 0o640); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(80 * 50000)
	for b.Loop() {
		if err := reader.Read(b.Context(), path, all, devNull{}, devNull{}); err != nil {
			b.Fatal(err)
		}
	}
}

type devNull struct{}

func (devNull) Write(p []byte) (int, error) { return len(p), nil }

// lineWriter keeps what is written, each write a line.
type lineWriter struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newLineWriter() *lineWriter { return &lineWriter{more: make(chan struct{}, 1)} }

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.lines = append(w.lines, string(p))
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *lineWriter) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.lines...)
}

func (w *lineWriter) waitFor(t *testing.T, line string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		got := w.all()
		if len(got) > 0 && got[len(got)-1] == line {
			return
		}
		select {
		case <-w.more:
		case <-deadline:
			t.Fatalf("no line %q", line)
		}
	}
}
