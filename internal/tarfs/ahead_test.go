// SPDX-License-Identifier: Apache-2.0

package tarfs_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/davit-engine/davit/internal/tarfs"
)

func TestAhead(t *testing.T) {
	data := make([]byte, 3_000_001)
	rnd := rand.NewChaCha8([32]byte{})
	_, _ = rnd.Read(data) // never fails
	fault := errors.New("fault")
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"plain": func(r io.Reader) io.Reader { return r }, "half": iotest.HalfReader, "error with data": iotest.DataErrReader,
		"fault": func(r io.Reader) io.Reader { return io.MultiReader(r, iotest.ErrReader(fault)) },
	} {
		a := tarfs.Ahead(wrap(bytes.NewReader(data)))
		got, err := io.ReadAll(a)
		if !bytes.Equal(got, data) {
			t.Errorf("%s: read %d bytes, not the %d written", name, len(got), len(data))
		}
		if name == "fault" != errors.Is(err, fault) || (name != "fault" && err != nil) {
			t.Errorf("%s: ended with %v", name, err)
		}
		if n, again := a.Read(make([]byte, 1)); n != 0 || again == nil {
			t.Errorf("%s: read %d bytes after the end, %v", name, n, again)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	a := tarfs.Ahead(rand.NewChaCha8([32]byte{})) // endless
	if _, err := io.ReadFull(a, data); err != nil {
		t.Error(err)
	}
	for range 2 { // a goroutine that does not end would hang here
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}
