// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// pidfile is locked as long as the daemon runs: a number in a file cannot
// tell a living daemon from another process with its pid, a lock can.
type pidfile struct{ file *os.File }

// writePidfile claims path. It fails when another process holds it.
func writePidfile(path string) (*pidfile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot write the pidfile: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid, _ := io.ReadAll(io.LimitReader(f, 20)) // only for the message
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("pidfile %s is held by a running daemon (pid %s): stop it, or give this one another --pidfile, --data-root and --exec-root", path, strings.TrimSpace(string(pid)))
		}
		return nil, fmt.Errorf("cannot lock the pidfile %s: %w", path, err)
	}
	if err := errors.Join(f.Truncate(0), writeAll(f, fmt.Sprintf("%d\n", os.Getpid()))); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write the pidfile %s: %w", path, err)
	}
	return &pidfile{f}, nil
}

func writeAll(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// remove removes the file while it is still locked, so that no other daemon
// can have claimed it in between.
func (p *pidfile) remove() error {
	return errors.Join(os.Remove(p.file.Name()), p.file.Close())
}
