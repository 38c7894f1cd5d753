// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultGroup owns the daemon's sockets. It need not exist: without it a
// socket that the daemon makes is root's alone.
const DefaultGroup = "davit"

// backlog is what the socket unit has.
const backlog = 512

// ListenHost makes the socket of a --host, unix:///PATH, of class [API]. Its
// mode is 0660 and its group the one named or numbered; "" keeps it to its
// owner, with mode 0600. A socket that a killed daemon left is replaced, one
// that a server answers on is not. Close of the listener removes the path.
func ListenHost(host, group string) (Socket, error) {
	scheme, path, ok := strings.Cut(host, "://")
	switch {
	case !ok:
		return Socket{}, fmt.Errorf("cannot listen on %q: write it as unix:///PATH", host)
	case scheme == "tcp":
		return Socket{}, fmt.Errorf("cannot listen on %s: whoever connects would be root on this machine; "+
			"enable davit-tls.socket, which serves TCP to clients with a certificate", host)
	case isFD(host):
		return Socket{}, fmt.Errorf("cannot listen on %s: systemd passed no socket; start davit.socket, or give --host unix:///PATH", host)
	case scheme == "fd":
		return Socket{}, fmt.Errorf("cannot listen on %s: sockets of systemd are chosen by FileDescriptorName=; write fd://", host)
	case scheme != "unix":
		return Socket{}, fmt.Errorf("cannot listen on %s: only unix:///PATH and fd:// are supported", host)
	case !filepath.IsAbs(path) || strings.HasSuffix(path, "/") || strings.IndexByte(path, 0) >= 0:
		return Socket{}, fmt.Errorf("cannot listen on %s: the path of a socket must be absolute", host)
	}
	gid, err := lookupGroup(group)
	if err != nil {
		return Socket{}, fmt.Errorf("cannot listen on %s: %w", host, err)
	}
	listener, err := listenUnix(filepath.Clean(path), gid)
	if err != nil {
		return Socket{}, fmt.Errorf("cannot listen on %s: %w", host, err)
	}
	return Socket{Name: API, Listener: listener}, nil
}

// lookupGroup returns -1 for no group.
func lookupGroup(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	found, err := user.LookupGroup(group)
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) {
		if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
			return int(gid), nil
		}
		if group == DefaultGroup {
			return -1, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("cannot find group %q (give another --group): %w", group, err)
	}
	return strconv.Atoi(found.Gid)
}

func listenUnix(path string, gid int) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the socket: %w", err)
	}
	// Held until the socket listens: of two daemons that start at once, the
	// second then finds that the first answers.
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the directory of the socket: %w", err)
	}
	defer lock.Close()
	if err := flock(int(lock.Fd())); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close() // the listener has a duplicate
	if err := bindPrivate(fd, path, gid); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		_ = os.Remove(path) // best effort: the next start takes it for stale
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		_ = os.Remove(path) // as above
		return nil, fmt.Errorf("cannot use the socket: %w", err)
	}
	if ul, ok := listener.(*net.UnixListener); ok {
		ul.SetUnlinkOnClose(true)
	}
	return listener, nil
}

func flock(fd int) error {
	for {
		if err := unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}

// bindPrivate binds the socket so that nobody connects before its mode and
// group are right: bind(2) takes the mode of the path from that of the socket
// (net/unix/af_unix.c, unix_bind_bsd), less the umask, and until listen(2) all
// are refused anyway.
func bindPrivate(fd int, path string, gid int) error {
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return fmt.Errorf("cannot set the mode of the socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		if err == unix.EINVAL && len(path) > 107 {
			return fmt.Errorf("the path has %d bytes, more than the 107 of unix(7): %w", len(path), err)
		}
		return fmt.Errorf("cannot bind: %w", err)
	}
	if gid < 0 {
		return nil
	}
	err := os.Lchown(path, -1, gid)
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		_ = os.Remove(path) // best effort: the next start takes it for stale
		return fmt.Errorf("cannot give the socket to group %d: %w", gid, err)
	}
	return nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot stat: %w", err)
	}
	if st.Mode().Type() != os.ModeSocket {
		return errors.New("the path exists and is not a socket: remove it, or give another --host")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot make a socket: %w", err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err {
	case unix.ECONNREFUSED:
	case unix.ENOENT:
		return nil
	case nil, unix.EAGAIN, unix.EPROTOTYPE: // EAGAIN: its backlog is full
		return errors.New("another server answers there: stop it, or give another --host")
	default:
		return fmt.Errorf("cannot tell whether a server answers there: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the socket that a dead server left: %w", err)
	}
	return nil
}
