// SPDX-License-Identifier: Apache-2.0

// Package tarfs moves trees of files in and out of tar streams without leaving
// a root directory, whatever links the tree or the stream holds and whoever
// changes the tree meanwhile: all of it happens on a thread whose root
// directory is that one, so that the kernel resolves every path within it.
//
// Paths are absolute in their root. A path that ends in "/" or "/." means the
// directory that it leads to.
package tarfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/internal/osthread"
)

// Errors of paths, beside those of io/fs.
var (
	ErrNotDirectory = errors.New("not a directory")
	ErrOverwrite    = errors.New("cannot overwrite")
)

// Absolute makes path absolute and clean, and keeps the "/" or "/." at its end,
// which say that it must be a directory.
func Absolute(name string) string {
	clean := strings.TrimSuffix(path.Clean("/"+name), "/")
	switch {
	case path.Base(name) == ".":
		return clean + "/."
	case clean == "" || strings.HasSuffix(name, "/"):
		return clean + "/"
	default:
		return clean
	}
}

// Lstat describes what path names under root. target is where a symbolic link
// leads, followed to its end as far as that exists; else it is "".
func Lstat(root, name string) (fi fs.FileInfo, target string, err error) {
	err = osthread.InRoot(root, func() error {
		name = Absolute(name)
		if fi, err = os.Lstat(name); err != nil {
			return err
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			return nil
		}
		if target, err = filepath.EvalSymlinks(name); err == nil {
			return nil
		}
		if target, err = os.Readlink(name); err != nil {
			return err
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("cannot stat %s: %w", name, err)
	}
	return fi, target, nil
}
