// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	"encoding/binary"
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

// maxEscaped is the most bytes that one byte of text becomes.
const maxEscaped = len(`\u0000`)

// What is looked for in eight bytes at once.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
	lows  = 0x7f * ones
)

// allPlain tells of eight bytes, none with its highest bit set, whether all are
// plain. A sum's highest bit in each byte says: not equal, or not below a blank;
// no carry leaves a byte. Quotation mark and ampersand differ in one bit, and so
// do less and greater.
func allPlain(x uint64) bool {
	quote := (x&^(0x04*ones) ^ '"'*ones) + lows
	angle := (x&^(0x02*ones) ^ '<'*ones) + lows
	slash := (x ^ '\\'*ones) + lows
	return quote&angle&slash&(x+0x60*ones)&highs == highs
}

// plainPrefix returns how many bytes text begins with that are plain, or a few
// less.
func plainPrefix(text []byte) int {
	i := 0
	for ; len(text)-i >= 16; i += 16 {
		a, b := binary.LittleEndian.Uint64(text[i:]), binary.LittleEndian.Uint64(text[i+8:])
		if (a|b)&highs != 0 || !allPlain(a) || !allPlain(b) {
			break
		}
	}
	for i < len(text) && plain[text[i]] {
		i++
	}
	return i
}

// appendEscaped appends text as the inside of a JSON string, byte for byte
// what encoding/json makes of it.
func appendEscaped(dst, text []byte) []byte {
	start := 0
	for i := plainPrefix(text); i < len(text); {
		c := text[i]
		if plain[c] {
			i += plainPrefix(text[i:])
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
