// SPDX-License-Identifier: Apache-2.0

// Package filtercache keeps compiled seccomp filters in a directory, so that
// a container's start, and each exec session, does not compile Docker's default
// profile again: more than half of the time that they would take.
//
// The filter is made in the container's init. That of an exec session has the
// container's mounts from its first instruction on, and that of a new container
// must not hold a directory of the host open. So the monitor, which runs init,
// passes what is kept in a sealed memfd, and to a new container's init a second
// one for a filter that is not among them. That they are there is said by the
// program's own name, argv[0]: libcontainer passes neither environment nor
// arguments on.
package filtercache

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

const (
	// maxFilters bounds what each init reads; beyond it the oldest go.
	maxFilters = 32
	// maxProgram is the size of the longest program that the kernel takes, in
	// bytes, and instruction that of the shortest.
	maxProgram  = 65535 * instruction
	instruction = 8
	// The descriptors of init: libcontainer's first extra ones.
	keptFD  = 3
	freshFD = 4
	// The argv[0] of an init that has the first, and of one that has both.
	reader = "davit-init:filters"
	writer = reader + "+1"
	// header precedes each program in the memfd: its key and its length.
	header = sha256.Size + 4
)

// Offer is what the monitor has ready for a run of init. Name is the argv[0] to
// give it, and Files are to be its first extra descriptors; [Load] sees to it
// that no program of the container inherits them.
type Offer struct {
	Name  string
	Files []*os.File
	dir   string // with the version; the owner alone can write it
}

// New makes ready a run of init that may leave a filter in dir, or one that
// may not: an exec session's shares its pid namespace with processes that are
// not to be trusted with what others read. dir is private to root; it is made
// when it is missing.
func New(dir string, leaves bool) (*Offer, error) {
	o := &Offer{Name: reader, dir: filepath.Join(dir, version())}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of compiled filters: %w", err)
	}
	kept, err := memory(pack(o.dir))
	if err != nil {
		return nil, fmt.Errorf("cannot pass the compiled filters: %w", err)
	}
	o.Files = append(o.Files, kept)
	if !leaves {
		return o, nil
	}
	fresh, err := memory(nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make room for a compiled filter: %w", err), kept.Close())
	}
	o.Name, o.Files = writer, append(o.Files, fresh)
	return o, nil
}

// Close closes the files.
func (o *Offer) Close() {
	for _, f := range o.Files {
		_ = f.Close() // nothing is written to it here
	}
}

// Collect keeps the filter that init left, if it did.
func (o *Offer) Collect() error {
	if len(o.Files) < 2 {
		return nil
	}
	content, err := contents(int(o.Files[1].Fd()), sha256.Size+maxProgram)
	if err != nil {
		return fmt.Errorf("cannot read a compiled filter: %w", err)
	}
	if len(content) <= sha256.Size || (len(content)-sha256.Size)%instruction != 0 {
		return nil
	}
	makeRoom(o.dir)
	name := hex.EncodeToString(content[:sha256.Size])
	f, err := os.CreateTemp(o.dir, "new-")
	if err != nil {
		return fmt.Errorf("cannot keep a compiled filter: %w", err)
	}
	_, err = f.Write(content[sha256.Size:])
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(o.dir, name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot keep a compiled filter: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// makeRoom removes what was kept longest, and what a killed monitor has left.
func makeRoom(dir string) {
	entries, _ := os.ReadDir(dir)
	files := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for i := maxFilters - 1; i < len(files); i++ {
		_ = os.Remove(filepath.Join(dir, files[i].Name()))
	}
}

// memory returns a memfd with content, sealed if there is any.
func memory(content []byte) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("davit-filters", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("davit-filters", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "davit-filters")
	if content == nil {
		return f, nil
	}
	_, err = f.Write(content)
	if err == nil {
		err = seal(fd)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// seal lets nobody change a memfd any more.
func seal(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	return os.NewSyscallError("fcntl F_ADD_SEALS", err)
}

// contents reads a memfd that has at most limit bytes.
func contents(fd, limit int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Size > int64(limit) {
		return nil, fmt.Errorf("%d bytes are too many", st.Size)
	}
	content := make([]byte, st.Size)
	if len(content) == 0 {
		return nil, nil
	}
	n, err := unix.Pread(fd, content, 0)
	return content[:max(n, 0)], err
}

// pack returns the kept filters, each after its key and its length; it is not
// nil. Only what root alone can write counts.
func pack(dir string) []byte {
	packed := []byte{}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil || st.Uid != 0 || st.Mode&0o077 != 0 {
		return packed
	}
	entries, _ := os.ReadDir(dir)
	count := 0
	for _, e := range entries {
		key, err := hex.DecodeString(e.Name())
		if err != nil || len(key) != sha256.Size || !e.Type().IsRegular() || count >= maxFilters {
			continue
		}
		p, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil || len(p) == 0 || len(p) > maxProgram {
			continue
		}
		count++
		packed = append(packed, key...)
		packed = binary.LittleEndian.AppendUint32(packed, uint32(len(p)))
		packed = append(packed, p...)
	}
	return packed
}

// unpack is its reverse.
func unpack(packed []byte) map[[sha256.Size]byte][]byte {
	filters := map[[sha256.Size]byte][]byte{}
	for len(packed) >= header {
		length := int(binary.LittleEndian.Uint32(packed[sha256.Size:]))
		if length > len(packed)-header {
			break
		}
		filters[[sha256.Size]byte(packed)] = packed[header : header+length]
		packed = packed[header+length:]
	}
	return filters
}

// Load is for init, whose argv[0] it takes. Nothing that fails here matters:
// the filter is then compiled.
func Load(argv0 string) {
	switch argv0 {
	case reader:
		load(keptFD, -1)
	case writer:
		load(keptFD, freshFD)
	}
}

// load leaves the descriptors open until the container's program is executed:
// libcontainer keeps as many from 3 on as it was given extra ones, and another
// file that took a number would be inherited.
func load(kept, fresh int) {
	unix.CloseOnExec(kept)
	packed, _ := contents(kept, maxFilters*(header+maxProgram)) // none is as good as an empty one
	filters := unpack(packed)
	seccomp.Lookup = func(key [sha256.Size]byte) []byte { return filters[key] }
	if fresh < 0 {
		return
	}
	unix.CloseOnExec(fresh)
	seccomp.Store = func(key [sha256.Size]byte, program []byte) {
		content := append(key[:], program...)
		if n, err := unix.Write(fresh, content); err != nil || n != len(content) {
			_ = unix.Ftruncate(fresh, 0)
		}
		_ = seal(fresh) // as well as not, to one who can write nothing else
		seccomp.Store = nil
	}
}

// version names this program and the libseccomp that it is linked with: a
// patched library of the same version number may compile differently.
func version() string {
	sum := sha256.New()
	add := func(path string) {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			fmt.Fprintln(sum, st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
		}
	}
	add("/proc/self/exe")
	if f, err := os.Open("/proc/self/maps"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if at := strings.Index(lines.Text(), "/"); at >= 0 && strings.Contains(lines.Text()[at:], "libseccomp") {
				add(lines.Text()[at:])
				break
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
