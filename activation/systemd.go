// SPDX-License-Identifier: Apache-2.0

// Package activation is systemd's side of the daemon's contract: the sockets
// that it was given, by name, or makes itself; what it says of its state; and
// the watchdog. Without systemd the same calls work and say nothing.
//
// See sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3), systemd.exec(5).
package activation

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// firstFD is SD_LISTEN_FDS_START.
const firstFD = 3

// storedPrefix marks, among the names of descriptors, those that StoreFDs gave
// away; the others are names of sockets.
const storedPrefix = "stored-"

// captured are the variables by which systemd talks to its service. A child
// that inherited them would take our sockets for its own, or speak for us.
var captured = []string{
	"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
	"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE", "CREDENTIALS_DIRECTORY",
}

// Systemd is what systemd said to this process when it started it.
type Systemd struct {
	passed      []passed
	stored      map[string][]*os.File
	notify      *unix.SockaddrUnix // nil: nobody listens
	watchdog    time.Duration
	storeMax    int
	credentials string
}

// passed is a descriptor that was not yet taken.
type passed struct {
	fd   int
	name string
}

// New reads and removes systemd's variables of the environment and marks the
// descriptors that came with it close-on-exec. It is called once, before the
// first child is started. A variable that makes no sense is an error; one that
// is meant for another process is not.
func New() (*Systemd, error) {
	env := make(map[string]string, len(captured))
	for _, name := range captured {
		env[name] = os.Getenv(name)
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("cannot remove %s from the environment: %w", name, err)
		}
	}
	s := &Systemd{stored: map[string][]*os.File{}, credentials: env["CREDENTIALS_DIRECTORY"]}
	if err := s.readNotify(env["NOTIFY_SOCKET"]); err != nil {
		return nil, err
	}
	if err := s.readWatchdog(env["WATCHDOG_USEC"], env["WATCHDOG_PID"]); err != nil {
		return nil, err
	}
	if v := env["FDSTORE"]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, fmt.Errorf("cannot read FDSTORE=%q: %w", v, err)
		}
		s.storeMax = n
	}
	if err := s.readListen(env["LISTEN_FDS"], env["LISTEN_PID"], env["LISTEN_FDNAMES"]); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Systemd) readNotify(address string) error {
	switch {
	case address == "":
	case address[0] == '/' || address[0] == '@': // x/sys makes NUL of the @
		s.notify = &unix.SockaddrUnix{Name: address}
	default:
		return fmt.Errorf("cannot use NOTIFY_SOCKET=%q: neither a path nor an abstract name", address)
	}
	return nil
}

func (s *Systemd) readWatchdog(usec, pid string) error {
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err == nil && (n <= 0 || n > int64(1<<63-1)/int64(time.Microsecond)) {
		err = strconv.ErrRange
	}
	if err != nil {
		return fmt.Errorf("cannot read WATCHDOG_USEC=%q: %w", usec, err)
	}
	s.watchdog = time.Duration(n) * time.Microsecond
	return nil
}

func (s *Systemd) readListen(fds, pid, names string) error {
	if fds == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	n, err := strconv.Atoi(fds)
	if err == nil && (n < 0 || n > 1<<20) {
		err = strconv.ErrRange
	}
	if err != nil {
		return fmt.Errorf("cannot read LISTEN_FDS=%q: %w", fds, err)
	}
	var list []string
	if names != "" {
		list = strings.Split(names, ":")
		if len(list) != n {
			return fmt.Errorf("cannot match LISTEN_FDNAMES=%q to %d descriptors", names, n)
		}
	}
	for i := range n {
		fd := firstFD + i
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags|unix.FD_CLOEXEC)
		}
		if err != nil {
			return fmt.Errorf("cannot take descriptor %d of LISTEN_FDS=%s: %w", fd, fds, err)
		}
		name := ""
		if list != nil {
			name = list[i]
		}
		if stored, ok := strings.CutPrefix(name, storedPrefix); ok {
			s.stored[stored] = append(s.stored[stored], os.NewFile(uintptr(fd), name))
			continue
		}
		s.passed = append(s.passed, passed{fd: fd, name: name})
	}
	return nil
}

// Activated tells whether systemd passed sockets.
func (s *Systemd) Activated() bool { return len(s.passed) > 0 }

// Supervised tells whether somebody listens to what Notify says.
func (s *Systemd) Supervised() bool { return s.notify != nil }

// WatchdogInterval is how long the service may be silent before systemd
// aborts it; 0: for ever.
func (s *Systemd) WatchdogInterval() time.Duration { return s.watchdog }

// CredentialsDirectory is where the files of LoadCredential= are; "" without.
func (s *Systemd) CredentialsDirectory() string { return s.credentials }

// StoreMax is how many descriptors StoreFDs may give away. Before systemd 254
// it is not told and 0.
func (s *Systemd) StoreMax() int { return s.storeMax }

// Stored returns the descriptors that a predecessor gave to StoreFDs, by name.
// The caller owns them.
func (s *Systemd) Stored() map[string][]*os.File {
	stored := s.stored
	s.stored = nil
	return stored
}
