// SPDX-License-Identifier: Apache-2.0

// Package filtercache keeps compiled seccomp filters in a directory, so that
// a container's start does not compile Docker's default profile again: 16 of
// its 30 milliseconds.
//
// The filter is made in the container's init, whose root is the container's
// by then and which must not hold a directory of the host open. So init reads
// all kept filters before libcontainer takes over, and a filter that is not
// among them goes into one file that the monitor has made for it and picks up
// afterwards. The name of the file travels as the program's own name, argv[0]:
// libcontainer passes neither environment nor arguments on.
package filtercache

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

const (
	pendingPrefix = "new-"
	// maxFilters bounds what each init reads; beyond it the monitor starts anew.
	maxFilters = 32
	// maxProgram is the size of the longest program that the kernel takes.
	maxProgram = 65535 * 8
)

// Pending is the place for the filter that a container to be created may
// compile.
type Pending struct{ path string }

// Prepare makes ready a run of init that creates a container: it returns the
// argv[0] to give it. dir is private to root; it is made when it is missing.
func Prepare(dir string) (*Pending, string, error) {
	dir = filepath.Join(dir, version())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("cannot make the directory of compiled filters: %w", err)
	}
	f, err := os.CreateTemp(dir, pendingPrefix)
	if err != nil {
		return nil, "", fmt.Errorf("cannot make room for a compiled filter: %w", err)
	}
	return &Pending{f.Name()}, f.Name(), f.Close()
}

// Reader returns the argv[0] of a run of init that only reads: an exec
// session's shares its pid namespace with processes that are not to be trusted
// with a file that others read.
func Reader(dir string) string { return filepath.Join(dir, version(), "reader") }

// Collect keeps the filter that init left, if it did.
func (p *Pending) Collect() error {
	content, err := os.ReadFile(p.path)
	if err != nil || len(content) <= sha256.Size {
		return errors.Join(err, os.Remove(p.path))
	}
	dir := filepath.Dir(p.path)
	if kept, err := filepath.Glob(filepath.Join(dir, strings.Repeat("?", 2*sha256.Size))); err == nil && len(kept) >= maxFilters {
		for _, k := range kept {
			_ = os.Remove(k)
		}
	}
	name := hex.EncodeToString(content[:sha256.Size])
	if err := os.WriteFile(p.path, content[sha256.Size:], 0o400); err != nil {
		return errors.Join(fmt.Errorf("cannot keep a compiled filter: %w", err), os.Remove(p.path))
	}
	return os.Rename(p.path, filepath.Join(dir, name))
}

// Load is for init, whose argv[0] it takes. Nothing that fails here matters:
// the filter is then compiled.
func Load(argv0 string) {
	if !filepath.IsAbs(argv0) {
		return
	}
	filters := read(filepath.Dir(argv0))
	seccomp.Lookup = func(key [32]byte) []byte { return filters[hex.EncodeToString(key[:])] }
	if !strings.HasPrefix(filepath.Base(argv0), pendingPrefix) {
		return
	}
	fd, err := unix.Open(argv0, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	seccomp.Store = func(key [32]byte, program []byte) {
		content := append(key[:], program...)
		if n, err := unix.Write(fd, content); err != nil || n != len(content) {
			_ = unix.Ftruncate(fd, 0)
		}
		_ = unix.Close(fd)
		seccomp.Store = nil
	}
}

// read returns the kept filters by name. Only what root alone can write counts.
func read(dir string) map[string][]byte {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil || st.Uid != 0 || st.Mode&0o077 != 0 {
		return nil
	}
	entries, _ := os.ReadDir(dir)
	filters := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if len(e.Name()) != 2*sha256.Size || !e.Type().IsRegular() || len(filters) > maxFilters {
			continue
		}
		if p, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil && len(p) <= maxProgram {
			filters[e.Name()] = p
		}
	}
	return filters
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
