// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// mountRootfs mounts the overlay. The new mount API takes one lower directory
// a call (lowerdir+, Linux 6.5), so that their number and their names do not
// matter; mount(2) takes at most a page of options.
func mountRootfs(r protocol.Rootfs) error {
	if len(r.Lower) == 0 {
		return errors.New("cannot mount the root file system: the image has no layers")
	}
	err := mountLayers(r)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if oldErr := mountPage(r); oldErr != nil {
			return fmt.Errorf("cannot mount the root file system at %s: %w", r.Target, errors.Join(err, oldErr))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot mount the root file system at %s: %w", r.Target, err)
	}
	return nil
}

func mountLayers(r protocol.Rootfs) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	set := func(key, value string) error {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return fmt.Errorf("overlay %s=%s: %w%s", key, value, err, kernelLog(fs))
		}
		return nil
	}
	if err := set("source", "overlay"); err != nil {
		return err
	}
	for _, dir := range r.Lower {
		if err := set("lowerdir+", dir); err != nil {
			return err
		}
	}
	if err := errors.Join(set("upperdir", r.Upper), set("workdir", r.Work)); err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("overlay: %w%s", err, kernelLog(fs))
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fsmount", err)
	}
	defer unix.Close(mnt)
	return os.NewSyscallError("move_mount", unix.MoveMount(mnt, "", unix.AT_FDCWD, r.Target, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// kernelLog returns what the kernel has to say about a failed fsconfig(2).
func kernelLog(fs int) string {
	var buf [512]byte
	n, err := unix.Read(fs, buf[:])
	if err != nil || n <= 0 {
		return ""
	}
	return " (" + strings.TrimSpace(string(buf[:n])) + ")"
}

// mountPage mounts with mount(2), by names relative to the layers' common
// directory. The working directory is the process's, and nothing else uses it
// that early.
func mountPage(r protocol.Rootfs) error {
	dir := commonDir(r.Lower)
	if err := os.Chdir(dir); err != nil {
		return err
	}
	defer func() { _ = os.Chdir("/") }()
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	lower := make([]string, len(r.Lower))
	for i, l := range r.Lower {
		lower[i] = escape.Replace(strings.TrimPrefix(l, dir))
	}
	options := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + escape.Replace(r.Upper) + ",workdir=" + escape.Replace(r.Work)
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("%d layers are too many for this kernel: Linux 6.5 lifts the limit", len(r.Lower))
	}
	return os.NewSyscallError("mount", unix.Mount("overlay", r.Target, "overlay", 0, options))
}

// commonDir returns the deepest directory that holds all paths, with a slash
// at its end.
func commonDir(paths []string) string {
	common := paths[0][:strings.LastIndexByte(paths[0], '/')+1]
	for _, p := range paths[1:] {
		for !strings.HasPrefix(p, common) {
			common = common[:strings.LastIndexByte(common[:len(common)-1], '/')+1]
		}
	}
	return common
}
