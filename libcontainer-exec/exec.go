// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// unreadTimeout is how long the output of an exec session waits for somebody
// to attach before it is discarded. Until then the pipe keeps it.
const unreadTimeout = 10 * time.Second

// ExecProcess is the process of an exec session. Its stdio are the daemon's
// own pipes, or terminal: the holder is not in between.
type ExecProcess struct {
	p    *Process
	id   string
	pid  int
	tty  bool
	ends ends

	done    chan struct{} // closed when exit and waitErr are set
	exit    davit.Exit
	waitErr error

	mu       sync.Mutex
	attached bool
	unread   *time.Timer
}

// Exec runs a further process in the container.
func (p *Process) Exec(ctx context.Context, x davit.Exec) (davit.ExecProcess, error) {
	e, err := p.exec(ctx, x)
	if err != nil {
		return nil, fmt.Errorf("cannot exec in container %s: %w", p.name, err)
	}
	return e, nil
}

func (p *Process) exec(ctx context.Context, x davit.Exec) (*ExecProcess, error) {
	e := &ExecProcess{p: p, id: newID(), tty: x.Tty, done: make(chan struct{})}
	spec := &protocol.ExecSpec{
		Args: x.Cmd, Env: x.Env, User: x.User, Cwd: x.WorkingDir, Tty: x.Tty, Privileged: x.Privileged,
		Rows: clamp16(x.ConsoleSize[0]), Cols: clamp16(x.ConsoleSize[1]),
	}
	encoded, err := spec.Encode()
	if err != nil {
		if own, ok := errors.AsType[*protocol.Error](err); ok {
			err = toError(own)
		}
		return nil, err
	}
	session, err := linux.Memfile("davit-exec", encoded)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	theirs, console, err := e.openStdio(&x)
	if err != nil {
		return nil, err
	}
	a, err := p.call(ctx, &protocol.Request{Op: protocol.OpExec, ID: e.id}, append(theirs, int(session.Fd()))...)
	protocol.CloseFDs(theirs)
	if err == nil && e.tty {
		err = e.receiveTerminal(console)
	}
	if console >= 0 {
		_ = unix.Close(console)
	}
	if err != nil {
		e.ends.close()
		return nil, err
	}
	e.pid = a.packet.Pid
	e.unread = time.AfterFunc(unreadTimeout, e.discard)
	go e.await(context.WithoutCancel(ctx))
	return e, nil
}

// openStdio makes the process's stdio and keeps the other ends. With a
// terminal it is a socket, whose other end console will bring the master.
func (e *ExecProcess) openStdio(x *davit.Exec) (theirs []int, console int, err error) {
	if e.tty {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, -1, os.NewSyscallError("socketpair", err)
		}
		return []int{pair[1]}, pair[0], nil
	}
	for _, end := range []struct {
		wanted, write bool
		ours          **os.File
	}{{x.AttachStdin, true, &e.ends.in}, {x.AttachStdout, false, &e.ends.out}, {x.AttachStderr, false, &e.ends.err}} {
		var fd int
		if end.wanted {
			fd, *end.ours, err = protocol.Pipe(end.write)
		} else {
			fd, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		}
		if err != nil {
			protocol.CloseFDs(theirs)
			e.ends.close()
			return nil, -1, err
		}
		theirs = append(theirs, fd)
	}
	return theirs, -1, nil
}

func (e *ExecProcess) receiveTerminal(console int) error {
	fd, err := protocol.ReceiveFD(console)
	if err != nil {
		return fmt.Errorf("cannot receive the terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	master := os.NewFile(uintptr(fd), "pty")
	e.ends.in, e.ends.out = master, master
	return nil
}

// await records how the process ended. It ends with the connection at last.
func (e *ExecProcess) await(ctx context.Context) {
	defer close(e.done)
	a, err := e.p.call(ctx, &protocol.Request{Op: protocol.OpExecWait, ID: e.id})
	if err != nil {
		e.waitErr = fmt.Errorf("cannot wait for exec session: %w", err)
		return
	}
	if x := a.packet.Exit; x != nil {
		e.exit = davit.Exit{Code: x.Code, At: x.At}
	}
}

// Pid returns the process's pid in the host's namespace.
func (e *ExecProcess) Pid() int { return e.pid }

// Wait returns when the process has ended.
func (e *ExecProcess) Wait(ctx context.Context) (davit.Exit, error) {
	select {
	case <-e.done:
		return e.exit, e.waitErr
	case <-ctx.Done():
		return davit.Exit{}, context.Cause(ctx)
	}
}

// Signal sends a signal to the process.
func (e *ExecProcess) Signal(ctx context.Context, signal int) error {
	if _, err := e.p.call(ctx, &protocol.Request{Op: protocol.OpExecSignal, ID: e.id, Signal: signal}); err != nil {
		return fmt.Errorf("cannot send signal %d to exec session: %w", signal, err)
	}
	return nil
}

// Resize sets the size of the terminal, if there is one.
func (e *ExecProcess) Resize(_ context.Context, rows, columns uint) error {
	if !e.tty {
		return nil
	}
	raw, err := e.ends.in.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot resize exec session: %w", err)
	}
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: clamp16(rows), Col: clamp16(columns)})
	})
	if err := errors.Join(err, ioctlErr); err != nil {
		return fmt.Errorf("cannot resize exec session: %w", err)
	}
	return nil
}

// claim makes the caller the one reader of the output.
func (e *ExecProcess) claim() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.attached {
		return false
	}
	e.attached = true
	e.unread.Stop()
	return true
}

// discard reads the output that nobody wants, so that the process does not
// wait for a reader.
func (e *ExecProcess) discard() {
	if !e.claim() {
		return
	}
	e.closeLater(startCopies(&e.ends, davit.Streams{Stdout: io.Discard, Stderr: io.Discard}, nil))
}

func (e *ExecProcess) closeLater(c *copies) {
	go func() {
		<-c.done
		<-e.done
		e.ends.close()
	}()
}

// sink is a writer whose reader may go while the process stays: it then
// discards.
type sink struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	w := s.w
	s.mu.Unlock()
	if w != nil {
		if _, err := w.Write(p); err != nil {
			s.drop()
		}
	}
	return len(p), nil
}

func (s *sink) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
}

// Attach copies between the process's streams and s. When the caller goes
// before the process does, the rest of the output is discarded: the process
// is not to be killed by a broken pipe.
func (e *ExecProcess) Attach(ctx context.Context, s davit.Streams, detach []byte) error {
	if !e.claim() {
		return davit.Errorf(davit.AlreadySo, "exec session is attached already")
	}
	out, errs := &sink{w: s.Stdout}, &sink{w: s.Stderr}
	c := startCopies(&e.ends, davit.Streams{Stdin: s.Stdin, Stdout: out, Stderr: errs}, detach)
	e.closeLater(c)
	if s.Attached != nil {
		s.Attached()
	}
	ended := c.done
	if e.ends.out == nil && e.ends.err == nil {
		ended = e.done
	}
	select {
	case <-ended:
		return nil
	case <-c.detached:
		s.TellDetached()
		out.drop()
		errs.drop()
		return nil
	case <-ctx.Done():
		out.drop()
		errs.drop()
		if e.ends.in != nil && !e.tty {
			_ = e.ends.in.Close()
		}
		return context.Cause(ctx)
	}
}
