// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper waits for all children: those that were started here and those that
// a monitor left behind. It alone waits, so a pid that it has not reaped is
// not reused, and may be signalled.
type reaper struct {
	mu      sync.Mutex
	watched map[int]chan syscall.WaitStatus
	early   map[int]syscall.WaitStatus // ended before anybody asked
	pending int                        // monitors that may still name a child
}

func newReaper() *reaper {
	return &reaper{watched: map[int]chan syscall.WaitStatus{}, early: map[int]syscall.WaitStatus{}}
}

// reap collects what has ended; it is called at each SIGCHLD.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ch, ok := r.watched[pid]; ok {
			delete(r.watched, pid)
			ch <- status // has room
		} else if r.pending > 0 {
			r.early[pid] = status
		}
	}
}

// begin is called before a child is started that may leave others to us; end
// after they have been watched. In between, the status of an unknown child is
// kept: it may end before its pid is told.
func (r *reaper) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending++
}

func (r *reaper) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending--; r.pending == 0 {
		clear(r.early)
	}
}

// watch returns a channel that receives the status of pid, once.
func (r *reaper) watch(pid int) <-chan syscall.WaitStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := make(chan syscall.WaitStatus, 1)
	if status, ok := r.early[pid]; ok {
		delete(r.early, pid)
		ch <- status
	} else {
		r.watched[pid] = ch
	}
	return ch
}

// kill signals a watched child; [os.ErrProcessDone] when it has been reaped.
func (r *reaper) kill(pid int, sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.watched[pid]; !ok {
		return os.ErrProcessDone
	}
	return syscall.Kill(pid, sig)
}

// pidfd opens a watched child (pidfd_open(2)); [os.ErrProcessDone] when it has been
// reaped. The caller closes it.
func (r *reaper) pidfd(pid int) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.watched[pid]; !ok {
		return -1, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	return fd, os.NewSyscallError("pidfd_open", err)
}

// killGroup kills a watched child together with its process group, which a
// process that davit-enter starts leads: it calls setsid(2).
func (r *reaper) killGroup(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.watched[pid]; ok && syscall.Kill(-pid, syscall.SIGKILL) != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it cannot fail: we are its parent
	}
}

// exitCode is Docker's: 128+n after signal n.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
