// SPDX-License-Identifier: Apache-2.0

// Package filtercache keeps compiled seccomp filters in a directory, so that
// a container's start, and each exec session, does not compile Docker's default
// profile again: more than half of the time that they would take.
//
// libcontainer makes the filter in the container's init, which must not hold a
// directory of the host open. So the monitor, which runs init, passes the program
// in a sealed memfd, and says so by init's own name, argv[0]: libcontainer passes
// neither environment nor arguments on. An exec session has it from the
// container's record.
//
// With the program goes a stub of the profile, which libcontainer is given in
// place of the whole: four hundred rules as JSON, three times encoded and two
// times decoded, cost more than all else that it does with its configuration.
package filtercache

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxFilters is how many are kept; the oldest go.
const maxFilters = 32

// Cache is a directory of filters.
type Cache struct{ dir string }

// Kept is a filter of the cache.
type Kept struct {
	// Stub is what is left of the profile: its rules that libcontainer looks at
	// when it loads a program, and none that it compiles one from.
	Stub    *configs.Seccomp
	program []byte
}

// Open opens the cache in dir, which is private to root and made when it is
// missing. What another version of this program has left is removed.
func Open(dir string) (*Cache, error) {
	own := version()
	c := &Cache{filepath.Join(dir, own)}
	err := os.Mkdir(c.dir, 0o700)
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(c.dir, 0o700)
	}
	switch {
	case errors.Is(err, os.ErrExist):
		return c, nil
	case err != nil:
		return nil, fmt.Errorf("cannot make the directory of compiled filters: %w", err)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != own {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
	return c, nil
}

// Key is what the filter of a profile is kept by: a digest of all that it says.
func Key(profile *specs.LinuxSeccomp) (string, error) {
	p, err := json.Marshal(profile)
	if err != nil {
		return "", fmt.Errorf("cannot encode the seccomp profile: %w", err)
	}
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:]), nil
}

// IsKey tells whether s could be one.
func IsKey(s string) bool {
	p, err := hex.DecodeString(s)
	return err == nil && len(p) == sha256.Size
}

// Find returns the filter of the key, or nil. Only what root alone can write
// counts.
func (c *Cache) Find(key string) *Kept {
	var st unix.Stat_t
	if err := unix.Lstat(c.dir, &st); err != nil || st.Uid != 0 || st.Mode&0o077 != 0 || !IsKey(key) {
		return nil
	}
	p, err := os.ReadFile(filepath.Join(c.dir, key))
	if err != nil || len(p) < 4 {
		return nil
	}
	length := int64(binary.LittleEndian.Uint32(p))
	if p = p[4:]; length > int64(len(p)) {
		return nil
	}
	k := &Kept{program: p[length:]}
	if json.Unmarshal(p[:length], &k.Stub) != nil || k.Stub == nil || !isProgram(k.program) {
		return nil
	}
	return k
}

// Put keeps a filter.
func (c *Cache) Put(key string, k *Kept) error {
	text, err := json.Marshal(k.Stub)
	if err != nil {
		return fmt.Errorf("cannot encode a seccomp profile: %w", err)
	}
	c.makeRoom()
	f, err := os.CreateTemp(c.dir, "new-")
	if err != nil {
		return fmt.Errorf("cannot keep a compiled filter: %w", err)
	}
	content := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	_, err = f.Write(slices.Concat(content, text, k.program))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(c.dir, key))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot keep a compiled filter: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// makeRoom removes what was kept longest, and what a killed monitor has left.
func (c *Cache) makeRoom() {
	entries, _ := os.ReadDir(c.dir)
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
		_ = os.Remove(filepath.Join(c.dir, files[i].Name()))
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
