// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"fmt"
	"io"
	"time"
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
	if !ok {
		return // torn
	}
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
	s.buf = s.buf[:0]
	if s.opts.Timestamps {
		s.buf = append(e.time.AppendFormat(s.buf, time.RFC3339Nano), ' ')
	}
	s.buf = append(s.buf, e.text...)
	if _, err := w.Write(s.buf); err != nil {
		s.err = fmt.Errorf("cannot write %s of the log: %w", e.stream, err)
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
