// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	"time"

	"golang.org/x/sys/unix"
)

// jsonFile writes the format of Docker's json-file driver: a JSON object a
// line.
type jsonFile struct {
	file
	at    int64
	tails [3][]byte // by Stream: how a record of that time ends, from its newline on
	clock clock
}

// Create opens the log at path, in the format of Docker's json-file driver, for
// appending and makes it, with mode 0640, if there is none. The caller closes
// the Writer. A record that a predecessor left half written stays as a line of
// its own, which readers skip.
func Create(path string, opts Options) (*Writer, error) {
	f := &jsonFile{file: file{path: path, opts: opts, mend: endLine}}
	if err := f.open(unix.O_CREAT); err != nil {
		return nil, err
	}
	if f.size > 0 {
		var last [1]byte
		n, err := unix.Pread(f.fd, last[:], f.size-1)
		f.torn = err != nil || n != 1 || last[0] != '\n'
	}
	f.unmap()
	return newWriter(f, opts.Buffer), nil
}

// endLine puts what follows a torn record on a line of its own.
func endLine(f *file) error { return f.writeAll([]byte{'\n'}) }

func (f *jsonFile) record(r *record) error {
	if r.at != f.at {
		f.stamp(r.at)
	}
	tail := f.tails[r.stream]
	if !r.end {
		tail = tail[len(`\n`):]
	}
	err := f.reserve(len(`{"log":"`) + maxEscaped*len(r.text) + len(tail))
	buf := append(f.buf, `{"log":"`...)
	buf = appendEscaped(buf, r.text)
	f.buf = append(buf, tail...)
	return err
}

// stamp makes the ends of the records of a time.
func (f *jsonFile) stamp(at int64) {
	f.at = at
	text := f.clock.format(time.Unix(0, at))
	for _, stream := range [...]Stream{Stdout, Stderr} {
		t := append(f.tails[stream][:0], `\n","stream":"`...)
		t = append(t, streamNames[stream]...)
		t = append(t, '"')
		if f.opts.Attrs != "" {
			t = append(t, `,"attrs":`...)
			t = append(t, f.opts.Attrs...)
		}
		t = append(t, `,"time":"`...)
		t = append(t, text...)
		f.tails[stream] = append(t, '"', '}', '\n')
	}
}
