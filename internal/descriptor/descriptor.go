// SPDX-License-Identifier: Apache-2.0

// Package descriptor prepares file descriptors that processes pass to each
// other: those that come in, so that reading from them can be given up, and
// those that go out, so that they behave as the receiver expects.
package descriptor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrUnfit is in the chain of the error for a descriptor that its sender
// opened in the wrong way, or that is not of a file to read or write.
var ErrUnfit = errors.New("pass a regular file, a pipe or a stream socket")

// Source makes a file of a descriptor that was passed to be read from. It
// takes fd over, also when it fails. Closing the file ends a Read that waits.
func Source(fd int) (*os.File, error) { return adopt(fd, unix.O_RDONLY) }

// Target is [Source] for one that was passed to be written to.
func Target(fd int) (*os.File, error) { return adopt(fd, unix.O_WRONLY) }

func adopt(fd, mode int) (*os.File, error) {
	f, err := open(fd, mode)
	if err != nil {
		_ = unix.Close(fd) // the first error counts
	}
	return f, err
}

// open never sets O_NONBLOCK on what other processes have open too, such as a
// shell's standard input: a pipe is opened anew (proc_pid_fd(5)). That must not
// give more rights than the descriptor has, so these are looked at before.
func open(fd, mode int) (*os.File, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the flags of a descriptor: %w", err)
	}
	has := flags & unix.O_ACCMODE
	switch {
	case flags&unix.O_PATH != 0:
		return nil, fmt.Errorf("the descriptor is only a path (O_PATH): %w", ErrUnfit)
	case has != mode && has != unix.O_RDWR:
		return nil, fmt.Errorf("the descriptor is not open for %s: %w", map[int]string{unix.O_RDONLY: "reading", unix.O_WRONLY: "writing"}[mode], ErrUnfit)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot look at a descriptor: %w", err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFSOCK:
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil || kind != unix.SOCK_STREAM {
			return nil, fmt.Errorf("the descriptor is another kind of socket: %w", ErrUnfit)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("cannot set a socket's mode: %w", err)
		}
	case unix.S_IFIFO:
		again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), mode|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENXIO) {
			return nil, fmt.Errorf("nobody reads from the pipe: %w", ErrUnfit)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot open a pipe anew: %w", err)
		}
		_ = unix.Close(fd) // it was only read from or written to by others
		fd = again
	default:
		return nil, fmt.Errorf("the descriptor is neither: %w", ErrUnfit)
	}
	return os.NewFile(uintptr(fd), "passed"), nil
}

// Pipe returns a pipe of which ours can be given up and theirs is what pipe(2)
// makes. ours is its writing end if write is true. The caller closes both.
func Pipe(write bool) (ours, theirs *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	if write {
		p[0], p[1] = p[1], p[0]
	}
	return pair(p)
}

// SocketPair returns a connection, as [Pipe].
func SocketPair() (ours, theirs *os.File, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	return pair(p)
}

func pair(p [2]int) (ours, theirs *os.File, err error) {
	if err := unix.SetNonblock(p[0], true); err != nil {
		_ = unix.Close(p[0]) // the first error counts
		_ = unix.Close(p[1])
		return nil, nil, fmt.Errorf("cannot set a descriptor's mode: %w", err)
	}
	return os.NewFile(uintptr(p[0]), "ours"), os.NewFile(uintptr(p[1]), "theirs"), nil
}

// Terminal returns a pseudo-terminal (pty(7)) in raw mode: what is written to
// one end is read from the other as it is. theirs is the master.
func Terminal() (ours, theirs *os.File, err error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a terminal: %w", err)
	}
	slave, err := slaveOf(master)
	if err != nil {
		_ = unix.Close(master) // the first error counts
		return nil, nil, fmt.Errorf("cannot make a terminal: %w", err)
	}
	return pair([2]int{slave, master})
}

// slaveOf opens the other end by ioctl_tty(2), which needs no /dev/pts of our
// own mount namespace (TIOCGPTPEER, Linux 4.13).
func slaveOf(master int) (int, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	slave := int(fd)
	t, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err == nil {
		// cfmakeraw(3)
		t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		err = unix.IoctlSetTermios(slave, unix.TCSETS, t)
	}
	if err != nil {
		_ = unix.Close(slave) // the first error counts
		return -1, err
	}
	return slave, nil
}

// WindowSize returns the size of a terminal of [Terminal], 0 when nobody set
// one.
func WindowSize(ours *os.File) (rows, columns uint, err error) {
	err = control(ours, func(fd int) error {
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			rows, columns = uint(size.Row), uint(size.Col)
		}
		return err
	})
	return rows, columns, err
}

func control(f *os.File, do func(fd int) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = rc.Control(func(fd uintptr) { inner = do(int(fd)) })
	return errors.Join(err, inner)
}

// OnHangup calls gone once nobody has the other end of ours any longer. stop
// ends the watch, and waits for a call that has begun.
func OnHangup(ours *os.File, gone func()) (stop func(), err error) {
	var watched *os.File // a duplicate: whoever reads from ours is not in the way
	err = control(ours, func(fd int) error {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			watched = os.NewFile(uintptr(dup), "watched")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot watch a descriptor: %w", err)
	}
	rc, err := watched.SyscallConn()
	if err != nil {
		_ = watched.Close() // the first error counts
		return nil, fmt.Errorf("cannot watch a descriptor: %w", err)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		if rc.Read(hungUp) == nil { // else it was closed
			gone()
		}
	})
	return func() {
		_ = watched.Close() // it was never read from
		watching.Wait()
	}, nil
}

// hungUp is asked when the kernel has something to tell of the descriptor;
// poll(2) reports POLLERR and POLLHUP unasked.
func hungUp(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}
