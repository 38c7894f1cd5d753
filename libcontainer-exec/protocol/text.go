// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/json"
	"unicode/utf8"
)

// maxText bounds a text in a packet, in bytes of JSON: with all else that a
// packet holds it stays below [MaxPacket].
const maxText = MaxPacket / 2

// gap is put where a text was cut.
const gap = " ... "

// MarshalJSON bounds the message, so that no error is too long to be told.
func (e *Error) MarshalJSON() ([]byte, error) {
	type plain Error
	bounded := plain(*e)
	bounded.Message = bound(e.Message)
	return json.Marshal(bounded)
}

// MarshalJSON bounds the error's text, see [Error.MarshalJSON].
func (e *Exit) MarshalJSON() ([]byte, error) {
	type plain Exit
	bounded := plain(*e)
	bounded.Error = bound(e.Error)
	return json.Marshal(bounded)
}

// bound takes the middle out of a text that is too long: the end is what the
// docker CLI tells an exit code by.
func bound(s string) string {
	size := 0
	for _, r := range s {
		size += encodedSize(r)
	}
	if size <= maxText {
		return s
	}
	const half = (maxText - len(gap)) / 2
	head, tail := 0, len(s)
	for size = 0; ; {
		r, n := utf8.DecodeRuneInString(s[head:])
		if size += encodedSize(r); size > half {
			break
		}
		head += n
	}
	for size = 0; ; {
		r, n := utf8.DecodeLastRuneInString(s[:tail])
		if size += encodedSize(r); size > half {
			break
		}
		tail -= n
	}
	return s[:head] + gap + s[tail:]
}

// encodedSize is the most that a rune takes in JSON: \uXXXX, for what is not
// plain.
func encodedSize(r rune) int {
	if r < ' ' || r >= 0x7f || r == '"' || r == '\\' || r == '<' || r == '>' || r == '&' {
		return 6
	}
	return 1
}
