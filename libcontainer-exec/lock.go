// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit"
	"golang.org/x/sys/unix"
)

// lockFile is locked, below the exec root, as long as a runtime has that:
// another engine would take its containers for what a predecessor left, and
// end those of which it has no record.
const lockFile = "lock"

// lockRoot claims the exec root. The kernel gives the lock back when the
// daemon is killed; holders do not inherit it.
func lockRoot(root string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the exec root: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, davit.Errorf(davit.InvalidConfiguration, "exec root %s belongs to another running engine: stop that, or give this one another --exec-root", root)
	}
	return nil, fmt.Errorf("cannot lock the exec root %s: %w", root, err)
}
