// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// directCgroup holds the containers' cgroups when there is no systemd.
const directCgroup = "/davit"

// holdersName is the cgroup of the holders in it, on cgroup v2.
const holdersName = "monitors"

// directLauncher starts holders as children, each in a session and a mount
// namespace of its own. They outlive the daemon.
type directLauncher struct {
	opts *Options

	mu       sync.Mutex
	children map[*os.File]struct{} // pidfds of holders that have not been reaped
	closed   bool
	reapers  sync.WaitGroup
}

func (d *directLauncher) limit(context.Context, string, *protocol.Resources, *protocol.Resources) error {
	return nil
}

func (d *directLauncher) name() string { return LauncherDirect }

// launch makes the holder's socket before the holder, so that it can be
// connected to at once.
func (d *directLauncher) launch(_ context.Context, l *launch) (*protocol.Conn, error) {
	path := filepath.Join(l.dir, protocol.SocketFile)
	listener, err := protocol.Listen(path)
	if err != nil {
		return nil, err
	}
	conn, err := protocol.Dial(path)
	if err == nil {
		err = d.spawn(l, listener)
	}
	err = errors.Join(err, unix.Close(listener)) // a dead holder is to be seen on the connection
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return nil, err
	}
	return conn, nil
}

func (d *directLauncher) spawn(l *launch, listener int) error {
	log, err := os.OpenFile(filepath.Join(l.dir, protocol.LogFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(holderEnv(d.opts), protocol.EnvSocketFD+"=3"),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd(), uintptr(listener)},
		Sys:   &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS, PidFD: &pidfd},
	}
	if dir, err := holdersCgroup(); err != nil {
		return err
	} else if dir != nil {
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	pid, err := syscall.ForkExec(d.opts.HolderPath, []string{"davit-holder", l.spec.ID}, attr)
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", d.opts.HolderPath, err)
	}
	d.reapLater(pid, pidfd)
	return nil
}

// holdersCgroup returns the cgroup for all holders on cgroup v2, where they
// are not to share the daemon's fate; nil on v1, where entering eight
// hierarchies would cost more than the whole launch.
func holdersCgroup() (*os.File, error) {
	if !cgroup.Unified() {
		return nil, nil
	}
	dir := filepath.Join(cgroup.Root, directCgroup, holdersName)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the monitors' cgroup: %w", err)
	}
	return os.Open(dir)
}

// reapLater waits for the child without occupying a thread, where the kernel
// has pidfds (Linux 5.10 for PIDFD_NONBLOCK).
func (d *directLauncher) reapLater(pid, pidfd int) {
	if pidfd < 0 || unix.SetNonblock(pidfd, true) != nil {
		go func() { _, _ = syscall.Wait4(pid, nil, 0, nil) }()
		return
	}
	f := os.NewFile(uintptr(pidfd), "pidfd")
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = f.Close()
		return
	}
	if d.children == nil {
		d.children = map[*os.File]struct{}{}
	}
	d.children[f] = struct{}{}
	d.reapers.Go(func() { d.reap(f) })
}

func (d *directLauncher) reap(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Read(func(fd uintptr) bool {
			err := unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED, nil)
			return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		})
	}
	d.mu.Lock()
	delete(d.children, f)
	d.mu.Unlock()
	_ = f.Close()
}

// close stops waiting for the holders; they are inherited by PID 1 when this
// process ends.
func (d *directLauncher) close() {
	d.mu.Lock()
	d.closed = true
	for f := range d.children {
		_ = f.Close()
	}
	d.mu.Unlock()
	d.reapers.Wait()
}
