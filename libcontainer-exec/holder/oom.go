// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// memoryFile returns the file of a container's cgroup in which the kernel counts
// the processes that it killed for want of memory, and whether it is cgroup v1's;
// "" when there is none.
func memoryFile(cgroups map[string]string) (path string, v1 bool) {
	if dir := cgroups["memory"]; dir != "" {
		return filepath.Join(dir, "memory.oom_control"), true
	}
	if dir := cgroups[""]; dir != "" {
		return filepath.Join(dir, "memory.events"), false
	}
	return "", false
}

// oomKills returns how many processes of the container the kernel has killed for
// want of memory; 0 when that cannot be told.
func oomKills(cgroups map[string]string) int {
	path, _ := memoryFile(cgroups)
	if path == "" {
		return 0
	}
	p, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(p)) {
		if text, found := strings.CutPrefix(line, "oom_kill "); found {
			n, _ := strconv.Atoi(strings.TrimSpace(text)) // the kernel writes numbers
			return n
		}
	}
	return 0
}

// openOOM returns a file that can be read each time that the container has no
// memory left: on cgroup v1 an eventfd(2), when a process is about to be killed; on v2
// an inotify(7), when the kernel has counted something. It is nil when there is no
// such thing: then the end of the run tells.
func openOOM(cgroups map[string]string) *os.File {
	path, v1 := memoryFile(cgroups)
	switch {
	case path == "":
		return nil
	case !v1:
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return nil
		}
		if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
			closeFD(fd)
			return nil
		}
		return os.NewFile(uintptr(fd), "inotify")
	}
	control, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(control)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil
	}
	// The kernel keeps the association when the second descriptor is closed.
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "cgroup.event_control"), []byte(itoa(fd)+" "+itoa(control)), 0); err != nil {
		closeFD(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), "eventfd")
}

// watchOOM tells the subscribers when the kernel kills processes of the container
// for want of memory, until f is closed, which is at the end of the run.
func (r *run) watchOOM(f *os.File) {
	_, v1 := memoryFile(r.cgroups)
	var buf [256]byte
	for told := 0; ; {
		if _, err := f.Read(buf[:]); err != nil {
			return
		}
		// Version 1 tells before the kernel counts, or where it is not to kill.
		if kills := oomKills(r.cgroups); v1 || kills > told {
			told = kills
			r.h.announceOOM(r)
		}
	}
}

// announceOOM tells the subscribers of a run that has no memory left. When it has
// ended, that tells.
func (h *holder) announceOOM(r *run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.run != r || (h.state.Status != protocol.Running && h.state.Status != protocol.Paused) {
		return
	}
	state := h.state
	state.OOM = true
	for c := range h.conns {
		c.publish(&state)
	}
}
