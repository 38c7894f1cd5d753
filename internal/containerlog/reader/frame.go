// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// frameSize is that of the length before and behind each record of Docker's
// local driver.
const frameSize = 4

// frame gives the next record of the local format; more is false when there is
// none that is whole.
func (r *reading) frame() (more bool, err error) {
	head, err := r.in.Peek(frameSize)
	if err == nil {
		size := int(binary.BigEndian.Uint32(head))
		if size > maxRecord-2*frameSize {
			return false, nil // it is no length: what follows cannot be read
		}
		var whole []byte
		if whole, err = r.in.Peek(size + 2*frameSize); err == nil {
			if !bytes.Equal(whole[:frameSize], whole[frameSize+size:]) {
				return false, nil
			}
			if e, ok := r.out.decoder.entry(whole[frameSize : frameSize+size]); ok {
				r.out.give(&e)
			}
			r.at += int64(len(whole))
			_, _ = r.in.Discard(len(whole)) // it was there
			return true, r.out.err
		}
	}
	if !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("cannot read log %s: %w", r.path, err)
	}
	// Read anew later, and not only what is missing: a record that was left half
	// written is cut off before the next is written.
	if _, err := r.file.Seek(r.at, io.SeekStart); err != nil {
		return false, fmt.Errorf("cannot read log %s: %w", r.path, err)
	}
	r.in.Reset(r.file)
	return false, nil
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

// framesFromEnd is [linesFromEnd] for the local format.
func framesFromEnd(f *os.File, end int64, n int, _ []byte) (at int64, found int, err error) {
	at = end
	if _, ok := before(f, end); !ok {
		at = lastWhole(f, end) // torn
	}
	for found < n {
		start, ok := before(f, at)
		if !ok {
			break
		}
		at, found = start, found+1
	}
	return at, found, nil
}

// before returns where the record begins that ends at end.
func before(f *os.File, end int64) (start int64, ok bool) {
	size, ok := length(f, end-frameSize)
	if !ok {
		return 0, false
	}
	start = end - 2*frameSize - size
	again, ok := length(f, start)
	return start, ok && again == size
}

// lastWhole returns where the last whole record ends.
func lastWhole(f *os.File, end int64) int64 {
	at := int64(0)
	for {
		size, ok := length(f, at)
		next := at + 2*frameSize + size
		if !ok || next > end {
			return at
		}
		if again, ok := length(f, next-frameSize); !ok || again != size {
			return at
		}
		at = next
	}
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
