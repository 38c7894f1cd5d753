// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

type entry struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

func entries(t *testing.T, path string) []entry {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []entry
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if len(line) > 0 {
				t.Errorf("last line of %s has no newline: %q", path, line)
			}
			return all
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		// What was invalid is escaped; read back it is a character like others.
		again = bytes.ReplaceAll(again, []byte("\ufffd"), []byte(`\ufffd`))
		if diff := cmp.Diff(string(again)+"\n", string(line)); diff != "" {
			t.Errorf("not what encoding/json writes (-want +got):\n%s", diff)
		}
		all = append(all, e)
	}
}

func texts(all []entry) []string {
	var got []string
	for _, e := range all {
		got = append(got, e.Stream+" "+e.Log)
	}
	return got
}

func create(t *testing.T, opts Options) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c-json.log")
	w, err := Create(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	return w, path
}

func write(t *testing.T, w *Writer, stream Stream, text string) {
	t.Helper()
	if err := w.Write(stream, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	tests := []struct {
		name   string
		writes []string // "o" or "e" and the text
		want   []string
	}{
		{"lines", []string{"oa\nb\n"}, []string{"stdout a\n", "stdout b\n"}},
		{"empty line", []string{"o\n\n"}, []string{"stdout \n", "stdout \n"}},
		{"cut", []string{"oab", "ocd\ne", "of\n"}, []string{"stdout abcd\n", "stdout ef\n"}},
		{"streams apart", []string{"oab", "exy", "oc\n", "ez\n"}, []string{"stdout abc\n", "stderr xyz\n"}},
		{"no newline at the end", []string{"oab"}, []string{"stdout ab"}},
		{"character cut", []string{"o\xe2\x82", "o\xac\n"}, []string{"stdout €\n"}},
		{"invalid", []string{"o\xff\xe2\x82\n"}, []string{"stdout \ufffd\ufffd\ufffd\n"}},
		{"escapes", []string{"o\"\\<>&\x00\x1f\t\r\b\f\x7f\u2028\u2029\n"}, []string{"stdout \"\\<>&\x00\x1f\t\r\b\f\x7f\u2028\u2029\n"}},
		{"just fits", []string{"o" + long[1:] + "\n"}, []string{"stdout " + long[1:] + "\n"}},
		{"partial", []string{"o" + long + "ab\nc\n"}, []string{"stdout " + long, "stdout ab\n", "stdout c\n"}},
		{"partial in pieces", []string{"oab", "o" + long + "\n"}, []string{"stdout ab" + long[2:], "stdout xx\n"}},
		{"newline is a part", []string{"o" + long, "o\n"}, []string{"stdout " + long, "stdout \n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, path := create(t, Options{})
			for _, text := range tt.writes {
				stream := Stdout
				if text[0] == 'e' {
					stream = Stderr
				}
				write(t, w, stream, text[1:])
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, texts(entries(t, path))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFileIsMadeWithMode0640(t *testing.T) {
	w, path := create(t, Options{})
	write(t, w, Stdout, "a\n")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v", st.Mode())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Stdout, []byte("b\n")); !errors.Is(err, unix.EBADF) {
		t.Errorf("write after close: %v", err)
	}
	if err := w.Close(); !errors.Is(err, unix.EBADF) {
		t.Errorf("second close: %v", err)
	}
}

func TestWriteIsVisibleAtOnce(t *testing.T) {
	w, path := create(t, Options{})
	defer w.Close()
	write(t, w, Stdout, "a\nb")
	if diff := cmp.Diff([]string{"stdout a\n"}, texts(entries(t, path))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	write(t, w, Stdout, "c\n")
	if diff := cmp.Diff([]string{"stdout a\n", "stdout b", "stdout c\n"}, texts(entries(t, path))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A predecessor that was killed within its write leaves half a record.
func TestAppendsAfterATornRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	torn := `{"log":"a\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}` + "\n" + `{"log":"b\n","str`
	if err := os.WriteFile(path, []byte(torn), 0o640); err != nil {
		t.Fatal(err)
	}
	w, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, Stdout, "c\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[2], `{"log":"c\n"`) {
		t.Errorf("log is %q", lines)
	}
}

func TestRotation(t *testing.T) {
	const record = int64(len(`{"log":"0001\n","stream":"stdout","time":"2024-01-01T00:00:00.000000001Z"}`))
	for _, files := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			w, path := create(t, Options{MaxSize: 10 * record, MaxFiles: files})
			var all bytes.Buffer
			for n := range 1000 {
				fmt.Fprintf(&all, "%04d\n", n)
				if n%7 == 0 {
					write(t, w, Stdout, all.String())
					all.Reset()
				}
			}
			write(t, w, Stdout, all.String())
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			var got []entry
			for n := max(files, 1); n >= 0; n-- {
				name := path
				if n > 0 {
					name = fmt.Sprintf("%s.%d", path, n)
				}
				st, err := os.Stat(name)
				if err != nil {
					if n < max(files, 1) {
						t.Error(err)
					}
					continue
				}
				if n == max(files, 1) {
					t.Errorf("%s is one too many", name)
				}
				if st.Size() > 11*record+11 {
					t.Errorf("%s has %d bytes", name, st.Size())
				}
				got = append(got, entries(t, name)...)
			}
			if len(got) == 0 {
				t.Fatal("no records")
			}
			for i, e := range got {
				if want := fmt.Sprintf("%04d\n", 1000-len(got)+i); e.Log != want {
					t.Fatalf("record %d is %q, want %q", i, e.Log, want)
				}
			}
		})
	}
}

// A directory that cannot take a new file must cost no record: the log goes
// on in the file it has.
func TestRotationThatFails(t *testing.T) {
	w, path := create(t, Options{MaxSize: 100, MaxFiles: 2})
	defer w.Close()
	write(t, w, Stdout, strings.Repeat("x", 99)+"\n")
	if err := os.Mkdir(path+".1", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Stdout, []byte("more\n")); !errors.Is(err, unix.EISDIR) {
		t.Errorf("error is %v", err)
	}
	if got := entries(t, path); len(got) != 2 {
		t.Errorf("records %q", texts(got))
	}
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	write(t, w, Stdout, "again\n")
	if got := texts(entries(t, path)); len(got) != 1 || got[0] != "stdout again\n" {
		t.Errorf("records %q", got)
	}
}

func TestFullDisk(t *testing.T) {
	testutil.RequireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	path := filepath.Join(dir, "log")
	w, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	line := strings.Repeat("x", 997) + "\n"
	failed := false
	for range 100 {
		if err := w.Write(Stdout, []byte(line)); err != nil {
			failed = true
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
		}
	}
	if !failed {
		t.Fatal("the disk never filled")
	}
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "size=256k"); err != nil {
		t.Fatal(err)
	}
	write(t, w, Stdout, "after\n")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	bad := 0
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			bad++
		}
	}
	if bad > 1 || !strings.HasPrefix(lines[len(lines)-1], `{"log":"after\n"`) {
		t.Errorf("%d bad lines; the last is %q", bad, lines[len(lines)-1])
	}
}

func TestClock(t *testing.T) {
	var c clock
	base := time.Date(2024, 2, 29, 23, 59, 59, 0, time.FixedZone("", 3600))
	for _, ns := range []int{0, 1, 10, 100_000_000, 999_999_999, 123_456_780, 1_000_000_000, 86_400_000_000_000} {
		at := base.Add(time.Duration(ns))
		if got, want := string(c.format(at)), at.UTC().Format(time.RFC3339Nano); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a\n", "\xff", "\u2028\u2029\u2027", "<>&\"\\", "\xe2\x80", "\xed\xa0\x80", "\x00\x7f\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		got := append(appendEscaped([]byte(`"`), text), '"')
		if !bytes.Equal(got, want) {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	w, err := Create(path, Options{MaxSize: 64 << 20, MaxFiles: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	chunk := []byte(strings.Repeat(strings.Repeat("x", 79)+"\n", 400)) // 32 kB
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if err := w.Write(Stdout, chunk); err != nil {
			b.Fatal(err)
		}
	}
}
