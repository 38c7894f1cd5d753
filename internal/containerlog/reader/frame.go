// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"
)

// frameSize is that of the length before and behind each record of Docker's
// local driver.
const frameSize = 4

// frameStart is how the first field of each record begins, behind its length:
// the stream, stdout or stderr.
var frameStart = []byte("\n\x06std")

// frame gives the next record of the local format; more is false when there is
// none that is whole.
func (r *reading) frame() (more bool, err error) {
	rest, err := r.in.Peek(frameSize)
	if err == nil && frameFits(rest) {
		rest, _ = r.in.Peek(int(binary.BigEndian.Uint32(rest)) + 2*frameSize)
	}
	if size, ok := wholeFrame(rest); ok {
		if r.pass > 0 {
			r.pass--
		} else if e, ok := r.out.decoder.entry(rest[frameSize : frameSize+size]); ok {
			r.out.give(&e)
		}
		r.discard(size + 2*frameSize)
		return true, r.out.err
	}
	// Torn, no length at all, or not yet written to its end: if it is by now, it
	// is no concern.
	rest, endErr := r.in.Peek(maxRecord)
	if _, ok := wholeFrame(rest); ok {
		return true, nil
	}
	if n, found := nextFrame(rest); found {
		r.discard(n)
		return true, nil
	}
	if endErr == nil { // of what may begin at its end more is to be seen
		r.discard(maxRecord / 2)
		return true, nil
	}
	if !errors.Is(endErr, io.EOF) {
		return false, endErr
	}
	if r.file.packed || r.file.end > 0 {
		return false, nil
	}
	// Read anew later, and not only what is missing: a record that was left half
	// written is cut off before the next is written.
	if _, err := r.file.Seek(r.at, io.SeekStart); err != nil {
		return false, err
	}
	r.in.Reset(r.file)
	return false, nil
}

// discard goes on behind n bytes that were looked at.
func (r *reading) discard(n int) {
	_, _ = r.in.Discard(n) // they are there
	r.at += int64(n)
}

// frameFits tells whether data begins with what may be a record's length.
func frameFits(data []byte) bool {
	size := binary.BigEndian.Uint32(data)
	return size > 0 && size <= maxRecord-2*frameSize
}

// wholeFrame returns the size, without the lengths, of the record that data
// begins with.
func wholeFrame(data []byte) (size int, ok bool) {
	if len(data) < frameSize || !frameFits(data) {
		return 0, false
	}
	size = int(binary.BigEndian.Uint32(data))
	return size, len(data) >= size+2*frameSize && bytes.Equal(data[:frameSize], data[frameSize+size:][:frameSize])
}

// nextFrame looks for a whole record behind the start of data.
func nextFrame(data []byte) (at int, found bool) {
	for from := frameSize + 1; from < len(data); from++ {
		n := bytes.Index(data[from:], frameStart)
		if n < 0 {
			return 0, false
		}
		from += n
		if _, ok := wholeFrame(data[from-frameSize:]); ok {
			return from - frameSize, true
		}
	}
	return 0, false
}

// entry reads a protocol buffer, moby's logdriver.LogEntry.
func (d *decoder) entry(data []byte) (r record, ok bool) {
	partial, last := false, false
	ok = fields(data, func(number, value uint64, text []byte) {
		switch number {
		case 1:
			r.stream = streamName(text)
		case 2:
			r.time = time.Unix(0, int64(value)).UTC()
		case 3:
			r.text = text
		case 4:
			partial = value != 0
		case 5:
			fields(text, func(number, value uint64, _ []byte) {
				last = last || number == 1 && value != 0
			})
		}
	})
	if ok && (!partial || last) {
		d.buf = append(append(d.buf[:0], r.text...), '\n')
		r.text = d.buf
	}
	return r, ok
}

// streamName spares a string for each record.
func streamName(text []byte) string {
	switch string(text) {
	case "stdout":
		return "stdout"
	case "stderr":
		return "stderr"
	}
	return ""
}

// fields visits the fields of a protocol buffer; false when it is none. Value
// is that of a number, text that of a text or message.
func fields(data []byte, visit func(number, value uint64, text []byte)) bool {
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 {
			return false
		}
		data = data[n:]
		var value uint64
		var text []byte
		switch key & 7 {
		case 0, 2:
			if value, n = binary.Uvarint(data); n <= 0 {
				return false
			}
			data = data[n:]
			if key&7 == 2 {
				if value > uint64(len(data)) {
					return false
				}
				text, data = data[:value], data[value:]
			}
		case 1, 5: // of a fixed length; LogEntry has none
			size := 8
			if key&7 == 5 {
				size = 4
			}
			if len(data) < size {
				return false
			}
			data = data[size:]
		default:
			return false
		}
		visit(key>>3, value, text)
	}
	return true
}

// framesFromEnd is [linesFromEnd] for the local format. It is not ok when there
// is something between records, or behind the last.
func framesFromEnd(f *os.File, end int64, n int) (at int64, found int, ok bool) {
	at = end
	for found < n && at > 0 {
		start, ok := before(f, at)
		if !ok {
			return 0, 0, false
		}
		at, found = start, found+1
	}
	return at, found, true
}

// before returns where the record begins that ends at end.
func before(f *os.File, end int64) (start int64, ok bool) {
	size, ok := length(f, end-frameSize)
	if !ok {
		return 0, false
	}
	start = end - 2*frameSize - size
	again, ok := length(f, start)
	return start, ok && again == size && size > 0
}

func length(f *os.File, at int64) (int64, bool) {
	var b [frameSize]byte
	if at < 0 {
		return 0, false
	}
	if _, err := f.ReadAt(b[:], at); err != nil {
		return 0, false
	}
	return int64(binary.BigEndian.Uint32(b[:])), true
}
