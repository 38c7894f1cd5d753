// SPDX-License-Identifier: Apache-2.0

package filtercache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/davit-engine/davit/internal/linux"
	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

const (
	// passedFD is init's descriptor of the memfd: libcontainer's first extra one.
	passedFD = 3
	// argvGiven is the argv[0] of an init that has the filter in it.
	argvGiven = "davit-init:filter"
	// maxProgram is the size of the longest program that the kernel takes, in
	// bytes.
	maxProgram  = 65535 * instruction
	instruction = 8
)

// Passed is a memfd that init inherits. Name is the argv[0] to give it, and
// File its first extra descriptor; [Load] sees to it that no program of the
// container inherits that.
type Passed struct {
	Name string
	File *os.File
}

// Give passes a kept filter's program, sealed.
func Give(k *Kept) (*Passed, error) {
	f, err := linux.Memfile("davit-filter", k.program)
	if err != nil {
		return nil, fmt.Errorf("cannot pass a compiled filter: %w", err)
	}
	if err := seal(int(f.Fd())); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot pass a compiled filter: %w", err), f.Close())
	}
	return &Passed{argvGiven, f}, nil
}

func isProgram(p []byte) bool {
	return len(p) > 0 && len(p)%instruction == 0 && len(p) <= maxProgram
}

// seal lets nobody change a memfd any more.
func seal(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	return os.NewSyscallError("fcntl F_ADD_SEALS", err)
}

func contents(fd int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Size > maxProgram {
		return nil, fmt.Errorf("%d bytes are too many", st.Size)
	}
	p := make([]byte, st.Size)
	n, err := unix.Pread(fd, p, 0)
	if err != nil {
		return nil, os.NewSyscallError("pread", err)
	}
	return p[:n], nil
}

// Load is for init, whose argv[0] it takes. An init that was promised a filter
// must not go on without it: the rules that it has are not all of them.
func Load(argv0 string) error {
	if argv0 == argvGiven {
		return load(passedFD)
	}
	return nil
}

// load leaves the descriptor open until the container's program is executed:
// libcontainer keeps as many from 3 on as it was given extra ones, and another
// file that took the number would be inherited.
func load(fd int) error {
	unix.CloseOnExec(fd)
	program, err := contents(fd)
	if err == nil && !isProgram(program) {
		err = fmt.Errorf("%d bytes are no program", len(program))
	}
	if err != nil {
		return fmt.Errorf("cannot read the compiled seccomp filter: %w", err)
	}
	seccomp.Lookup = func([sha256.Size]byte) []byte { return program }
	return nil
}
