// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxPacket is the largest packet, in bytes; what may be larger goes by file.
const MaxPacket = 16 << 10

// firstPacket is the room made for packets until a longer one comes: most are
// of a few hundred bytes, and the holder has a connection for each probe.
const firstPacket = 1 << 10

// MaxFDs is how many descriptors one packet carries at most. The kernel's own
// limit is 253 (SCM_MAX_FD).
const MaxFDs = 200

var errTruncated = errors.New("packet is longer than the protocol allows")

// Conn is a SOCK_SEQPACKET socket that carries JSON values and descriptors.
// It is made of a descriptor that the runtime polls, not of package net, to
// keep the holder small. Send may be called from several goroutines, Receive
// from one.
type Conn struct {
	file *os.File
	raw  syscall.RawConn
	mu   sync.Mutex // holds senders apart, so that none waits on the poller for another
	buf  []byte
	oob  []byte
}

// NewConn takes over fd, a connected socket.
func NewConn(fd int) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "monitor.sock")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &Conn{file: file, raw: raw}, nil
}

// Dial connects to the socket at path without waiting. The error wraps
// [os.ErrNotExist] or ECONNREFUSED when nobody listens, and EAGAIN when many
// wait already to be accepted.
func Dial(path string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = withShortPath(path, func(short string) error {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: short})
	})
	if err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	return NewConn(fd)
}

// Listen makes the socket at path, mode 0600, and returns its descriptor.
func Listen(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	// The rename makes the socket appear only when it listens, so that a
	// caller who waits for it is never refused.
	tmp := path + ".new"
	_ = unix.Unlink(tmp)
	err = withShortPath(tmp, func(short string) error {
		return unix.Bind(fd, &unix.SockaddrUnix{Name: short})
	})
	if err == nil {
		err = unix.Listen(fd, 64)
	}
	if err == nil {
		err = unix.Chmod(tmp, 0o600)
	}
	if err == nil {
		err = unix.Rename(tmp, path)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, &os.PathError{Op: "listen", Path: path, Err: err}
	}
	return fd, nil
}

// withShortPath calls f with a name of path that fits into sun_path, which
// holds 108 bytes; a 64-digit id takes most of them.
func withShortPath(path string, f func(string) error) error {
	if len(path) < 100 {
		return f(path)
	}
	slash := len(path) - 1
	for slash > 0 && path[slash] != '/' {
		slash--
	}
	dir, err := unix.Open(path[:slash+1], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return f("/proc/self/fd/" + itoa(dir) + path[slash:])
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// Pair returns the two ends of a socket pair: a connection, and a descriptor
// for a child process.
func Pair() (*Conn, int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, os.NewSyscallError("socketpair", err)
	}
	conn, err := NewConn(fds[0])
	if err != nil {
		_ = unix.Close(fds[1])
		return nil, -1, err
	}
	return conn, fds[1], nil
}

// Send writes v and passes duplicates of fds. It waits while the peer's queue
// is full.
func (c *Conn) Send(v any, fds ...int) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(p) > MaxPacket || len(fds) > MaxFDs {
		return errTruncated
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var sendErr error
	err = c.raw.Write(func(fd uintptr) bool {
		for {
			sendErr = unix.Sendmsg(int(fd), p, oob, nil, unix.MSG_NOSIGNAL)
			if sendErr != unix.EINTR {
				return sendErr != unix.EAGAIN
			}
		}
	})
	if err == nil && sendErr != nil {
		err = os.NewSyscallError("sendmsg", sendErr)
	}
	return err
}

// Receive reads one packet into v and returns the descriptors that came with
// it, close-on-exec, which the caller owns. It returns [io.EOF] when the peer
// has closed.
func (c *Conn) Receive(v any) ([]int, error) {
	if c.oob == nil {
		c.buf = make([]byte, firstPacket)
		c.oob = make([]byte, unix.CmsgSpace(4*MaxFDs))
	}
	var n, oobn, flags int
	var recvErr error
	err := c.raw.Read(func(fd uintptr) bool {
		for {
			// The length of a packet that does not fit is told, and it stays.
			n, _, recvErr = unix.Recvfrom(int(fd), c.buf, unix.MSG_PEEK|unix.MSG_TRUNC)
			if recvErr == nil {
				if n > len(c.buf) {
					c.buf = make([]byte, MaxPacket)
				}
				n, oobn, flags, _, recvErr = unix.Recvmsg(int(fd), c.buf, c.oob, unix.MSG_CMSG_CLOEXEC)
			}
			if recvErr != unix.EINTR {
				return recvErr != unix.EAGAIN
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if recvErr != nil {
		return nil, os.NewSyscallError("recvmsg", recvErr)
	}
	fds, err := rights(c.oob[:oobn])
	switch {
	case err != nil:
	case n == 0: // no packet of ours is empty
		err = io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errTruncated
	default:
		err = json.Unmarshal(c.buf[:n], v)
	}
	if err != nil {
		CloseFDs(fds)
		return nil, err
	}
	return fds, nil
}

// Close closes the socket; a Send or Receive that waits returns an error.
func (c *Conn) Close() error { return c.file.Close() }

func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // not SCM_RIGHTS
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// CloseFDs closes all of fds.
func CloseFDs(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// ReceiveFD reads the one descriptor that a message on the blocking socket
// carries; the message's bytes are of no interest. This is how libcontainer
// hands over a terminal.
func ReceiveFD(socket int) (int, error) {
	buf := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		_, oobn, _, _, err := unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, os.NewSyscallError("recvmsg", err)
		}
		fds, err := rights(oob[:oobn])
		if err != nil {
			return -1, err
		}
		if len(fds) != 1 {
			CloseFDs(fds)
			return -1, io.ErrUnexpectedEOF
		}
		return fds[0], nil
	}
}
