// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// freeze stops the container's processes, or lets them go on. It is
// idempotent.
func (h *holder) freeze(frozen bool) error {
	h.mu.Lock()
	r, status := h.run, h.state.Status
	h.mu.Unlock()
	if r == nil || (status != protocol.Running && status != protocol.Paused) {
		return notRunning()
	}
	r.freezing.Lock()
	defer r.freezing.Unlock()
	if frozen && r.killed {
		return notRunning() // it is about to: frozen, version 1 would keep it from that
	}
	return r.freezeLocked(frozen)
}

func (r *run) freezeLocked(frozen bool) error {
	if r.frozen == frozen {
		return nil
	}
	err := cgroup.Freeze(r.cgroups, frozen)
	if !frozen && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)) {
		err = nil // the container has ended, and its cgroup with it
	}
	if err != nil {
		return err
	}
	r.frozen = frozen
	if frozen {
		r.freezes++
	}
	from, to, text := protocol.Paused, protocol.Running, "Running"
	if frozen {
		from, to, text = to, from, "Paused"
	}
	r.h.setState(func(s *protocol.State) {
		if s.Status == from { // not when it has ended meanwhile
			s.Status = to
		}
	})
	r.h.notify.send("STATUS=" + text)
	return nil
}

// end sends a signal, and thaws a process that is meant to end by it: frozen,
// it would not even see it. Another signal than KILL is for the program, which may be
// about to begin: what is there before would take it for its own.
func (r *run) end(sig syscall.Signal, stop bool) error {
	if sig == unix.SIGKILL {
		r.freezing.Lock()
		r.killed = true
		r.freezing.Unlock()
	} else {
		r.awaitBegin()
	}
	err := r.signal(sig)
	if stop || sig == unix.SIGKILL {
		r.freezing.Lock()
		defer r.freezing.Unlock()
		if terr := r.freezeLocked(false); terr != nil && err == nil {
			err = terr
		}
	}
	return err
}

// awaitBegin waits until the program is executed, or the run has ended, but no longer
// than an execution takes: nobody may have asked for it.
func (r *run) awaitBegin() {
	timer := time.NewTimer(programTimeout)
	defer timer.Stop()
	select {
	case <-r.begun:
	case <-r.ended:
	case <-timer.C:
	}
}

// rootFD opens the container's root in this process's mount namespace, where
// nothing is mounted in it.
func (h *holder) rootFD() ([]int, *protocol.Error) {
	fd, err := unix.Open(h.spec.Rootfs.Target, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wireError(&os.PathError{Op: "open", Path: h.spec.Rootfs.Target, Err: err})
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.OVERLAYFS_SUPER_MAGIC {
		_ = unix.Close(fd)
		if err != nil {
			return nil, wireError(fmt.Errorf("cannot tell what is mounted on %s: %w", h.spec.Rootfs.Target, err))
		}
		return nil, notRunning() // unmounted already
	}
	return []int{fd}, nil
}
