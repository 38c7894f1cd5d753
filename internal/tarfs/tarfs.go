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
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/davit-engine/davit/internal/osthread"
)

// Errors of paths, beside those of io/fs.
var (
	ErrNotDirectory = errors.New("not a directory")
	ErrOverwrite    = errors.New("cannot overwrite")
	ErrNotRegular   = errors.New("not a regular file")
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

// Read returns the content of a regular file under root, of which it is an
// error to have more than limit bytes. Symbolic links are followed.
func Read(root, name string, limit int64) (content []byte, err error) {
	err = osthread.InRoot(root, func() error {
		f, err := os.OpenFile(Absolute(name), os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be a fifo
		if err != nil {
			return err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		if !fi.Mode().IsRegular() {
			return ErrNotRegular
		}
		if content, err = io.ReadAll(io.LimitReader(f, limit+1)); err != nil {
			return err
		}
		if int64(len(content)) > limit {
			return fmt.Errorf("it has more than %d bytes: %w", limit, syscall.EFBIG)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return content, nil
}
