// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// JournalSocket is where journald listens for native entries.
const JournalSocket = "/run/systemd/journal/socket"

// JournalOptions are those of a log in the journal.
type JournalOptions struct {
	Socket string   // where journald listens
	Fields []string // NAME=value that each entry has
	Buffer int      // as in [Options]
	// Patience is how long one entry waits for a journald that does not read. After
	// that none waits, and what journald has no room for is lost, until it reads
	// again. It is a second at least.
	Patience time.Duration
}

// journald writes entries of systemd's Native Journal Protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/) with the fields of Docker's
// journald driver, which are Podman's, too.
type journald struct {
	path   string
	fd     int
	addr   unix.SockaddrUnix
	fixed  []byte // the fields that all entries have
	buf    []byte
	clock  clock
	origin [8]byte // tells this log's entries from those of another run
	number uint64  // of the latest entry
	lost   uint64  // entries since the last that got through
	stuck  bool    // the latest entry waited in vain
}

// closePatience is how long the end of a log waits for journald to have it.
const closePatience = 2 * time.Second

// OpenJournal makes a log in the journal. Journald need not listen for ever:
// each entry looks for it anew, and so the log outlives its restarts.
func OpenJournal(o JournalOptions) (*Writer, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &pathError{"make a socket for", o.Socket, err}
	}
	j := &journald{path: o.Socket, fd: fd, addr: unix.SockaddrUnix{Name: o.Socket}}
	// For entries with many labels. Without privileges it stays as it is, and
	// more entries take the way of the large ones.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20)
	timeout := unix.Timeval{Sec: max(int64(o.Patience/time.Second), 1)}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		unix.Close(fd)
		return nil, &pathError{"bound the time to write to", o.Socket, err}
	}
	_, _ = unix.Getrandom(j.origin[:], 0) // all zero would do
	for _, f := range o.Fields {
		j.fixed = appendField(j.fixed, []byte(f))
	}
	return newWriter(j, o.Buffer), nil
}

// appendField appends NAME=value. Of a value with several lines the length is
// told instead.
func appendField(b, field []byte) []byte {
	name, value, ok := bytes.Cut(field, []byte{'='})
	if !ok || bytes.IndexByte(value, '\n') < 0 {
		return append(append(b, field...), '\n')
	}
	b = append(append(b, name...), '\n')
	for n, i := uint64(len(value)), 0; i < 8; i++ {
		b = append(b, byte(n>>(8*i)))
	}
	return append(append(b, value...), '\n')
}

func (j *journald) record(r *record) error {
	j.number++
	b := append(j.buf[:0], j.fixed...)
	priority := byte('6') // info, and error: as Docker and Podman have them
	if r.stream == Stderr {
		priority = '3'
	}
	b = append(b, "PRIORITY="...)
	b = append(b, priority)
	b = append(b, "\nMESSAGE="...)
	b = append(b, r.text...)
	b = append(b, "\nSYSLOG_TIMESTAMP="...)
	b = append(b, j.clock.format(time.Unix(0, r.at))...)
	b = append(b, "\nCONTAINER_LOG_EPOCH="...)
	b = appendLineID(b, j.origin, 0)
	b = append(b, "\nCONTAINER_LOG_ORDINAL="...)
	b = strconv.AppendUint(b, j.number, 10)
	if r.part > 0 {
		b = append(b, "\nCONTAINER_PARTIAL_ID="...)
		b = appendLineID(b, j.origin, r.line)
		b = append(b, "\nCONTAINER_PARTIAL_ORDINAL="...)
		b = strconv.AppendInt(b, int64(r.part), 10)
		if r.end {
			b = append(b, "\nCONTAINER_PARTIAL_LAST=true"...)
		} else {
			b = append(b, "\nCONTAINER_PARTIAL_LAST=false"...)
		}
	}
	if !r.end {
		b = append(b, "\nCONTAINER_PARTIAL_MESSAGE=true"...)
	}
	j.buf = append(b, '\n')
	return j.send()
}

// send sends buf, or loses it.
func (j *journald) send() error {
	if err := j.try(j.buf); err != nil {
		j.lost++
		return &pathError{"write to the journal at", j.path, err}
	}
	if j.lost > 0 {
		j.confess()
	}
	return nil
}

func (j *journald) try(p []byte) error {
	err := j.datagram(p, nil)
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
		err = j.tryLarge(p)
	}
	j.stuck = errors.Is(err, unix.EAGAIN)
	return err
}

func (j *journald) datagram(p, control []byte) error {
	flags := unix.MSG_NOSIGNAL
	if j.stuck {
		flags |= unix.MSG_DONTWAIT
	}
	for {
		if err := unix.Sendmsg(j.fd, p, control, &j.addr, flags); err != unix.EINTR {
			return err
		}
	}
}

// tryLarge passes an entry that is too large for a datagram as a file in memory.
// journald reads it only if nobody can change it any more.
func (j *journald) tryLarge(p []byte) error {
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err != nil && err != unix.EINTR {
			return err
		}
		p = p[max(n, 0):]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		return err
	}
	return j.datagram(nil, unix.UnixRights(fd))
}

// confess leaves an entry about those that are missing. It is none of the
// container's log: that counts its own.
func (j *journald) confess() {
	b := append(j.buf[:0], j.fixed...)
	b = append(b, "PRIORITY=4\nMESSAGE=davit-holder: journald did not read: entries of the container's output that were lost before the latest: "...)
	j.buf = append(strconv.AppendUint(b, j.lost, 10), '\n')
	if j.try(j.buf) == nil {
		j.lost = 0
	}
}

func (j *journald) flush() error { return nil }

func (j *journald) idle() {}

// place is the latest entry.
func (j *journald) place() string {
	if j.settle() != nil || j.stuck {
		return ""
	}
	return "journal " + string(appendLineID(nil, j.origin, 0)) + " " + strconv.FormatUint(j.number, 10)
}

// close waits until journald has stored the last entry: it tells whose entries
// are by looking at the process that sent them, which is about to end.
func (j *journald) close() error {
	defer unix.Close(j.fd)
	return j.settle()
}

// settle waits until journald has stored the last entry. An empty datagram stands
// for no entry; when journald has read it, it has stored all that came before.
func (j *journald) settle() error {
	if j.number == 0 || j.stuck {
		return nil
	}
	if err := j.try(nil); err != nil {
		return &pathError{"end the log in the journal at", j.path, err}
	}
	deadline := time.Now().Add(closePatience)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		unread, err := unix.IoctlGetInt(j.fd, unix.SIOCOUTQ)
		if err != nil || unread == 0 {
			return nil //nolint:nilerr // a kernel that cannot tell has nobody wait
		}
		if time.Now().After(deadline) {
			return &pathError{"end the log in the journal at", j.path, unix.ETIMEDOUT}
		}
		<-time.After(pause)
	}
}
