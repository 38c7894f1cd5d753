// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/binary"
	"errors"
	"testing"
)

func piece(kind byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(text))), text...)
}

func TestParseEnterReports(t *testing.T) {
	joined := append(piece('D', "no such thing"), piece('P', "4711")...)
	for _, tc := range []struct {
		name string
		in   []byte
		pid  int
		err  *Error
	}{
		{"begun", piece('P', "4711"), 4711, nil},
		{"killed at once", nil, 0, nil},
		{"not begun, in any order", joined, 4711, &Error{Kind: KindDenied, Message: "no such thing"}},
		{"the command's fault", piece('S', "x"), 0, &Error{Kind: KindStart, Message: "x"}},
		{"ended", piece('N', ""), 0, &Error{Kind: KindNotRunning}},
		{"nobody's fault", piece('F', "x"), 0, &Error{Message: "x"}},
		{"torn", joined[:len(joined)-1], 0, &Error{Kind: KindDenied, Message: "no such thing"}},
		{"torn in the length", joined[:3], 0, nil},
		{"too long", []byte{'P', 0xff, 0xff, 0xff, 0xff, '1'}, 0, nil},
	} {
		got := ParseEnterReports(tc.in)
		if got.Pid != tc.pid || (got.Error == nil) != (tc.err == nil) || tc.err != nil && *got.Error != *tc.err {
			t.Errorf("%s: %+v, %v", tc.name, got, got.Error)
		}
	}
}

func TestEncodeExec(t *testing.T) {
	for _, tc := range []struct {
		name string
		x    ExecSpec
		kind Kind
	}{
		{"no command", ExecSpec{}, KindInvalid},
		{"a NUL in an argument", ExecSpec{Args: []string{"a\x00b"}}, KindInvalid},
		{"a NUL in a variable", ExecSpec{Args: []string{"a"}, Env: []string{"A=\x00"}}, KindInvalid},
		{"a relative directory", ExecSpec{Args: []string{"a"}, Cwd: "tmp"}, KindDenied},
	} {
		_, err := tc.x.Encode()
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != tc.kind {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	p, err := (&ExecSpec{Args: []string{"a", ""}, Cwd: "/x/../tmp/", Tty: true, Rows: 3}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	number := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	text := func(s string) string { return number(uint64(len(s))) + s + "\x00" }
	want := text(enterFormat) + text("") + text("/tmp") + number(1) + number(0) + number(3) + number(0) + number(2) + text("a") + text("") + number(0)
	if string(p) != want {
		t.Errorf("got %q, want %q", p, want)
	}
}
