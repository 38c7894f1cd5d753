// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/davit-engine/davit/internal/containerlog"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// drainTimeout is how long the output of an ended container may still come: a
// process outside of it may hold the other end of a pipe. What is in the pipes
// then is taken all the same, however long the log takes for it; an attached
// client that reads nothing for that long loses the rest.
const drainTimeout = 5 * time.Second

// run is one life of the container's first process.
type run struct {
	h         *holder
	pid       int
	pidStart  uint64
	cgroups   map[string]string
	startedAt time.Time
	endedAt   time.Time
	status    syscall.WaitStatus
	oomKilled bool
	oom       *os.File      // as openOOM has it
	begun     chan struct{} // closed when start is done: the program is executed, or will not be
	ended     chan struct{} // closed when status is known

	checked     chan struct{} // closed when no healthcheck runs any more; nil without one
	probeOutput []byte        // the running probe's

	freezing sync.Mutex // held while its processes are stopped or let go
	frozen   bool       // guarded by freezing
	freezes  int        // guarded by freezing: how often it was paused
	killed   bool       // guarded by freezing: SIGKILL is on its way
	appArmor string     // the monitor's report of it

	stdinMu sync.Mutex
	stdin   *os.File    // the writing end, or the terminal; nil when closed
	outputs [3]*os.File // by stream: the reading ends; a terminal is Stdout
	pumps   chan struct{}
	ending  atomic.Bool // the pumps are to take what there is, and no more
}

// newRun has the monitor make the container. Its first process waits.
func (h *holder) newRun() (*run, error) {
	r := &run{h: h, begun: make(chan struct{}), ended: make(chan struct{}), pumps: make(chan struct{})}
	args := []string{"create", h.dir, h.cgroup}
	if h.netns != nil {
		args = append(args, "/proc/"+itoa(os.Getpid())+"/fd/"+itoa(int(h.netns.Fd())))
	}
	console, theirs, err := r.makeStdio()
	if err != nil {
		return nil, err
	}
	h.limiting.Lock()
	defer h.limiting.Unlock()
	h.reaper.begin()
	report, err := h.runMonitor(args, theirs, h.stopped)
	if err != nil {
		h.reaper.end()
		r.closeStdio()
		closeFD(console)
		h.removeState(nil)
		return nil, err
	}
	r.pid, r.cgroups, r.appArmor = report.Pid, report.Cgroups, report.AppArmor
	exited := h.reaper.watch(r.pid)
	h.reaper.end()
	r.pidStart, _ = linux.ProcessStart(r.pid) // 0 if it has ended already
	if r.oom = openOOM(r.cgroups); r.oom != nil {
		h.background.Go(func() { r.watchOOM(r.oom) })
	}
	h.background.Go(func() { r.await(exited) })
	if err := r.adopt(console); err != nil {
		_ = r.signal(unix.SIGKILL)
		<-r.ended
		r.closeStdio()
		h.removeState(r.cgroups)
		return nil, err
	}
	h.mu.Lock()
	h.run = r
	h.mu.Unlock()
	return r, nil
}

// await records how the process ended.
func (r *run) await(exited <-chan syscall.WaitStatus) {
	r.status = <-exited
	r.endedAt = time.Now()
	r.oomKilled = oomKills(r.cgroups) > 0
	if r.oom != nil {
		_ = r.oom.Close() // nothing was written
	}
	if r.h.spec.SharedPids {
		killAll(r.cgroups)
	}
	close(r.ended)
}

// adopt takes the terminal and the namespace that came with the new process,
// and begins to copy its output.
func (r *run) adopt(console int) error {
	h := r.h
	if console >= 0 {
		master, err := receiveMaster(console)
		if err != nil {
			return err
		}
		r.stdin, r.outputs[containerlog.Stdout] = master, master
	}
	if h.spec.OwnNetns && h.netns == nil {
		f, err := os.Open("/proc/" + itoa(r.pid) + "/ns/net")
		if err != nil {
			return fmt.Errorf("cannot keep the network namespace: %w", err)
		}
		h.mu.Lock()
		h.netns = f
		h.mu.Unlock()
	}
	var pumps sync.WaitGroup
	for stream, f := range r.outputs {
		if f != nil {
			pumps.Go(func() { r.pump(containerlog.Stream(stream), f) })
		}
	}
	h.background.Go(func() {
		pumps.Wait()
		close(r.pumps)
	})
	return nil
}

// makeStdio makes what the process is to have as stdio, and keeps the other
// ends. With a terminal console is the socket on which its master will come,
// else -1.
func (r *run) makeStdio() (console int, theirs []int, err error) {
	if r.h.spec.Tty {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return -1, nil, os.NewSyscallError("socketpair", err)
		}
		return pair[0], []int{pair[1]}, nil
	}
	fail := func(err error) (int, []int, error) {
		protocol.CloseFDs(theirs)
		r.closeStdio()
		return -1, nil, fmt.Errorf("cannot make the container's stdio: %w", err)
	}
	var in int
	if r.h.spec.OpenStdin {
		in, r.stdin, err = protocol.Pipe(true)
	} else {
		in, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return fail(err)
	}
	theirs = append(theirs, in)
	for _, stream := range []containerlog.Stream{containerlog.Stdout, containerlog.Stderr} {
		out, f, err := protocol.Pipe(false)
		if err != nil {
			return fail(err)
		}
		widen(f, outputPipe)
		theirs = append(theirs, out)
		r.outputs[stream] = f
	}
	return -1, theirs, nil
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// receiveMaster takes a pty's master from the socket that libcontainer sent it
// to, and closes the socket.
func receiveMaster(console int) (*os.File, error) {
	defer unix.Close(console)
	fd, err := protocol.ReceiveFD(console)
	if err != nil {
		return nil, fmt.Errorf("cannot receive the terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "pty"), nil
}

// start opens exec.fifo: the first process waits for that, and executes its
// program next (libcontainer's Container.Exec does the same).
func (r *run) start() error {
	defer close(r.begun)
	path := filepath.Join(r.h.dir, protocol.RuncRoot, r.h.id, "exec.fifo")
	// For writing too, so that reading waits instead of seeing the end.
	fifo, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	before := executable(r.pid)
	begun := make(chan error, 1)
	r.startedAt = time.Now()
	r.h.background.Go(func() {
		_, err := fifo.Read(make([]byte, 1))
		begun <- err
	})
	select {
	case err = <-begun:
	case <-r.ended:
		// A short program may have run to its end already: the byte tells.
		_ = fifo.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if err = <-begun; err != nil {
			err = errors.New("the container was killed before it began")
		}
	}
	if err == nil {
		r.awaitProgram(before)
	}
	return errors.Join(err, fifo.Close(), os.Remove(path))
}

// programTimeout bounds the wait for execve(2), which has nothing left to wait
// for but the processor and the disk.
const programTimeout = time.Second

// awaitProgram returns when the first process has executed its program, or has
// ended. Until then a signal would meet libcontainer's handlers.
func (r *run) awaitProgram(before [2]uint64) {
	deadline := time.Now().Add(programTimeout)
	for wait := 50 * time.Microsecond; time.Now().Before(deadline); wait = min(2*wait, 400*time.Microsecond) {
		if executable(r.pid) != before {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-r.ended:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// executable identifies the file that a process executes: device and inode.
func executable(pid int) [2]uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/"+itoa(pid)+"/exe", &st) != nil {
		return [2]uint64{} // it has ended
	}
	return [2]uint64{st.Dev, st.Ino}
}

// signal sends a signal to the first process; [os.ErrProcessDone] when it has
// ended.
func (r *run) signal(sig syscall.Signal) error { return r.h.reaper.kill(r.pid, sig) }

func (r *run) lasted() time.Duration { return r.endedAt.Sub(r.startedAt) }

func (r *run) exit() *protocol.Exit {
	return &protocol.Exit{Code: exitCode(r.status), OOMKilled: r.oomKilled, At: r.endedAt, StartedAt: r.startedAt}
}

// drain waits for the rest of the output of an ended run and closes its stdio.
func (r *run) drain(timeout time.Duration) {
	defer r.closeStdio()
	r.h.widenClients()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-r.pumps:
		return
	case <-timer.C:
	}
	r.ending.Store(true)
	for _, f := range r.outputs {
		if f != nil {
			_ = f.SetReadDeadline(time.Now()) // wakes its pump
		}
	}
	r.h.hurryClients() // a pump may wait for one of them
	<-r.pumps
}

// closeStdin ends the container's input, where that is not a terminal.
func (r *run) closeStdin() {
	if r.h.spec.Tty {
		return
	}
	r.stdinMu.Lock()
	defer r.stdinMu.Unlock()
	if r.stdin != nil {
		_ = r.stdin.Close()
		r.stdin = nil
	}
}

func (r *run) closeStdio() {
	r.stdinMu.Lock()
	defer r.stdinMu.Unlock()
	if r.stdin != nil {
		_ = r.stdin.Close()
		r.stdin = nil
	}
	for _, f := range r.outputs {
		if f != nil {
			_ = f.Close() // of a terminal: closed already
		}
	}
}

// resize sets the terminal's size.
func (r *run) resize(rows, cols uint16) error {
	r.stdinMu.Lock()
	defer r.stdinMu.Unlock()
	if !r.h.spec.Tty {
		return nil // as Docker's: a client need not know
	}
	if r.stdin == nil {
		return errors.New("the container has no terminal")
	}
	raw, err := r.stdin.SyscallConn()
	if err != nil {
		return err
	}
	var ioctlErr error
	if err := raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	}); err != nil {
		return err
	}
	return os.NewSyscallError("ioctl TIOCSWINSZ", ioctlErr)
}

// runMonitor runs the monitor with the given stdio for the new process, which
// is closed here, and returns its report. It is killed when cancel is closed:
// nobody wants the result any more.
func (h *holder) runMonitor(args []string, stdio []int, cancel <-chan struct{}) (*protocol.Report, error) {
	defer protocol.CloseFDs(stdio)
	conn, theirs, err := protocol.Pair()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	files := []uintptr{h.stderr.Fd(), h.stderr.Fd(), h.stderr.Fd(), uintptr(theirs)}
	for _, fd := range stdio {
		files = append(files, uintptr(fd))
	}
	// It lives for some milliseconds: collecting garbage would not pay.
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GOGC=off", "GOMAXPROCS=1", protocol.EnvSeccomp + "=" + h.spec.Seccomp}
	pid, err := syscall.ForkExec(h.spec.Monitor, append([]string{"davit-monitor"}, args...),
		&syscall.ProcAttr{Dir: "/", Env: env, Files: files})
	closeFD(theirs)
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", h.spec.Monitor, err)
	}
	exited := h.reaper.watch(pid)
	gone := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-cancel:
			_ = h.reaper.kill(pid, unix.SIGKILL)
		case <-gone:
		}
	})
	var report protocol.Report
	fds, recvErr := conn.Receive(&report)
	protocol.CloseFDs(fds)
	close(gone)
	watcher.Wait()
	if recvErr == nil && report.Error == nil {
		// It leaves now. What it made becomes ours when it has, alive or ended: the
		// monitor waits for nobody, so the pid stays what it is until we do.
		return &report, nil
	}
	status := <-exited // it still cleans up
	if recvErr != nil {
		return nil, fmt.Errorf("the monitor ended without a report (exit status %d, see %s)", exitCode(status), protocol.LogFile)
	}
	return nil, report.Error
}
