// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

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
	if err := lockPidfile(f); err != nil {
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

// inheritance is how long a killed daemon's lock may outlive it: a child that it
// was about to start has it until it executes its program.
const inheritance = 2 * time.Second

// lockPidfile locks f. It waits for nobody but the children of a daemon that is
// dead.
func lockPidfile(f *os.File) error {
	for deadline := time.Now().Add(inheritance); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
		text := make([]byte, 20)
		n, _ := f.ReadAt(text, 0) // what cannot be read names nobody
		pid, perr := strconv.Atoi(strings.TrimSpace(string(text[:n])))
		if perr == nil && pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return err
		}
		<-time.After(10 * time.Millisecond)
	}
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
