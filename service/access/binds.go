// SPDX-License-Identifier: Apache-2.0

package access

import (
	"errors"
	"strings"

	"github.com/davit-engine/davit/internal/linux"
)

// MayBind tells whether callers without run-privileged may mount a path of the
// host. What is allowed now must be what is mounted later, at each start of the
// container; and what the container does to it must not come back at the host.
// So
//
//   - the path is an allowed directory or lies below one, exists (a missing
//     source is made by root), and has no link and no ".." in it;
//   - every directory above it is owned by root and writable by nobody else:
//     then nobody but root can put a link or another directory in the place of
//     one that was looked at. An access list cannot hide a writer: the group's
//     bits are its mask (acl(5));
//   - it is mounted read-only, or its file system is mounted nosuid and nodev on
//     the host: root of a container is uid 0, and could leave a program with
//     the setuid bit or a disk's device node there for its user to find.
func (p *Policy) MayBind(source string, readOnly bool) error {
	clean, ok := cleanSource(source)
	if !ok {
		return errors.New("the path is not absolute, or has .. in it")
	}
	if !allowed(p.config.Load().BindAllow, clean) {
		return errors.New("it is not in a directory of bind-allow")
	}
	if err := linux.CheckUnmoved(p.hostProc, clean); err != nil {
		return err
	}
	return linux.CheckInert(p.hostProc, clean, readOnly)
}

func allowed(list []string, clean string) bool {
	for _, dir := range list {
		dir, ok := cleanSource(dir)
		if ok && (clean == dir || strings.HasPrefix(clean, strings.TrimSuffix(dir, "/")+"/")) {
			return true
		}
	}
	return false
}

// CheckBindAllow refuses an entry of bind-allow that could never be used.
func CheckBindAllow(dir string) error {
	if _, ok := cleanSource(dir); !ok {
		return errors.New("it must be an absolute path, and have no .. in it")
	}
	return nil
}
