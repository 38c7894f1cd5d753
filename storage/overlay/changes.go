// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/storage/tree"
	"golang.org/x/sys/unix"
)

// Changes lists what a container's writable layer has of its own. A container
// that runs may change it meanwhile.
func (s *Store) Changes(containerID string, mounts []string) ([]davit.FileChange, error) {
	dir, err := s.containerDir(containerID)
	if err != nil {
		return nil, err
	}
	r, err := s.Rootfs(containerID)
	if err != nil {
		return nil, err
	}
	d := &difference{places: map[string]bool{}}
	for _, m := range mounts {
		d.places[strings.TrimPrefix(path.Clean("/"+m), "/")] = true
	}
	defer d.close()
	if d.upper, err = os.OpenRoot(filepath.Join(dir, "diff")); err == nil {
		err = d.openLower(r.Lower)
	}
	if err == nil {
		_, err = d.walk(".", d.lower)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot compare container %s with its image: %w", davit.ShortID(containerID), err)
	}
	slices.SortFunc(d.out, func(a, b davit.FileChange) int { return strings.Compare(a.Path, b.Path) })
	return d.out, nil
}

// difference is a comparison of an upper directory with the lower ones. All
// are walked by os.Root, out of which no symbolic link leads.
type difference struct {
	upper  *os.Root
	lower  []*os.Root      // topmost first
	places map[string]bool // paths at which something is mounted
	out    []davit.FileChange
}

func (d *difference) openLower(dirs []string) error {
	for _, dir := range dirs {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		d.lower = append(d.lower, root)
	}
	return nil
}

// close closes what was opened for reading.
func (d *difference) close() {
	if d.upper != nil {
		_ = d.upper.Close()
	}
	for _, l := range d.lower {
		_ = l.Close()
	}
}

func (d *difference) add(name string, kind davit.ChangeKind) {
	d.out = append(d.out, davit.FileChange{Path: "/" + name, Kind: kind})
}

// found is what walk saw in a directory.
type found struct {
	entries bool // one came or went
	places  bool // one is there for a mount, or has such inside
}

// walk compares a directory of the upper layer with those of the lower layers
// that show through it.
func (d *difference) walk(dir string, lower []*os.Root) (found, error) {
	var f found
	entries, err := readDir(d.upper, dir)
	if err != nil {
		return f, tree.IgnoreGone(err)
	}
	for _, name := range entries {
		name = path.Join(dir, name)
		if d.places[name] {
			f.places = true
			continue
		}
		info, err := d.upper.Lstat(name)
		if err != nil {
			if err := tree.IgnoreGone(err); err != nil {
				return f, err
			}
			continue
		}
		below, under, err := lookup(lower, name)
		if err != nil {
			return f, err
		}
		one, err := d.compare(name, info, below, under)
		if err != nil {
			return f, err
		}
		f.entries, f.places = f.entries || one.entries, f.places || one.places
	}
	return f, nil
}

// compare tells of one entry of the upper layer. below is what it hides or
// changes, nil for nothing, and under the layers whose directory shows through.
func (d *difference) compare(name string, info, below fs.FileInfo, under []*os.Root) (found, error) {
	switch {
	case isWhiteout(info):
		if below != nil {
			d.add(name, davit.FileDeleted)
		}
		return found{entries: below != nil}, nil
	case !info.IsDir():
		d.add(name, kindOver(below))
		return found{entries: below == nil}, nil
	}
	opaque, err := isOpaque(d.upper, name)
	if err != nil {
		return found{}, tree.IgnoreGone(err)
	}
	at := len(d.out)
	d.add(name, kindOver(below))
	if opaque {
		if err := d.hidden(name, under); err != nil {
			return found{}, err
		}
	}
	inside, err := d.walk(name, under)
	if err != nil {
		return found{}, err
	}
	told := true
	switch {
	case below == nil:
		told = !inside.places || len(d.out) > at+1
	case below.IsDir() && !opaque:
		// Making a place for a mount has changed its time, and nothing else; of what
		// is deeper inside, it tells nothing itself.
		told = inside.entries || !sameOwner(info, below) || !inside.places && !info.ModTime().Equal(below.ModTime())
	}
	if !told {
		d.out = slices.Delete(d.out, at, at+1)
	}
	return found{entries: told && below == nil, places: inside.places}, nil
}

// hidden tells of what an opaque directory, one that was removed and made
// again, hides and has nothing of its own in the place of.
func (d *difference) hidden(dir string, under []*os.Root) error {
	seen := map[string]bool{}
	for _, l := range under {
		names, err := readDir(l, dir)
		if err != nil {
			return err
		}
		for _, n := range names {
			name := path.Join(dir, n)
			if seen[name] {
				continue
			}
			seen[name] = true
			info, err := l.Lstat(name)
			if err != nil {
				return err
			}
			if _, err := d.upper.Lstat(name); errors.Is(err, fs.ErrNotExist) && !isWhiteout(info) && !d.places[name] {
				d.add(name, davit.FileDeleted)
			}
		}
	}
	return nil
}

func kindOver(below fs.FileInfo) davit.ChangeKind {
	if below == nil {
		return davit.FileAdded
	}
	return davit.FileModified
}

// lookup finds what the lower layers show at name: nothing, a file, or the
// directory that those in under make together.
func lookup(lower []*os.Root, name string) (below fs.FileInfo, under []*os.Root, err error) {
	for _, l := range lower {
		info, err := l.Lstat(name)
		if tree.IgnoreGone(err) != nil {
			return nil, nil, err
		}
		if err != nil {
			continue
		}
		if isWhiteout(info) || !info.IsDir() {
			if below == nil && !isWhiteout(info) {
				below = info
			}
			return below, under, nil
		}
		if below == nil {
			below = info
		}
		under = append(under, l)
		if opaque, err := isOpaque(l, name); err != nil || opaque {
			return below, under, err
		}
	}
	return below, under, nil
}

// sameOwner tells whether a directory's mode and owners are those of another. With
// the time, too, it was only copied up because something in it was to be changed:
// overlayfs keeps all of these.
func sameOwner(a, b fs.FileInfo) bool {
	x, ok1 := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok1 && ok2 && x.Mode == y.Mode && x.Uid == y.Uid && x.Gid == y.Gid
}

// isWhiteout tells whether an entry says that there is none (overlayfs.rst).
func isWhiteout(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func isOpaque(root *os.Root, name string) (bool, error) {
	f, err := openDir(root, name)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	var value [8]byte
	n, err := unix.Fgetxattr(int(f.Fd()), opaqueXattr, value[:])
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	return err == nil && string(value[:n]) == "y", err
}

// openDir does not wait for a writer of a pipe that has taken the directory's
// place.
func openDir(root *os.Root, name string) (*os.File, error) {
	return root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
}

// readDir returns the names in a directory.
func readDir(root *os.Root, dir string) ([]string, error) {
	f, err := openDir(root, dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	return f.Readdirnames(-1)
}
