// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notifyTimeout bounds a message to a service manager that does not read.
const notifyTimeout = 5 * time.Second

// Notify sends assignments such as "READY=1", all in one datagram, and returns
// when it is in systemd's queue. It does nothing without a NOTIFY_SOCKET.
func (s *Systemd) Notify(lines ...string) error { return s.send(nil, lines...) }

// Ready says that the service can be used.
func (s *Systemd) Ready(status string) error { return s.Notify("READY=1", statusLine(status)) }

// Status says what the service is doing, for systemctl status.
func (s *Systemd) Status(text string) error { return s.Notify(statusLine(text)) }

// Stopping says that the service is on its way out.
func (s *Systemd) Stopping(status string) error { return s.Notify("STOPPING=1", statusLine(status)) }

// Reloading says that the configuration is being read again; Ready ends it,
// also when the reload failed.
func (s *Systemd) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("cannot read the monotonic clock: %w", err)
	}
	return s.Notify("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
}

// Extend asks for more time to start, reload or stop, counted from now. It is
// repeated before d has passed.
func (s *Systemd) Extend(d time.Duration) error {
	return s.Notify("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// Fatal says why the service is about to fail. An error with no errno in its
// chain is reported as EIO. busError is its name on the bus; "" is none.
func (s *Systemd) Fatal(err error, busError string) error {
	errno := unix.EIO
	_ = errors.As(err, &errno) // left as it is if there is none
	lines := []string{statusLine(err.Error()), "ERRNO=" + strconv.Itoa(int(errno))}
	if busError != "" {
		lines = append(lines, "BUSERROR="+busError)
	}
	return s.Notify(lines...)
}

// Trigger has systemd act at once as when the watchdog was not told for too
// long. It is for what proves that the process cannot be trusted any more.
func (s *Systemd) Trigger(status string) error {
	return s.Notify("WATCHDOG=trigger", statusLine(status))
}

// Barrier returns when systemd has processed all that was sent before.
func (s *Systemd) Barrier(ctx context.Context) error {
	if s.notify == nil {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe for a barrier: %w", err)
	}
	defer r.Close()
	err = s.send([]*os.File{w}, "BARRIER=1")
	w.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = r.SetReadDeadline(time.Now()) // ends the Read below
	})
	defer stop()
	// systemd writes nothing: it closes its end.
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("systemd did not reach the barrier: %w", context.Cause(ctx))
	}
	return nil
}

// StoreFDs gives descriptors to systemd to keep, under a name, for the process
// that it starts next. The caller keeps its own. systemd drops a descriptor
// that is hung up.
func (s *Systemd) StoreFDs(name string, files ...*os.File) error {
	if err := checkStoredName(name); err != nil {
		return err
	}
	return s.send(files, "FDSTORE=1", "FDNAME="+storedPrefix+name)
}

// DropFDs has systemd close what it keeps under a name.
func (s *Systemd) DropFDs(name string) error {
	if err := checkStoredName(name); err != nil {
		return err
	}
	return s.Notify("FDSTOREREMOVE=1", "FDNAME="+storedPrefix+name)
}

// checkStoredName holds a name to what sd_pid_notify_with_fds(3) takes.
func checkStoredName(name string) error {
	if name == "" || len(storedPrefix)+len(name) > 255 {
		return fmt.Errorf("cannot store descriptors as %q: the name is empty or too long", name)
	}
	for _, c := range []byte(name) {
		if c < ' ' || c >= 0x7f || c == ':' {
			return fmt.Errorf("cannot store descriptors as %q: the name may not hold %q", name, c)
		}
	}
	return nil
}

// statusLine makes one line of a text of several: a second would be taken for
// an assignment.
func statusLine(text string) string {
	return "STATUS=" + strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == 0 }), " ")
}

// descriptors is not File.Fd, which would make the files blocking.
func descriptors(files []*os.File) ([]int, error) {
	var fds []int
	for _, f := range files {
		conn, err := f.SyscallConn()
		if err == nil {
			err = conn.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
		}
		if err != nil {
			return nil, fmt.Errorf("cannot give systemd descriptor %s: %w", f.Name(), err)
		}
	}
	return fds, nil
}

// send uses a raw socket: net.UnixConn.WriteMsgUnix refuses a connected one,
// and an unconnected one has no name for it to use.
func (s *Systemd) send(files []*os.File, lines ...string) error {
	if s.notify == nil {
		return nil
	}
	for _, line := range lines {
		if strings.ContainsAny(line, "\n\x00") || !strings.Contains(line, "=") {
			return fmt.Errorf("cannot notify systemd: %q is not an assignment", line)
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot make a socket to notify systemd: %w", err)
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(int64(notifyTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		return fmt.Errorf("cannot set the timeout of the socket to systemd: %w", err)
	}
	var rights []byte
	if len(files) > 0 {
		fds, err := descriptors(files)
		if err != nil {
			return err
		}
		defer runtime.KeepAlive(files)
		rights = unix.UnixRights(fds...)
	}
	message := []byte(strings.Join(lines, "\n"))
	for {
		err := unix.Sendmsg(fd, message, rights, s.notify, unix.MSG_NOSIGNAL)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("cannot notify systemd at %s: %w", s.notify.Name, err)
		}
	}
}
