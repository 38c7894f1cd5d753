// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// entry is a record of the json-file format.
type entry struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

// sink filters records and writes their text out.
type sink struct {
	opts           Options
	stdout, stderr io.Writer
	buf            []byte
	past           bool  // a record was later than Until
	err            error // of a writer; nothing is written after it
}

// record takes one line of the file.
func (s *sink) record(line []byte) {
	var e entry
	if json.Unmarshal(line, &e) != nil {
		return // torn
	}
	if !s.opts.Until.IsZero() && e.Time.After(s.opts.Until) {
		s.past = true
		return
	}
	if e.Time.Before(s.opts.Since) {
		return
	}
	w := s.writer(e.Stream)
	if w == nil {
		return
	}
	s.buf = s.buf[:0]
	if s.opts.Timestamps {
		s.buf = append(e.Time.AppendFormat(s.buf, time.RFC3339Nano), ' ')
	}
	s.buf = append(s.buf, e.Log...)
	if _, err := w.Write(s.buf); err != nil {
		s.err = fmt.Errorf("cannot write %s of the log: %w", e.Stream, err)
	}
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
