// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckUnmoved tells whether only root can make the clean absolute path mean
// something else than it does now: none of it is a link, and each directory
// above the last element belongs to root and is writable by nobody else. That
// is checked from the top, so each step stands on one that holds. The path is
// one of the mount namespace of the process that proc is the directory of
// (/proc/self, /proc/1). The error names the element.
func CheckUnmoved(proc, path string) error {
	elements := strings.Split(strings.Trim(path, "/"), "/")
	if path == "/" {
		elements = nil
	}
	shown := ""
	for i := -1; i < len(elements); i++ {
		if i >= 0 {
			shown += "/" + elements[i]
		}
		name := proc + "/root" + shown
		if i < 0 {
			name += "/" // the directory is meant, and not the link to it
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return &os.PathError{Op: "look at", Path: "/" + strings.TrimPrefix(shown, "/"), Err: err}
		}
		switch kind := st.Mode & unix.S_IFMT; {
		case kind == unix.S_IFLNK:
			return fmt.Errorf("%s is a link: name what it points to", shown)
		case i == len(elements)-1:
			return nil
		case kind != unix.S_IFDIR:
			return fmt.Errorf("%s is not a directory", shown)
		case st.Uid != 0 || st.Mode&0o022 != 0:
			return fmt.Errorf("%s/ can be changed by others than root", shown)
		}
	}
	return nil
}

// CheckInert tells whether setuid bits and device nodes have no effect at a
// clean path and below it: unless readOnly at its own mount, and at each mount
// below in any case, since a read-only bind leaves those writable. proc is as
// of [CheckUnmoved].
func CheckInert(proc, path string, readOnly bool) error {
	info, err := os.ReadFile(proc + "/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line) // proc_pid_mountinfo(5): the point is the fifth, its options the sixth
		if len(fields) < 6 {
			return fmt.Errorf("cannot read the mounts of %s: a line has %d fields", proc, len(fields))
		}
		point := unescape.Replace(fields[4])
		if !strings.HasPrefix(point, strings.TrimSuffix(path, "/")+"/") {
			continue
		}
		if options := strings.Split(fields[5], ","); !slices.Contains(options, "nosuid") || !slices.Contains(options, "nodev") {
			return fmt.Errorf("%s, which is mounted below it, is not mounted nosuid,nodev", point)
		}
	}
	if readOnly {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(proc+"/root"+path, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if fs.Flags&unix.ST_NOSUID == 0 || fs.Flags&unix.ST_NODEV == 0 {
		return errors.New("it is to be writable, and its file system is not mounted nosuid,nodev on the host: mount it so, or ask for it read-only")
	}
	return nil
}

// unescape undoes what the kernel writes for blanks in the path of a mount.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
