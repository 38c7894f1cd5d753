// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// startKind tells why a process may not have been started: what libcontainer's
// init says is only text when it arrives here, so the command is looked for
// once more.
func startKind(root string, p *specs.Process) protocol.Kind {
	if p.Cwd != "/" && !isDir(root, p.Cwd) {
		return protocol.KindDenied // a shell gives 126 too
	}
	command := p.Args[0]
	if strings.ContainsRune(command, '/') {
		if !path.IsAbs(command) {
			command = path.Join(p.Cwd, command)
		}
		if found, executable := look(root, command, p.User); found && !executable {
			return protocol.KindDenied
		}
		return protocol.KindStart
	}
	for _, dir := range searchPath(p.Env) {
		found, executable := look(root, path.Join("/", dir, command), p.User)
		if executable {
			return protocol.KindStart
		}
		if found {
			return protocol.KindDenied
		}
	}
	return protocol.KindStart
}

func searchPath(env []string) []string {
	for _, kv := range env {
		if dirs, ok := strings.CutPrefix(kv, "PATH="); ok {
			return strings.Split(dirs, ":")
		}
	}
	return nil
}

// look tells whether there is something at name in the container, and whether
// it is a file that the user may execute.
func look(root, name string, user specs.User) (found, executable bool) {
	st, err := statInRoot(root, name)
	if err != nil {
		return errors.Is(err, unix.EACCES), false
	}
	bit := uint32(0o001)
	switch {
	case user.UID == 0:
		bit = 0o111
	case user.UID == st.Uid:
		bit = 0o100
	case user.GID == st.Gid || slices.Contains(user.AdditionalGids, st.Gid):
		bit = 0o010
	}
	return true, st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&bit != 0
}

func isDir(root, name string) bool {
	st, err := statInRoot(root, name)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func statInRoot(root, name string) (*unix.Stat_t, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, strings.TrimLeft(path.Clean(name), "/"), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return &st, unix.Fstat(fd, &st)
}
