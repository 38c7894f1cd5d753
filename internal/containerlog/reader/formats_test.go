// SPDX-License-Identifier: Apache-2.0

package reader_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/containerlog"
	"github.com/davit-engine/davit/internal/containerlog/gzipped"
	"github.com/davit-engine/davit/internal/containerlog/reader"
	"github.com/google/go-cmp/cmp"
)

// formats are those of logs in files.
var formats = []struct {
	name   string
	local  bool
	create func(string, containerlog.Options) (*containerlog.Writer, error)
}{{"json-file", false, containerlog.Create}, {"local", true, containerlog.CreateLocal}}

func read(t *testing.T, path string, opts reader.Options) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if err := reader.Read(t.Context(), path, opts, &out, &errs); err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String()
}

// TestDocker reads files that Docker 20.10 wrote.
func TestDocker(t *testing.T) {
	long := strings.Repeat("0", 16999) + "7\n"
	for _, tt := range []struct {
		name, file  string
		opts        reader.Options
		out, errOut string
	}{
		{"local", "docker-local.log", reader.Options{Local: true, Tail: -1}, "first\n" + long + "ünïcode <&>\nunended", "second\n"},
		{"local, tail", "docker-local.log", reader.Options{Local: true, Tail: 2}, "ünïcode <&>\nunended", ""},
		{"json-file", "docker-json.log", reader.Options{Tail: -1}, "first\nünïcode <&>\nunended", "second\n"},
		{
			"json-file, details", "docker-json.log",
			reader.Options{Tail: 2, Details: true, Timestamps: true},
			"2026-11-23T22:27:26.257398879Z A=1+%262,tag=jj,team=a%2Cb unended", "2026-11-23T22:27:26.231821839Z A=1+%262,tag=jj,team=a%2Cb second\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Stdout, tt.opts.Stderr = true, true
			out, errOut := read(t, filepath.Join("testdata", tt.file), tt.opts)
			if diff := cmp.Diff(tt.out, out); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.errOut, errOut); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

// compressed replaces rotated files as the writer's process does.
func compressed(t *testing.T) func(string) <-chan struct{} {
	return func(path string) <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := gzipped.Replace(path); err != nil {
				t.Error(err)
			}
		}()
		return done
	}
}

// TestRotatedAndCompressed reads a log of many files, from its beginning and
// from any distance to its end, in both formats.
func TestRotatedAndCompressed(t *testing.T) {
	for _, format := range formats {
		t.Run(format.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			w, err := format.create(path, containerlog.Options{MaxSize: 20_000, MaxFiles: 1000, Compress: compressed(t)})
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for n := range 300 {
				line := fmt.Sprintf("%d %s\n", n, strings.Repeat("x", n*37%1000))
				if n%50 == 7 { // in three parts
					line = fmt.Sprintf("%d %s\n", n, strings.Repeat("y", 2*containerlog.MaxLine+10))
				}
				want = append(want, line)
				if err := w.Write(containerlog.Stdout, []byte(line)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			packed, err := filepath.Glob(path + ".*.gz")
			if err != nil || len(packed) < 5 {
				t.Fatalf("compressed: %v, %v", packed, err)
			}
			opts := reader.Options{Stdout: true, Tail: -1, Local: format.local}
			if out, _ := read(t, path, opts); out != strings.Join(want, "") {
				t.Errorf("%d bytes read, want %d", len(out), len(strings.Join(want, "")))
			}
			for _, tail := range []int{0, 1, 2, 10, 40} { // none with a partial line
				opts.Tail = tail
				if diff := cmp.Diff(strings.Join(want[300-tail:], ""), first2(read(t, path, opts))); diff != "" {
					t.Errorf("tail %d (-want +got):\n%s", tail, diff)
				}
			}
			for _, tail := range []int{60, 200, 312, 313, 5000} { // a partial line's records count one by one
				opts.Tail = tail
				out, _ := read(t, path, opts)
				if !strings.HasSuffix(strings.Join(want, ""), out) || len(out) < tail && tail < 300 {
					t.Errorf("tail %d: %d bytes, no end of the log", tail, len(out))
				}
				if got := strings.Count(out, "\n"); got < min(tail, 312)-12 || got > tail {
					t.Errorf("tail %d gives %d lines", tail, got)
				}
			}
		})
	}
}

func first2(out, _ string) string { return out }

// TestTornLocal cuts a file anywhere: what was whole is read, the rest is not.
func TestTornLocal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := containerlog.CreateLocal(path, containerlog.Options{})
	if err == nil {
		err = errors.Join(w.Write(containerlog.Stdout, []byte("one\ntwo\nthree\n")), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.Index(whole, []byte("three"))
	for size := len(whole) - 1; size > last; size-- {
		writeFile(t, path, string(whole[:size]))
		if out, _ := read(t, path, reader.Options{Stdout: true, Tail: -1, Local: true}); out != "one\ntwo\n" {
			t.Fatalf("cut at %d of %d: %q", size, len(whole), out)
		}
		if out, _ := read(t, path, reader.Options{Stdout: true, Tail: 1, Local: true}); out != "two\n" {
			t.Fatalf("cut at %d of %d, tail: %q", size, len(whole), out)
		}
	}
}

// TestDamagedLocal has something else in the midst of a file: what is before it
// is read, and what is behind it, from the beginning or from the end, compressed
// or not.
func TestDamagedLocal(t *testing.T) {
	whole := localLog(t, 40)
	at := bytes.Index(whole, []byte("line 20\n")[:7]) - 20 // where its record begins, or about there
	for name, damage := range map[string][]byte{
		"a length that is none":       {0xff, 0xff, 0xff, 0xff, 1, 2, 3},
		"a length that is too great":  {0, 3, 0xff, 0},
		"a length beyond the end":     {0, 0, 0x40, 0},
		"zeros":                       make([]byte, 1003),
		"more zeros than one record":  make([]byte, 1<<20),
		"a record that was cut":       whole[:15],
		"text that looks like one":    []byte("\x00\x00\x00\x09\n\x06stdout"),
		"text with many that look so": bytes.Repeat([]byte("\n\x06std"), 1000),
	} {
		t.Run(name, func(t *testing.T) {
			torn := bytes.Clone(whole[:at])
			torn = append(append(torn, damage...), whole[at:]...)
			path := filepath.Join(t.TempDir(), "log")
			check := func(file, before, behind string) {
				t.Helper()
				opts := reader.Options{Stdout: true, Tail: -1, Local: true}
				out, _ := read(t, path, opts)
				if !strings.HasPrefix(out, before) || !strings.HasSuffix(out, behind) || strings.Count(out, "\n") < strings.Count(before+behind, "\n")-1 {
					t.Errorf("%s: read %q", file, out)
				}
				for _, n := range []int{1, 19, 30} {
					opts.Tail = n
					if tail := first2(read(t, path, opts)); !strings.HasSuffix(out, tail) || strings.Count(tail, "\n") != n {
						t.Errorf("%s: tail %d is %q", file, n, tail)
					}
				}
			}
			writeFile(t, path, string(torn))
			check("plain", numbered(0, 19), numbered(21, 40))
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			if err := gzipped.Replace(path + ".1"); err != nil {
				t.Fatal(err)
			}
			writeFile(t, path, "")
			check("compressed", numbered(0, 19), numbered(21, 40))
			// Who writes on keeps what is whole.
			writeFile(t, path, string(torn)+"\x00\x00\x00\x40half")
			if err := os.Remove(path + ".1.gz"); err != nil {
				t.Fatal(err)
			}
			w, err := containerlog.CreateLocal(path, containerlog.Options{})
			if err == nil {
				err = errors.Join(w.Write(containerlog.Stdout, []byte("line 40\n")), w.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			check("written on", numbered(0, 19), numbered(21, 41))
		})
	}
}

// localLog is a file of lines "line N".
func localLog(t *testing.T, lines int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	w, err := containerlog.CreateLocal(path, containerlog.Options{})
	if err == nil {
		err = errors.Join(w.Write(containerlog.Stdout, []byte(numbered(0, lines))), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// numbered is the lines from one number up to another.
func numbered(from, to int) string {
	var b strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&b, "line %d\n", n)
	}
	return b.String()
}

// TestPlace asks a log where it is, again and again, while it is rotated and
// compressed: a reader ends at exactly that place, and what is behind it is what
// was written since, the beginning of a line included.
func TestPlace(t *testing.T) {
	for _, format := range formats {
		for _, buffer := range []int{0, 1 << 20} {
			t.Run(fmt.Sprint(format.name, buffer), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "log")
				w, err := format.create(path, containerlog.Options{MaxSize: 1 << 10, MaxFiles: 1000, Compress: compressed(t), Buffer: buffer})
				if err != nil {
					t.Fatal(err)
				}
				type mark struct {
					place, begun string
					written      int
				}
				var marks []mark
				var all strings.Builder
				for n := range 200 {
					if n%3 == 0 {
						place, begun := w.Place()
						marks = append(marks, mark{place, string(begun[containerlog.Stdout]), all.Len()})
					}
					text := fmt.Sprintf("piece %d", n) + []string{"\n", "", " ", "\n", "\nhalf"}[n%5]
					all.WriteString(text)
					if err := w.Write(containerlog.Stdout, []byte(text)); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				for i, m := range marks {
					out, _ := read(t, path, reader.Options{Stdout: true, Tail: -1, Local: format.local, To: m.place})
					if out += m.begun; out != all.String()[:m.written] {
						t.Fatalf("place %d, %q: %q", i, m.place, out[max(0, len(out)-100):])
					}
				}
				// One whose file was removed by rotations leaves nothing to read before it.
				gone := marks[1].place
				if out, _ := read(t, path, reader.Options{Stdout: true, Tail: -1, Local: format.local, To: strings.Replace(gone, "file ", "file 9", 1)}); out != "" {
					t.Errorf("to a place that is gone: %q", out)
				}
				if err := reader.Read(t.Context(), path, reader.Options{Tail: -1, To: "nowhere"}, nil, nil); err == nil {
					t.Error("a place that is none is taken")
				}
			})
		}
	}
}

// TestTornLine has a record of the json-file format that was cut, without a
// newline, before the next.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for name, torn := range map[string]string{
		"cut": `{"log":"half`, "cut in an escape": `{"log":"half\`, "zeros": strings.Repeat("\x00", 1000), "more zeros than a record has": strings.Repeat("\x00", 1<<20),
		"cut behind its text": `{"log":"half\n","stream":"std`,
	} {
		writeFile(t, path, record("one", "stdout", 1)+torn+record("two", "stdout", 2)+record("three", "stdout", 3))
		if out, _ := read(t, path, reader.Options{Stdout: true, Tail: -1}); out != "one\ntwo\nthree\n" {
			t.Errorf("%s: %q", name, out)
		}
		if out, _ := read(t, path, reader.Options{Stdout: true, Tail: 2}); out != "two\nthree\n" {
			t.Errorf("%s, tail: %q", name, out)
		}
	}
}

// TestCutGzip has a compressed file that a crash or a full disk cut: its
// end is told of, and what is newer can be had.
func TestCutGzip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	if _, err := zw.Write([]byte(record("old", "stdout", 1))); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path+".1.gz", z.String()[:z.Len()-5])
	writeFile(t, path, record("new", "stdout", 2))
	if out, _ := read(t, path, reader.Options{Stdout: true, Tail: 1}); out != "new\n" {
		t.Errorf("tail: %q", out)
	}
	var out bytes.Buffer
	if err := reader.Read(t.Context(), path, all, &out, &out); err != nil && !strings.Contains(err.Error(), path+".1.gz") {
		t.Errorf("the error does not name the file: %v", err)
	} else if err == nil {
		t.Error("that a part of the log is lost goes unsaid")
	}
	if out.String() != "old\nnew\n" {
		t.Errorf("read %q", out.String())
	}
	out.Reset()
	writeFile(t, path+".1.gz", "no gzip")
	if err := reader.Read(t.Context(), path, all, &out, &out); err == nil || out.String() != "new\n" {
		t.Errorf("beside a file that is none: read %q, %v", out.String(), err)
	}
}

// TestLocalSinceUntil bounds a log by time in the local format.
func TestLocalSinceUntil(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := containerlog.CreateLocal(path, containerlog.Options{MaxSize: 1, MaxFiles: 3, Compress: compressed(t)})
	if err != nil {
		t.Fatal(err)
	}
	var times []time.Time
	for _, line := range []string{"a\n", "b\n", "c\n"} { // each in a file of its own
		times = append(times, time.Now())
		if err := w.Write(containerlog.Stdout, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	opts := reader.Options{Stdout: true, Tail: -1, Local: true}
	opts.Since, opts.Until = times[1], times[2].Add(-1)
	if out, _ := read(t, path, opts); out != "b\n" {
		t.Errorf("got %q", out)
	}
}

// TestFollowCompressed follows a log whose rotated files are compressed while
// they are read: every line comes once and in order.
func TestFollowCompressed(t *testing.T) {
	for _, format := range formats {
		t.Run(format.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			w, err := format.create(path, containerlog.Options{MaxSize: 2 << 10, MaxFiles: 1000, Compress: compressed(t)})
			if err != nil {
				t.Fatal(err)
			}
			out := newLineWriter()
			done, result := make(chan struct{}), make(chan error, 1)
			opts := reader.Options{Stdout: true, Tail: -1, Local: format.local, Follow: true, Done: done}
			go func() { result <- reader.Read(t.Context(), path, opts, out, out) }()
			var want []string
			for n := range 500 {
				want = append(want, fmt.Sprintf("line %d\n", n))
				if err := w.Write(containerlog.Stdout, []byte(want[n])); err != nil {
					t.Fatal(err)
				}
				if n%100 == 0 {
					out.waitFor(t, want[n]) // the rest runs ahead of the reader
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			close(done)
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out.all()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// flushed notes what had been written at each flush.
type flushed struct {
	bytes.Buffer
	at []string
}

func (f *flushed) Flush() error {
	f.at = append(f.at, f.String())
	return nil
}

func TestFlush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeFile(t, path, record("a", "stdout", 1)+record("b", "stdout", 2))
	var out flushed
	if err := reader.Read(t.Context(), path, all, &out, &out); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(out.at, "a\nb\n") || slices.Contains(out.at, "a\n") {
		t.Errorf("flushed at %q", out.at)
	}
	done := make(chan struct{})
	close(done)
	opts := all
	opts.Follow, opts.Done = true, done
	out = flushed{}
	if err := reader.Read(t.Context(), path, opts, &out, nil); err != nil {
		t.Fatal(err)
	}
	if len(out.at) == 0 || out.at[0] != "a\nb\n" {
		t.Errorf("following, flushed at %q", out.at)
	}
}

func FuzzLocal(f *testing.F) {
	for _, name := range []string{"docker-local.log", "docker-json.log"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, 2)
	}
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00"), 5)
	f.Add([]byte("\xff\xff\xff\xff"), 1)
	f.Add([]byte("\x00\x00\x00\x03\x1a\xff\x01\x00\x00\x00\x03"), 1)
	f.Fuzz(func(t *testing.T, file []byte, tail int) {
		path := filepath.Join(t.TempDir(), "log")
		writeFile(t, path, string(file))
		whole := first2(read(t, path, reader.Options{Stdout: true, Tail: -1, Local: true}))
		if out := first2(read(t, path, reader.Options{Stdout: true, Tail: tail, Local: true})); len(out) > len(whole)+len(file) {
			t.Errorf("a tail of %d bytes of a log of %d", len(out), len(whole))
		}
	})
}
