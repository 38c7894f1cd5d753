// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
)

// sink filters records and writes their text out.
type sink struct {
	opts           Options
	stdout, stderr io.Writer
	decoder        decoder
	buf            []byte
	past           bool  // a record was later than Until
	err            error // of a writer; nothing is written after it
}

// record takes one line of the file.
func (s *sink) record(line []byte) {
	e, ok := s.decoder.decode(line)
	if !ok { // it is torn, but another may begin behind it: text has no quotes that are not escaped
		if at := bytes.LastIndex(line, jsonStart); at > 0 {
			e, ok = s.decoder.decode(line[at:])
		}
	}
	if ok {
		s.give(&e)
	}
}

// jsonStart is how a record of the json-file format begins.
var jsonStart = []byte(`{"log":"`)

// give takes a record.
func (s *sink) give(e *record) {
	if !s.opts.Until.IsZero() && e.time.After(s.opts.Until) {
		s.past = true
		return
	}
	if e.time.Before(s.opts.Since) {
		return
	}
	w := s.writer(e.stream)
	if w == nil {
		return
	}
	text := e.text
	if s.opts.Timestamps || s.opts.Details {
		text = s.prefixed(e)
	}
	if _, err := w.Write(text); err != nil {
		s.err = fmt.Errorf("cannot write %s of the log: %w", e.stream, err)
	}
}

// prefixed returns the text with what is to precede it.
func (s *sink) prefixed(e *record) []byte {
	s.buf = s.buf[:0]
	if s.opts.Timestamps {
		s.buf = append(e.time.UTC().AppendFormat(s.buf, fixedNano), ' ')
	}
	if s.opts.Details {
		s.buf = append(appendAttrs(s.buf, e.attrs), ' ')
	}
	s.buf = append(s.buf, e.text...)
	return s.buf
}

// flush has the writers send what they hold back. It is called when there is
// nothing to give for now, and at the end.
func (s *sink) flush() error {
	for _, w := range [...]io.Writer{s.stdout, s.stderr} {
		if f, ok := w.(interface{ Flush() error }); ok && s.err == nil {
			if err := f.Flush(); err != nil {
				s.err = fmt.Errorf("cannot write the log: %w", err)
			}
		}
	}
	return s.err
}

// fixedNano is RFC 3339 with all nine digits, as Docker has it here.
const fixedNano = "2006-01-02T15:04:05.000000000Z07:00"

// appendAttrs appends what the docker CLI asks for with --details: the
// attributes as in a URL's query, with commas between.
func appendAttrs(dst []byte, attrs map[string]string) []byte {
	for i, key := range slices.Sorted(maps.Keys(attrs)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, url.QueryEscape(key)...), '='), url.QueryEscape(attrs[key])...)
	}
	return dst
}

func (s *sink) writer(stream string) io.Writer {
	switch {
	case stream == "stdout" && s.opts.Stdout:
		return s.stdout
	case stream == "stderr" && s.opts.Stderr:
		return s.stderr
	}
	return nil
}
