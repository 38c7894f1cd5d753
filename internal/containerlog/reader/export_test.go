// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func binaryField(name, value string) string {
	return name + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(value)))) + value + "\n"
}

// exportedEntries decodes a text as far as it goes.
func exportedEntries(text string) (entries [][]string, err error) {
	x := exported{bufio.NewReaderSize(strings.NewReader(text), 4096)}
	for {
		var e []string
		err := x.next(func(name string, value []byte) { e = append(e, name+"="+string(value)) })
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
}

func TestExport(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	lines := "A=1\n" + binaryField("MESSAGE", "one\ntwo\x00\xff=\n") + "B=\n\n"
	for _, tt := range []struct {
		name, text string
		want       [][]string
		err        error
	}{
		{"nothing", "", nil, io.EOF},
		{"blank lines", "\n\n\nA=1\n\n\n\nB=2\n\n", [][]string{{"A=1"}, {"B=2"}}, io.EOF},
		{"several lines and bytes", lines, [][]string{{"A=1", "MESSAGE=one\ntwo\x00\xff=\n", "B="}}, io.EOF},
		{"equals signs", "A=b=c\n\n", [][]string{{"A=b=c"}}, io.EOF},
		{"empty binary", binaryField("A", "") + "\n", [][]string{{"A="}}, io.EOF},
		{"longer than the buffer", "A=" + long + "\n" + binaryField("B", long) + "\n", [][]string{{"A=" + long, "B=" + long}}, io.EOF},
		{"too long", "A=1\n\nA=" + strings.Repeat("x", maxField+1) + "\n\n", [][]string{{"A=1"}}, errExport},
		{"too long, binary", "A=1\n\n" + binaryField("A", strings.Repeat("x", maxField+1)) + "\n", [][]string{{"A=1"}}, errExport},
		{"no such length", "A\n\xff\xff\xff\xff\xff\xff\xff\xffx\n\n", nil, errExport},
		{"no newline", "A\n\x01\x00\x00\x00\x00\x00\x00\x00xx\n\n", nil, errExport},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := exportedEntries(tt.text)
			if !errors.Is(err, tt.err) {
				t.Errorf("error is %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%.1000s", diff)
			}
		})
	}
	for n := range lines { // cut anywhere, it is no entry, and no error either
		if got, err := exportedEntries("Z=0\n\n" + lines[:n]); len(got) != 1 || !errors.Is(err, io.EOF) {
			t.Errorf("cut at %d: %q, %v", n, got, err)
		}
	}
}

func FuzzExport(f *testing.F) {
	f.Add([]byte("A=1\n" + binaryField("MESSAGE", "one\ntwo") + "B=\n\n\nC=2\n\n"))
	f.Add([]byte("A\n\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("A\n\x01\x00\x00\x00\x00\x00\x00\x00xx\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := exportedEntries(string(text))
		if err == nil || !errors.Is(err, io.EOF) && !errors.Is(err, errExport) {
			t.Fatalf("error is %v", err)
		}
		size := 0
		for _, e := range entries {
			if len(e) == 0 {
				t.Fatal("an entry without fields")
			}
			for _, field := range e {
				size += len(field)
			}
		}
		if size > len(text) {
			t.Errorf("%d bytes of %d", size, len(text))
		}
		// What was read is written, and read again the same.
		var again bytes.Buffer
		for _, e := range entries {
			for _, field := range e {
				name, value, _ := strings.Cut(field, "=")
				if name == "" {
					return // cannot be written so that it is the same
				}
				again.WriteString(binaryField(name, value))
			}
			again.WriteByte('\n')
		}
		if got, _ := exportedEntries(again.String()); !cmp.Equal(entries, got) {
			t.Errorf("(-want +got):\n%s", cmp.Diff(entries, got))
		}
	})
}
