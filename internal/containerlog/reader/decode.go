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

// decoder reads records. Those that package containerlog writes, the fields in
// their order and without blanks, take a third of encoding/json's time; it
// reads the others.
type decoder struct{ buf []byte }

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
		n := bytes.IndexAny(rest, `"\`)
		if n < 0 || bytes.ContainsFunc(rest[:n], func(c rune) bool { return c < ' ' }) {
			return r, false
		}
		d.buf = append(d.buf, rest[:n]...)
		if rest = rest[n:]; rest[0] == '"' {
			break
		}
		if rest, ok = d.unescape(rest); !ok {
			return r, false
		}
	}
	for _, stream := range [...]string{"stdout", "stderr"} {
		if after, ok := bytes.CutPrefix(rest, []byte(`","stream":"`+stream+`","time":"`)); ok {
			at, ok := bytes.CutSuffix(after, []byte(`"}`))
			t, err := time.Parse(time.RFC3339Nano, string(at))
			return record{text: d.buf, stream: stream, time: t}, ok && err == nil
		}
	}
	return r, false
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
