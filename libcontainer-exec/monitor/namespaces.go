// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// joining has the namespaces of other containers open while a container is made
// that joins them.
type joining struct {
	dir   string // the container's runtime directory: the others are beside it
	files []*os.File
	shm   string // where the other's /dev/shm is mounted; "" without
}

// namespaces returns the namespaces of the container, those of other containers
// by paths that are good until close.
func (j *joining) namespaces(c *protocol.Container, netns string) ([]specs.LinuxNamespace, error) {
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for _, n := range []struct {
		kind specs.LinuxNamespaceType
		mode string
		own  string // path of the one to use where it is not shared
	}{
		{specs.UTSNamespace, c.Namespaces.UTS, ""},
		{specs.PIDNamespace, c.Namespaces.Pid, ""},
		{specs.IPCNamespace, c.Namespaces.Ipc, ""},
		{specs.NetworkNamespace, c.Namespaces.Network, netns},
	} {
		switch n.mode {
		case protocol.Host:
			continue
		case "", "none":
			if n.kind != specs.NetworkNamespace || c.OwnNetns {
				ns = append(ns, specs.LinuxNamespace{Type: n.kind, Path: n.own})
			}
		default:
			path, err := j.open(n.mode, n.kind)
			if err != nil {
				return nil, err
			}
			ns = append(ns, specs.LinuxNamespace{Type: n.kind, Path: path})
		}
	}
	// Docker's default, which the engine decides: one of its own on cgroup v2, the
	// host's on v1. Records of earlier engines say nothing.
	if mode := c.Namespaces.Cgroup; mode == "private" || mode == "" && unifiedCgroups() && !c.Security.Privileged {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return ns, nil
}

// open opens a namespace of a container that runs.
func (j *joining) open(id string, kind specs.LinuxNamespaceType) (string, error) {
	name := string(kind)
	if kind == specs.NetworkNamespace {
		name = "net"
	}
	f, err := j.openOf(id, "ns/"+name, os.O_RDONLY)
	if err != nil {
		return "", fail(protocol.KindNotRunning, fmt.Errorf("failed to join %s namespace: %w", kind, err))
	}
	// By this process: libcontainer opens it in another one.
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(f.Fd())), nil
}

// openOf opens a file of the first process of another container, which is
// closed with j. What was opened is of that process: it still lives then.
func (j *joining) openOf(id, name string, flags int) (*os.File, error) {
	var state protocol.State
	if err := protocol.ReadFile(filepath.Join(filepath.Dir(j.dir), id, protocol.StateFile), &state); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the state of container %s: %w", id, err)
	}
	notRunning := fmt.Errorf("container %s is not running", id)
	switch state.Status {
	case protocol.Running, protocol.Paused:
	case protocol.Restarting:
		return nil, fmt.Errorf("Container %s is restarting, wait until the container is running", id) //nolint:staticcheck // Docker's words
	default:
		return nil, notRunning
	}
	f, err := os.OpenFile("/proc/"+strconv.Itoa(state.Pid)+"/"+name, flags, 0)
	if err != nil {
		return nil, errors.Join(notRunning, err)
	}
	j.files = append(j.files, f)
	if start, err := linux.ProcessStart(state.Pid); err != nil || start != state.PidStart {
		return nil, notRunning
	}
	return f, nil
}

// close lets go of the others. What stays mounted goes with the holder's mount
// namespace.
func (j *joining) close() {
	if j.shm != "" {
		err := os.NewSyscallError("umount", unix.Unmount(j.shm, unix.MNT_DETACH))
		if err == nil {
			err = os.Remove(j.shm)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "davit-monitor: cannot unmount another container's /dev/shm:", err)
		}
	}
	for _, f := range j.files {
		_ = f.Close()
	}
}

// ipcMounts puts another /dev/shm in the place of the container's own, or none.
func (j *joining) ipcMounts(mounts []specs.Mount, mode string) ([]specs.Mount, error) {
	own := slices.IndexFunc(mounts, func(m specs.Mount) bool { return m.Destination == "/dev/shm" && m.Source == "shm" })
	if mode == "" || own == -1 {
		return mounts, nil // a user's mount replaces it
	}
	bind := specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "rprivate", "nosuid", "noexec", "nodev"}}
	switch mode {
	case "none":
		return slices.Delete(mounts, own, own+1), nil
	case protocol.Host:
	default:
		if err := j.mountShm(mode); err != nil {
			return nil, fail(protocol.KindNotRunning, fmt.Errorf("failed to join IPC namespace: %w", err))
		}
		bind.Source = j.shm
	}
	mounts[own] = bind
	return mounts, nil
}

// mountShm mounts the /dev/shm of another container in the runtime directory,
// where libcontainer can find it.
func (j *joining) mountShm(id string) error {
	ns, err := j.openOf(id, "ns/mnt", os.O_RDONLY)
	if err != nil {
		return err
	}
	tree, err := treeOf(ns, "/dev/shm")
	if err != nil {
		return fmt.Errorf("cannot find /dev/shm of container %s: %w", id, err)
	}
	defer unix.Close(tree)
	target := filepath.Join(j.dir, protocol.ShmDir)
	if err := os.Mkdir(target, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return errors.Join(os.NewSyscallError("move_mount", err), os.Remove(target))
	}
	j.shm = target
	return nil
}

// treeOf returns a detached copy of what is mounted at path in another mount
// namespace: only who is in that may copy it (open_tree(2), Linux 5.2).
func treeOf(ns *os.File, path string) (tree int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread is in the other's namespace, and ends with this
		if err = os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS)); err != nil {
			return
		}
		if err = os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS)); err != nil {
			return
		}
		tree, err = unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
		err = os.NewSyscallError("open_tree", err)
	}()
	<-done
	return tree, err
}
