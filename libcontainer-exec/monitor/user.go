// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxAccounts bounds what is read of an image's passwd or group file, bytes.
const maxAccounts = 16 << 20

// lookupUser resolves user[:group] and the extra groups with the account
// files below root, with Docker's texts for what is not found.
func lookupUser(root, spec string, extra []string) (specs.User, error) {
	passwd, err := readInRoot(root, "etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	group, err := readInRoot(root, "etc/group")
	if err != nil {
		return specs.User{}, err
	}
	found, err := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return specs.User{}, err
	}
	gids := append([]int{found.Gid}, found.Sgids...)
	if len(extra) > 0 {
		more, err := user.GetAdditionalGroups(extra, bytes.NewReader(group))
		if err != nil {
			return specs.User{}, err
		}
		gids = append(gids, more...)
	}
	for _, id := range append([]int{found.Uid}, gids...) {
		if id < 0 || id > math.MaxInt32 { // the image's files are taken as they are: "-1" is a number
			return specs.User{}, user.ErrRange
		}
	}
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	seen := make(map[int]bool, len(gids))
	for _, gid := range gids {
		if !seen[gid] {
			seen[gid] = true
			u.AdditionalGids = append(u.AdditionalGids, uint32(gid))
		}
	}
	return u, nil
}

// readInRoot reads a file of a container without leaving its root, whatever
// symbolic links it holds (openat2(2), Linux 5.6). A missing file is empty.
//
// What is found is opened for reading only when it is a regular file: to open
// a device is to act on it, and the image's author has chosen which.
func readInRoot(root, path string) ([]byte, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the container's root: %w", err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find /%s in the container: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(fmt.Errorf("cannot use /%s in the container: not a regular file", path), err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)) // the very file that was looked at
	if err != nil {
		return nil, fmt.Errorf("cannot open /%s in the container: %w", path, err)
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, fmt.Errorf("cannot read /%s in the container: %w", path, err)
	}
	return p, nil
}
