// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// localFile writes the format of Docker's local driver: each record is a
// protocol buffer (LogEntry of moby's api/types/plugins/logdriver/entry.proto),
// with its length, of four bytes, before and behind it.
type localFile struct {
	file
	origin [8]byte // tells this writer's lines from another's
}

// The wire types of protobuf that are used.
const (
	varintWire = iota
	_
	bytesWire
)

// The keys of LogEntry's fields and, below it, of PartialLogEntryMetadata's:
// number and wire type.
const (
	keySource   = 1<<3 + bytesWire
	keyTime     = 2<<3 + varintWire
	keyLine     = 3<<3 + bytesWire
	keyPartial  = 4<<3 + varintWire
	keyMetadata = 5<<3 + bytesWire

	keyLast    = 1<<3 + varintWire
	keyID      = 2<<3 + bytesWire
	keyOrdinal = 3<<3 + varintWire
)

// frameSize is that of the length at either end of a record.
const frameSize = 4

// maxOverhead is the most that a record takes beside its text.
const maxOverhead = 128

// CreateLocal is [Create] for the format of Docker's local driver. The part
// that a predecessor wrote of a record is cut off.
func CreateLocal(path string, opts Options) (*Writer, error) {
	f := &localFile{file: file{path: path, opts: opts, mend: cutTorn}}
	if err := f.open(unix.O_CREAT); err != nil {
		return nil, err
	}
	f.torn = !f.whole()
	_, _ = unix.Getrandom(f.origin[:], 0) // all zero would do
	f.unmap()
	return newWriter(f, opts.Buffer), nil
}

func (f *localFile) record(r *record) error {
	err := f.reserve(len(r.text) + maxOverhead)
	start := len(f.buf)
	buf := append(f.buf, 0, 0, 0, 0)
	buf = appendText(buf, keySource, streamNames[r.stream])
	buf = binary.AppendUvarint(append(buf, keyTime), uint64(r.at))
	if len(r.text) > 0 {
		buf = binary.AppendUvarint(append(buf, keyLine), uint64(len(r.text)))
		buf = append(buf, r.text...)
	}
	if r.part > 0 {
		buf = append(buf, keyPartial, 1, keyMetadata, 0)
		metadata := len(buf)
		if r.end {
			buf = append(buf, keyLast, 1)
		}
		buf = append(buf, keyID, 32)
		buf = appendLineID(buf, f.origin, r.line)
		buf = binary.AppendUvarint(append(buf, keyOrdinal), uint64(r.part))
		buf[metadata-1] = byte(len(buf) - metadata) // less than 128: one byte
	}
	size := uint32(len(buf) - start - frameSize)
	binary.BigEndian.PutUint32(buf[start:], size)
	f.buf = binary.BigEndian.AppendUint32(buf, size)
	return err
}

func appendText(buf []byte, key byte, text string) []byte {
	return append(append(buf, key, byte(len(text))), text...)
}

// appendLineID names a line that has parts: 32 hexadecimal digits.
func appendLineID(buf []byte, origin [8]byte, line uint64) []byte {
	for _, c := range origin {
		buf = append(buf, hex[c>>4], hex[c&0xf])
	}
	for shift := 60; shift >= 0; shift -= 4 {
		buf = append(buf, hex[line>>shift&0xf])
	}
	return buf
}

// whole tells whether the file ends with a record that is whole.
func (f *file) whole() bool {
	if f.size == 0 {
		return true
	}
	size, ok := f.length(f.size - frameSize)
	if !ok {
		return false
	}
	start := f.size - 2*frameSize - size
	again, ok := f.length(start)
	return ok && again == size && size > 0
}

func (f *file) length(at int64) (int64, bool) {
	var b [frameSize]byte
	if at < 0 {
		return 0, false
	}
	n, err := unix.Pread(f.fd, b[:], at)
	return int64(binary.BigEndian.Uint32(b[:])), err == nil && n == frameSize
}

// cutTorn cuts the file off behind its last whole record. What is torn before
// that, readers find their way over.
func cutTorn(f *file) error {
	end := int64(0)
	for at := int64(0); ; {
		size, ok := f.length(at)
		next := at + 2*frameSize + size
		if again, whole := f.length(next - frameSize); ok && size > 0 && whole && again == size {
			at, end = next, next
		} else if at, ok = f.nextStart(at + 1); !ok {
			break
		}
	}
	if err := unix.Ftruncate(f.fd, end); err != nil {
		return &pathError{"mend log", f.path, err}
	}
	f.size = end
	return nil
}

// nextStart looks for where a record may begin, from an offset on: its first
// field is the stream.
func (f *file) nextStart(from int64) (at int64, ok bool) {
	start := [...]byte{keySource, byte(len("stdout")), 's', 't', 'd'}
	buf := make([]byte, smallBuffer)
	for at = from + frameSize; ; {
		n, err := unix.Pread(f.fd, buf, at)
		if err != nil || n < len(start) {
			return 0, false
		}
		if i := bytes.Index(buf[:n], start[:]); i >= 0 {
			return at + int64(i) - frameSize, true
		}
		at += int64(n - len(start) + 1)
	}
}
