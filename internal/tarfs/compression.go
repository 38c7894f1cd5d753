// SPDX-License-Identifier: Apache-2.0

package tarfs

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how a stream is compressed.
type Compression string

// The compressions that [Decompress] tells apart by the first bytes.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
	Bzip2 Compression = "bzip2"
	XZ    Compression = "xz" // known, and refused
)

// ErrCompression says that a stream is compressed in a way that Decompress
// knows but cannot undo.
var ErrCompression = errors.New("xz compression is not supported: use gzip or zstd")

// maxWindow bounds the memory that a zstd stream may ask for: zstd(1)'s
// --ultra --long=27.
const maxWindow = 128 << 20

var magics = []struct {
	kind  Compression
	magic []byte
}{
	{Gzip, []byte{0x1f, 0x8b, 0x08}},
	{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd}}, // RFC 8878 3.1.1
	{Bzip2, []byte("BZh")},
	{XZ, []byte{0xfd, '7', 'z', 'X', 'Z', 0}},
}

// Decompress returns the plain content of r, which may be compressed. The
// caller closes the result; that does not close r. A damaged stream fails in
// Read. At the end of the result, r has been read to its end as well.
func Decompress(r io.Reader) (io.ReadCloser, Compression, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, Plain, err
	}
	switch kind := Detect(head); kind {
	case Gzip:
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, kind, fmt.Errorf("cannot read gzip: %w", err)
		}
		return zr, kind, nil
	case Zstd:
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, kind, fmt.Errorf("cannot read zstd: %w", err)
		}
		return zr.IOReadCloser(), kind, nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(br)), kind, nil
	case XZ:
		return nil, kind, ErrCompression
	default:
		return io.NopCloser(br), Plain, nil
	}
}

// Detect tells the compression of a stream by its first bytes, of which six are
// enough.
func Detect(head []byte) Compression {
	for _, m := range magics {
		if bytes.HasPrefix(head, m.magic) {
			return m.kind
		}
	}
	return Plain
}
