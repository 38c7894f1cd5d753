// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	"time"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// plain tells of each byte whether encoding/json writes it as it is, with
// HTML escaping on as Docker has it. Bytes of 0x80 and above need a look.
var plain = func() (t [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		t[c] = true
	}
	for _, c := range `"\<>&` {
		t[c] = false
	}
	return t
}()

// appendEscaped appends text as the inside of a JSON string, byte for byte
// what encoding/json makes of it.
func appendEscaped(dst, text []byte) []byte {
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if plain[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, text[start:i]...)
			dst = appendEscape(dst, c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, text[start:i]...)
			dst = append(dst, `\ufffd`...)
			start = i + size
		case r == 0x2028 || r == 0x2029: // line separators of JavaScript
			dst = append(dst, text[start:i]...)
			dst = append(dst, `\u202`...)
			dst = append(dst, hex[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(dst, text[start:]...)
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}

// clock formats times as RFC 3339 with nanoseconds (trailing zeros cut, as
// time.RFC3339Nano has it) in UTC. What precedes the fraction is kept for as
// long as the second lasts.
type clock struct {
	second int64
	buf    [len("2006-01-02T15:04:05.000000000Z")]byte
	prefix int // bytes of buf before the fraction; 0: none formatted yet
}

// format's result is valid until the next call.
func (c *clock) format(t time.Time) []byte {
	if s := t.Unix(); c.prefix == 0 || s != c.second {
		c.second = s
		c.prefix = len(t.UTC().Truncate(time.Second).AppendFormat(c.buf[:0], "2006-01-02T15:04:05"))
	}
	b := c.buf[:c.prefix]
	if ns := t.Nanosecond(); ns != 0 {
		b = append(b, '.')
		for unit := 100_000_000; ns > 0; unit /= 10 {
			b = append(b, byte('0'+ns/unit))
			ns %= unit
		}
	}
	return append(b, 'Z')
}
