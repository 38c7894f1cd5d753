// SPDX-License-Identifier: Apache-2.0

package reader_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/containerlog/reader"
	"github.com/davit-engine/davit/internal/testutil"
)

// journalctl returns a program that stands for one that misbehaves.
func journalctl(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journalctl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Who reads no more is not held up by a process that keeps the output open.
func TestJournalctlThatDoesNotEnd(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	j := reader.Journal{Command: journalctl(t, "sleep 1000 &\necho $! >"+pidfile+".new; mv "+pidfile+".new "+pidfile+"\nwait\n")}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		result <- reader.ReadJournal(ctx, j, reader.Options{Tail: -1, Follow: true}, io.Discard, io.Discard)
	}()
	var pid int
	testutil.Eventually(t, 20*time.Second, "it to run", func() bool {
		text, err := os.ReadFile(pidfile)
		pid, _ = strconv.Atoi(string(bytes.TrimSpace(text))) // none yet is 0
		return err == nil
	})
	defer syscall.Kill(pid, syscall.SIGKILL)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("what held the output open was gone: %v", err)
	}
}

// What it complains about is told, as far as anybody would read it.
func TestJournalctlThatComplains(t *testing.T) {
	j := reader.Journal{Command: journalctl(t, "echo no such journal >&2; head -c 20000000 /dev/zero | tr '\\0' x >&2; exit 1\n")}
	err := reader.ReadJournal(t.Context(), j, reader.Options{Tail: -1}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "cannot read the journal: no such journal") || len(err.Error()) > 5000 {
		t.Errorf("%.200v", err)
	}
}
