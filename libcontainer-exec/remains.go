// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// gone tells whether the container has no holder any more: nobody has its
// lock, or who has it has nothing left to do. That nobody answers proves
// nothing: the holder may be frozen, or this process out of descriptors.
func (r *Runtime) gone(id string) (bool, error) {
	dir := r.dir(id)
	held, err := protocol.Held(dir)
	if err != nil {
		return false, fmt.Errorf("cannot tell whether container %s has its monitor: %w", davit.ShortID(id), err)
	}
	if !held {
		return true, nil
	}
	// The socket goes last, when all is cleaned and the exit recorded.
	_, recorded := os.Lstat(filepath.Join(dir, protocol.ExitFile))
	_, socket := os.Lstat(filepath.Join(dir, protocol.SocketFile))
	return recorded == nil && errors.Is(socket, os.ErrNotExist), nil
}

// clearRemains removes everything of a container that has no holder.
func (r *Runtime) clearRemains(id string) error {
	err := r.killRemains(id)
	if rmErr := os.RemoveAll(r.dir(id)); rmErr != nil {
		err = errors.Join(err, fmt.Errorf("cannot remove the container's runtime directory: %w", rmErr))
	}
	r.dropUnit(id)
	return err
}

// killRemains ends what a killed holder left: the container's processes and
// its cgroups. Mounts need no care, they were in the namespace of the dead;
// under systemd PID 1 does the same on its own.
func (r *Runtime) killRemains(id string) error {
	dir := r.dir(id)
	var state protocol.State
	var spec protocol.HolderSpec
	if err := protocol.ReadFile(filepath.Join(dir, protocol.StateFile), &state); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Warn("cannot read a dead monitor's state", "container_id", id, "error", err)
	}
	if err := protocol.ReadFile(filepath.Join(dir, protocol.SpecFile), &spec); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Warn("cannot read a dead monitor's spec", "container_id", id, "error", err)
	}
	// Frozen processes of cgroup v1 do not even die; nor do they leave their other
	// cgroups, whichever is removed first.
	if err := cgroup.Freeze(state.Cgroups, false); err != nil {
		r.log.Debug("cannot thaw what a dead monitor left", "container_id", id, "error", err) // it has gone
	}
	if state.Pid > 0 && state.PidStart != 0 && lives(state.Pid, state.PidStart) {
		_ = unix.Kill(state.Pid, unix.SIGKILL) // the first process takes its pid namespace along
	}
	dirs := make(map[string]bool)
	for _, d := range state.Cgroups {
		dirs[d] = true
	}
	if spec.Holder.Cgroup != "" {
		for _, d := range cgroup.Dirs(spec.Holder.Cgroup) {
			dirs[d] = true
		}
	}
	var errs error
	for d := range dirs {
		if err := cgroup.Remove(d); err != nil {
			errs = errors.Join(errs, fmt.Errorf("cannot remove a dead container's cgroup: %w", err))
		}
	}
	return errs
}

// lives tells whether the pid is still the process that started then.
func lives(pid int, start uint64) bool {
	now, err := linux.ProcessStart(pid)
	return err == nil && now == start
}
