// SPDX-License-Identifier: Apache-2.0

// Package tree measures trees of files that others may change meanwhile.
package tree

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Size returns the bytes of the files below dir, each counted once however
// many names it has. Files may come and go meanwhile.
func Size(dir string) (int64, error) {
	// A running container could put a symbolic link in the place of a
	// directory while we walk: os.Root does not follow it out of there.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }() // opened for reading
	var total int64
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	err = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return IgnoreGone(err)
		}
		fi, err := d.Info()
		if err != nil {
			return IgnoreGone(err)
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok || fi.IsDir() {
			return nil
		}
		if id := (inode{st.Dev, st.Ino}); st.Nlink > 1 {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		total += fi.Size()
		return nil
	})
	return total, err
}

// IgnoreGone passes errors on, but not that a file or directory has gone, or
// become something else.
func IgnoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}
