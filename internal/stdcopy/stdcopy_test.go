// SPDX-License-Identifier: Apache-2.0

package stdcopy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/davit-engine/davit/internal/stdcopy"
	"github.com/google/go-cmp/cmp"
	moby "github.com/moby/moby/api/pkg/stdcopy"
)

func TestReadByDocker(t *testing.T) {
	var wire bytes.Buffer
	conn := stdcopy.NewConn(&wire)
	var want [2]string
	var wg sync.WaitGroup
	for i, stream := range []byte{stdcopy.Stdout, stdcopy.Stderr} {
		var lines []string
		for n := range 500 {
			lines = append(lines, fmt.Sprintf("%d %d\n", i, n))
		}
		lines = append(lines, strings.Repeat("x", 200<<10), "")
		want[i] = strings.Join(lines, "")
		wg.Go(func() {
			w := stdcopy.NewWriter(conn, stream)
			for _, line := range lines {
				if n, err := io.WriteString(w, line); err != nil || n != len(line) {
					t.Errorf("wrote %d of %d: %v", n, len(line), err)
				}
			}
		})
	}
	wg.Wait()
	var out, errOut bytes.Buffer
	n, err := moby.StdCopy(&out, &errOut, &wire)
	if err != nil || n != int64(len(want[0])+len(want[1])) {
		t.Errorf("read %d bytes: %v", n, err)
	}
	if diff := cmp.Diff(want, [2]string{out.String(), errOut.String()}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFrame(t *testing.T) {
	var wire bytes.Buffer
	if _, err := stdcopy.NewWriter(&wire, stdcopy.Stderr).Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if got, want := wire.String(), "\x02\x00\x00\x00\x00\x00\x00\x03abc"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSystemError(t *testing.T) {
	var wire bytes.Buffer
	if _, err := stdcopy.NewWriter(&wire, stdcopy.SystemError).Write([]byte("it broke")); err != nil {
		t.Fatal(err)
	}
	if _, err := moby.StdCopy(io.Discard, io.Discard, &wire); err == nil || !strings.Contains(err.Error(), "it broke") {
		t.Errorf("error is %v", err)
	}
}

type limited struct {
	left int
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left == 0 {
		return 0, l.err
	}
	l.left--
	return len(p), nil
}

func TestFailureStays(t *testing.T) {
	gone := errors.New("gone")
	conn := stdcopy.NewConn(&limited{left: 2, err: gone})
	w := stdcopy.NewWriter(conn, stdcopy.Stdout)
	n, err := w.Write(make([]byte, 200<<10))
	if n != 128<<10 || !errors.Is(err, gone) {
		t.Errorf("wrote %d: %v", n, err)
	}
	if _, err := stdcopy.NewWriter(conn, stdcopy.Stderr).Write([]byte("x")); !errors.Is(err, gone) {
		t.Errorf("error is %v", err)
	}
}
