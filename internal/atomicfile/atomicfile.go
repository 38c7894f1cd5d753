// SPDX-License-Identifier: Apache-2.0

// Package atomicfile makes changes of directories durable: a name that these
// functions have put in place is whole, and still there after a power cut.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Write replaces the file name by one with the given content and mode. A
// reader sees the old or the new content, never a part. When Write returns nil
// the change is on disk.
func Write(name string, data []byte, mode fs.FileMode) error {
	// renameio syncs the file but not the directory that gets its name.
	err := renameio.WriteFile(name, data, mode, renameio.IgnoreUmask(), renameio.WithTempDir(filepath.Dir(name)))
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	return SyncDir(filepath.Dir(name))
}

// Rename moves oldName to newName, on the same file system, and makes the new
// name durable; whether the old one survives a power cut as well is up to the
// file system. What is moved must have been synced before.
func Rename(oldName, newName string) error {
	if err := os.Rename(oldName, newName); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(newName))
}

// SyncDir makes the names in a directory durable (fsync(2): the sync of a file
// does not cover the entry that names it).
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync a directory: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}

// SyncTree makes everything of the file system that holds path durable
// (syncfs(2)); one call is cheaper than an fsync for each file of a tree.
func SyncTree(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot sync a file system: %w", err)
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("cannot sync the file system of %s: %w", path, err)
	}
	return nil
}
