// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// createError gives the error of a container's first process the kind of its
// cause, and says what its text does not.
func createError(oci *specs.Spec, err error) error {
	root := oci.Root.Path
	if bad := misfit(root, oci.Mounts); bad != nil {
		return fail(protocol.KindStart, fmt.Errorf("%w: Are you trying to mount a directory onto a file (or vice-versa)? "+
			"Check if the specified host path exists and is the expected type: %s", err, bad.Destination)) // 127, as Docker
	}
	if st, serr := statInRoot(root, oci.Process.Cwd); serr == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fail(protocol.KindInvalid, err)
	}
	kind := commandKind(root, oci.Process)
	if kind == protocol.KindInternal {
		kind = protocol.KindInvalid // the command is there: it is something else that the user gave
	}
	return fail(kind, err)
}

// misfit returns the mount that is a directory onto a file, or a file onto a
// directory. One below another mount is not looked at: what it covers is not in
// the root.
func misfit(root string, mounts []specs.Mount) *specs.Mount {
	for i := range mounts {
		m := &mounts[i]
		below := slices.ContainsFunc(mounts, func(over specs.Mount) bool {
			return over.Destination != "/" && strings.HasPrefix(m.Destination, strings.TrimSuffix(over.Destination, "/")+"/")
		})
		if m.Type != "bind" || below {
			continue
		}
		source, err := os.Stat(m.Source)
		if err != nil {
			continue
		}
		if target, err := statInRoot(root, m.Destination); err == nil && source.IsDir() != (target.Mode&unix.S_IFMT == unix.S_IFDIR) {
			return m
		}
	}
	return nil
}

// commandKind tells whether the command is missing or cannot be executed, and
// gives KindInternal when it is none of both: what libcontainer's init says is only
// text when it arrives here, so the command is looked for once more.
func commandKind(root string, p *specs.Process) protocol.Kind {
	command := p.Args[0]
	if strings.ContainsRune(command, '/') {
		if !path.IsAbs(command) {
			command = path.Join(p.Cwd, command)
		}
		switch found, executable := look(root, command, p.User); {
		case executable:
			return protocol.KindInternal
		case found:
			return protocol.KindDenied
		}
		return protocol.KindStart
	}
	for _, dir := range searchPath(p.Env) {
		// What cannot be executed is passed by, as by a shell and by runc.
		if _, executable := look(root, path.Join("/", dir, command), p.User); executable {
			return protocol.KindInternal
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
