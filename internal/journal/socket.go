// SPDX-License-Identifier: Apache-2.0

// Package journal writes log records to systemd's journal as structured
// entries, and the same records as text to who reads along on a terminal.
//
// The protocol is systemd's "Native Journal Protocol"
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// SocketPath is where journald listens for native entries.
const SocketPath = "/run/systemd/journal/socket"

// sendTimeout bounds how long a record waits for a journald that does not
// read: the program has a watchdog to feed.
const sendTimeout = time.Second

// Field is one field of an entry. The journal takes a name of at most 64 of
// the characters A-Z, 0-9 and _, that begins with a letter; see [FieldName].
type Field struct{ Name, Value string }

// Connected tells whether what is written to f goes to the journal already:
// systemd says in $JOURNAL_STREAM which file it connected (systemd.exec(5)),
// and f may have been redirected since.
func Connected(f *os.File) bool {
	var dev, ino uint64
	if n, err := fmt.Sscanf(os.Getenv("JOURNAL_STREAM"), "%d:%d", &dev, &ino); n != 2 || err != nil {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Dev == dev && st.Ino == ino
}

// Stream writes to a stream socket, as standard error is when systemd connected
// it to the journal, and waits for no reader: what does not fit is lost.
type Stream struct{ File *os.File }

// Write writes as much as the reader has room for.
func (s Stream) Write(p []byte) (int, error) {
	conn, err := s.File.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	cerr := conn.Control(func(fd uintptr) {
		n, err = unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	return n, errors.Join(cerr, err)
}

// FieldName makes a name that the journal takes of any text: the others of
// its characters become underscores.
func FieldName(text string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, text)
	name = strings.TrimLeft(name, "_0123456789") // a leading underscore is for fields that journald adds
	return name[:min(len(name), 64)]
}

// Socket sends entries to journald. It may be used by many at once.
type Socket struct {
	fd    int
	addr  *unix.SockaddrUnix
	stuck atomic.Bool // the latest entry waited in vain: until one gets through, none waits
}

// Open makes a socket that sends to path. Nobody needs to listen there yet:
// each entry looks for the listener anew, and so outlives its restarts.
func Open(path string) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket for the journal: %w", err)
	}
	// Without privileges the buffer stays as it is, and more entries take the
	// way of the large ones.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20)
	timeout := unix.NsecToTimeval(sendTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot bound the time to write to the journal: %w", err)
	}
	return &Socket{fd: fd, addr: &unix.SockaddrUnix{Name: path}}, nil
}

// Close closes the socket.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// Send sends one entry. It returns once journald has it, or why it has not:
// nobody listens, or did not read within a second. A journald that does not read
// is waited for once, and not by each of a hundred records.
func (s *Socket) Send(fields []Field) error {
	data := encode(fields)
	err := s.send(data, nil)
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
		err = s.sendLarge(data)
	}
	if err != nil {
		return fmt.Errorf("cannot write to the journal at %s: %w", s.addr.Name, err)
	}
	return nil
}

func (s *Socket) send(data, control []byte) error {
	flags := unix.MSG_NOSIGNAL
	if s.stuck.Load() {
		flags |= unix.MSG_DONTWAIT
	}
	for {
		_, err := unix.SendmsgN(s.fd, data, control, s.addr, flags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.ENOBUFS) { // else it is sent another way
			s.stuck.Store(errors.Is(err, unix.EAGAIN))
		}
		return err
	}
}

// sendLarge passes an entry that is no datagram as a file in memory. journald
// reads it only if nobody can change it any more.
func (s *Socket) sendLarge(data []byte) error {
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "journal-entry")
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	return s.send(nil, unix.UnixRights(fd))
}

// encode writes NAME=value lines; a value of several lines is preceded by its
// length instead.
func encode(fields []Field) []byte {
	var b []byte
	for _, f := range fields {
		b = append(b, f.Name...)
		if strings.Contains(f.Value, "\n") {
			b = append(b, '\n')
			b = binary.LittleEndian.AppendUint64(b, uint64(len(f.Value)))
		} else {
			b = append(b, '=')
		}
		b = append(append(b, f.Value...), '\n')
	}
	return b
}
