// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"golang.org/x/sys/unix"
)

// Names of the two cgroups below a delegated unit's own, which on cgroup v2
// holds no process itself (systemd's CGROUP_DELEGATION.md).
const (
	supervisor = "supervisor"
	payload    = "payload"
)

// enterCgroup says where the container's cgroup is to be. Below a delegated
// unit the holder makes room first.
func (h *holder) enterCgroup() error {
	if h.spec.Cgroup != "" {
		h.cgroup = h.spec.Cgroup
		return nil
	}
	own, unified, err := ownCgroup()
	if err != nil {
		return err
	}
	h.cgroup = filepath.Join(own, payload)
	if !unified {
		return nil // v1 has processes in inner cgroups
	}
	dir := filepath.Join(cgroup.Root, own, supervisor)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot divide the unit's cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("cannot enter %s: %w", dir, err)
	}
	return nil
}

// ownCgroup returns the path of the own cgroup in the unified hierarchy or, on
// v1, in systemd's, and whether the first is the only one.
func ownCgroup() (path string, unified bool, err error) {
	p, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false, fmt.Errorf("cannot tell the own cgroup: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(cgroup.Root, &st); err != nil {
		return "", false, fmt.Errorf("cannot tell the kind of %s: %w", cgroup.Root, err)
	}
	unified = st.Type == unix.CGROUP2_SUPER_MAGIC
	controllers := "name=systemd"
	if unified {
		controllers = ""
	}
	for line := range strings.Lines(string(p)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // hierarchy:controllers:path
		if len(fields) == 3 && fields[1] == controllers {
			return fields[2], unified, nil
		}
	}
	return "", false, errors.New("cannot tell the own cgroup: systemd's hierarchy is not mounted")
}

// removeCgroups removes the container's cgroups in all hierarchies, and kills
// what may still be in them: only a process that a died monitor left.
func (h *holder) removeCgroups(cgroups map[string]string) {
	dirs := map[string]bool{}
	for _, dir := range cgroups {
		dirs[dir] = true
	}
	if h.cgroup != "" {
		for _, dir := range cgroup.Dirs(h.cgroup) {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		if err := cgroup.Remove(dir); err != nil {
			h.complain("cannot remove cgroup", err)
		}
	}
}

// killAll kills what is left in the container's cgroups, when its first process
// was not that of a pid namespace and has taken nothing along. Any one hierarchy
// holds them all.
func killAll(cgroups map[string]string) {
	for _, dir := range cgroups {
		for pids := cgroup.Procs(dir); len(pids) > 0; pids = left(dir, pids) {
			for _, pid := range pids {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		return
	}
}

// left returns what is in the cgroup beside those that have been killed: what
// they forked meanwhile.
func left(dir string, killed []int) []int {
	return slices.DeleteFunc(cgroup.Procs(dir), func(pid int) bool { return slices.Contains(killed, pid) })
}
