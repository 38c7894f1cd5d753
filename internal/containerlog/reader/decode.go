// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// entry is a record of the json-file format.
type entry struct {
	Log    string            `json:"log"`
	Stream string            `json:"stream"`
	Attrs  map[string]string `json:"attrs,omitempty"`
	Time   time.Time         `json:"time"`
}

// record is an entry whose text is only valid until the next decode.
type record struct {
	text   []byte
	stream string
	time   time.Time
	attrs  map[string]string
}

// decoder reads records. Those that Docker and package containerlog write, the
// fields in their order and without blanks, take a fifth of encoding/json's time;
// it reads the others. What is the same from one record to the next, attributes
// and the second, is kept.
type decoder struct {
	buf      []byte
	second   []byte // the latest time up to its fraction, as written
	instant  time.Time
	attrText []byte // the latest attributes, as written
	attrs    map[string]string
}

func (d *decoder) decode(line []byte) (record, bool) {
	if r, ok := d.fast(line); ok {
		return r, true
	}
	var e entry
	if json.Unmarshal(line, &e) != nil {
		return record{}, false
	}
	return record{text: []byte(e.Log), stream: e.Stream, time: e.Time, attrs: e.Attrs}, true
}

// fast gives up at whatever it does not expect.
func (d *decoder) fast(line []byte) (r record, ok bool) {
	rest, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte(`{"log":"`))
	if !ok || !utf8.Valid(line) {
		return r, false
	}
	d.buf = d.buf[:0]
	for {
		n := literal(rest)
		if n == len(rest) {
			return r, false
		}
		d.buf = append(d.buf, rest[:n]...)
		if rest = rest[n:]; rest[0] == '"' {
			break
		}
		if rest[0] != '\\' {
			return r, false // a control character, which JSON has only escaped
		}
		if rest, ok = d.unescape(rest); !ok {
			return r, false
		}
	}
	r.text = d.buf
	for _, stream := range [...]string{"stdout", "stderr"} {
		if after, ok := bytes.CutPrefix(rest, []byte(`","stream":"`+stream+`"`)); ok {
			r.stream, rest = stream, after
		}
	}
	if after, ok := bytes.CutPrefix(rest, []byte(`,"attrs":`)); ok {
		if rest, ok = d.attributes(after); !ok {
			return r, false
		}
		r.attrs = d.attrs
	}
	at, begins := bytes.CutPrefix(rest, []byte(`,"time":"`))
	at, ends := bytes.CutSuffix(at, []byte(`"}`))
	r.time, ok = d.moment(at)
	return r, r.stream != "" && begins && ends && ok
}

// literal returns how many bytes s begins with that stand for themselves in a
// JSON string.
func literal(s []byte) int {
	for i, c := range s {
		if c < ' ' || c == '"' || c == '\\' {
			return i
		}
	}
	return len(s)
}

// attributes reads the object that s begins with, and returns what follows.
func (d *decoder) attributes(s []byte) ([]byte, bool) {
	if d.attrs != nil {
		if after, ok := bytes.CutPrefix(s, d.attrText); ok {
			return after, true
		}
	}
	end := bytes.LastIndexByte(s, ',') // before the time, which has none
	if end < 2 || s[0] != '{' {
		return nil, false
	}
	var attrs map[string]string // another: the last may be in use
	if json.Unmarshal(s[:end], &attrs) != nil {
		return nil, false
	}
	d.attrText, d.attrs = append(d.attrText[:0], s[:end]...), attrs
	return s[end:], true
}

// moment reads a time in UTC as Go writes it; others take longer.
func (d *decoder) moment(s []byte) (time.Time, bool) {
	const seconds = len("2006-01-02T15:04:05")
	nanos, rest := 0, s[min(seconds, len(s)):]
	if len(rest) > 2 && rest[0] == '.' && len(rest) <= len(".000000000Z") {
		unit := 100_000_000
		for rest = rest[1:]; len(rest) > 1 && rest[0] >= '0' && rest[0] <= '9'; rest = rest[1:] {
			nanos += int(rest[0]-'0') * unit
			unit /= 10
		}
	}
	if string(rest) != "Z" {
		t, err := time.Parse(time.RFC3339Nano, string(s))
		return t, err == nil
	}
	if second := s[:seconds]; !bytes.Equal(second, d.second) {
		t, err := time.Parse("2006-01-02T15:04:05", string(second))
		if err != nil {
			return t, false
		}
		d.second, d.instant = append(d.second[:0], second...), t
	}
	return d.instant.Add(time.Duration(nanos)), true
}

// unescape appends the character that the escape at the start of s stands for
// and returns what follows.
func (d *decoder) unescape(s []byte) ([]byte, bool) {
	if len(s) < 2 {
		return nil, false
	}
	if s[1] == 'u' {
		if len(s) < 6 {
			return nil, false
		}
		n, err := strconv.ParseUint(string(s[2:6]), 16, 16)
		if err != nil || n >= 0xd800 && n < 0xe000 { // half of a pair
			return nil, false
		}
		d.buf = utf8.AppendRune(d.buf, rune(n))
		return s[6:], true
	}
	n := bytes.IndexByte([]byte(`"\/bfnrt`), s[1])
	if n < 0 {
		return nil, false
	}
	d.buf = append(d.buf, "\"\\/\b\f\n\r\t"[n])
	return s[2:], true
}
