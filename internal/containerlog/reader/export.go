// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxField bounds a field of an entry of the journal, name and value.
const maxField = 1 << 20

// errExport is of what is not in the Journal Export Format.
var errExport = errors.New("not in the journal's export format")

// exported reads the Journal Export Format
// (https://systemd.io/JOURNAL_EXPORT_FORMATS/).
type exported struct{ in *bufio.Reader }

// next visits the fields of the next entry, and returns io.EOF when there is
// none. An entry that ends too early is none. Name and value are valid until visit
// returns.
func (x *exported) next(visit func(name string, value []byte)) error {
	for n := 0; ; n++ {
		line, err := x.line()
		switch {
		case err != nil:
			return err
		case len(line) == 0 && n == 0:
			n-- // further blank lines between entries
			continue
		case len(line) == 0:
			return nil
		}
		if name, value, ok := bytes.Cut(line, []byte{'='}); ok {
			visit(string(name), value)
			continue
		}
		name := string(line)
		value, err := x.binary()
		if err != nil {
			return err
		}
		visit(name, value)
	}
}

// line reads a line, without its newline.
func (x *exported) line() ([]byte, error) {
	var long []byte
	for {
		line, err := x.in.ReadSlice('\n')
		switch {
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(long)+len(line) > maxField:
			return nil, fmt.Errorf("%w: a line of more than %d bytes", errExport, maxField)
		case err == nil && long == nil:
			return line[:len(line)-1], nil
		case err == nil:
			return append(long, line[:len(line)-1]...), nil
		}
		long = append(long, line...)
	}
}

// binary reads a value whose length precedes it.
func (x *exported) binary() ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(x.in, head[:]); err != nil {
		return nil, cutShort(err)
	}
	size := binary.LittleEndian.Uint64(head[:])
	if size > maxField {
		return nil, fmt.Errorf("%w: a value of %d bytes", errExport, size)
	}
	value := make([]byte, size+1)
	if _, err := io.ReadFull(x.in, value); err != nil {
		return nil, cutShort(err)
	}
	if value[size] != '\n' {
		return nil, fmt.Errorf("%w: no newline behind a value", errExport)
	}
	return value[:size], nil
}

// cutShort makes one of the two ends that a read can come to.
func cutShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}
