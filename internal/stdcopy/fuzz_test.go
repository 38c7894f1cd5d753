// SPDX-License-Identifier: Apache-2.0

package stdcopy_test

import (
	"bytes"
	"testing"

	"github.com/davit-engine/davit/internal/stdcopy"
	docker "github.com/moby/moby/api/pkg/stdcopy"
)

// FuzzFrames writes two streams in any pieces: Docker's own reader gives them
// back, each in its order.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("out"), []byte("err"), 1)
	f.Add([]byte{}, []byte{1, 0, 0, 0, 0, 0, 0, 9}, 3)
	f.Add(bytes.Repeat([]byte("x"), 70000), []byte("\n"), 65537)
	f.Fuzz(func(t *testing.T, out, errs []byte, piece int) {
		if piece < 1 {
			return
		}
		var wire, gotOut, gotErr bytes.Buffer
		conn := stdcopy.NewConn(&wire)
		stdout, stderr := stdcopy.NewWriter(conn, stdcopy.Stdout), stdcopy.NewWriter(conn, stdcopy.Stderr)
		for a, b := out, errs; len(a) > 0 || len(b) > 0; {
			n, m := min(piece, len(a)), min(piece, len(b))
			if k, err := stdout.Write(a[:n]); err != nil || k != n {
				t.Fatalf("%d of %d: %v", k, n, err)
			}
			if k, err := stderr.Write(b[:m]); err != nil || k != m {
				t.Fatalf("%d of %d: %v", k, m, err)
			}
			a, b = a[n:], b[m:]
		}
		if _, err := docker.StdCopy(&gotOut, &gotErr, &wire); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(gotOut.Bytes(), out) || !bytes.Equal(gotErr.Bytes(), errs) {
			t.Errorf("%d and %d bytes came back, of %d and %d", gotOut.Len(), gotErr.Len(), len(out), len(errs))
		}
	})
}
