// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// mountRootfs mounts the overlay. The new mount API takes one lower directory
// a call (lowerdir+, Linux 6.5), so that their number and their names do not
// matter; mount(2) takes at most a page of options.
func mountRootfs(r protocol.Rootfs, scratch string) error {
	if len(r.Lower) == 0 {
		return errors.New("cannot mount the root file system: the image has no layers")
	}
	var err error
	if takesLayers() {
		err = mountLayers(r)
	} else {
		err = mountPage(r, scratch)
	}
	if err != nil {
		return fmt.Errorf("cannot mount the root file system at %s: %w", r.Target, err)
	}
	return nil
}

// takesLayers tells whether the kernel is 6.5 or newer. To try would leave a
// line in an older kernel's log at each start.
func takesLayers() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	major, rest, _ := strings.Cut(unix.ByteSliceToString(name.Release[:]), ".")
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	m, _ := strconv.Atoi(major)
	n, _ := strconv.Atoi(rest[:digits])
	return m > 6 || m == 6 && n >= 5
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

// mountPage mounts with mount(2), whose options fit into one page: by the names
// of symbolic links in scratch, a directory that is made for it. The working
// directory is the process's, and nothing else uses it that early.
func mountPage(r protocol.Rootfs, scratch string) (err error) {
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	names := make([]string, len(r.Lower))
	for i, dir := range r.Lower {
		names[i] = strconv.Itoa(i)
		if err := os.Symlink(dir, filepath.Join(scratch, names[i])); err != nil {
			return err
		}
	}
	for name, dir := range map[string]string{"upper": r.Upper, "work": r.Work} {
		if err := os.Symlink(dir, filepath.Join(scratch, name)); err != nil {
			return err
		}
	}
	if err := os.Chdir(scratch); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Chdir("/")) }()
	options := "lowerdir=" + strings.Join(names, ":") + ",upperdir=upper,workdir=work"
	if err := unix.Mount("overlay", r.Target, "overlay", 0, options); err != nil {
		return errors.Join(os.NewSyscallError("mount", err), missing(r))
	}
	return nil
}

// missing names the first directory of r that is not there: mount(2) tells no
// more than that one is.
func missing(r protocol.Rootfs) error {
	for _, dir := range append([]string{r.Upper, r.Work, r.Target}, r.Lower...) {
		if _, err := os.Stat(dir); err != nil {
			return err
		}
	}
	return nil
}
