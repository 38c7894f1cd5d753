// SPDX-License-Identifier: Apache-2.0

// Package cgroup finds, lists and removes cgroups, of both versions.
package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is where the hierarchies are mounted.
const Root = "/sys/fs/cgroup"

// Unified tells whether cgroup v2 is the only version in use.
func Unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(Root, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// Dirs returns the directories that the cgroup path has: one on v2, one a
// hierarchy on v1. They need not exist.
func Dirs(path string) []string {
	if Unified() {
		return []string{filepath.Join(Root, path)}
	}
	entries, _ := os.ReadDir(Root)
	var dirs []string
	for _, e := range entries {
		if e.IsDir() { // not cpu,cpuacct's links
			dirs = append(dirs, filepath.Join(Root, e.Name(), path))
		}
	}
	return dirs
}

// Procs returns the processes in the cgroup dir and below, in order.
func Procs(dir string) []int {
	p, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for line := range strings.Lines(string(p)) {
		// A process of another pid namespace is listed as 0.
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			pids = append(pids, Procs(filepath.Join(dir, e.Name()))...)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// Remove kills what is in the cgroup dir and below, and removes it. A
// missing one, or one that this process may not remove, is no error.
func Remove(dir string) error {
	_, err := os.Stat(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	// Frozen processes of version 1 do not even die.
	_ = write(filepath.Join(dir, "freezer.state"), "THAWED") // of another hierarchy: none
	deadline := time.Now().Add(2 * time.Second)
	for wait := time.Millisecond; ; wait *= 2 {
		if err = removeTree(dir); err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EROFS) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		for _, pid := range Procs(dir) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(wait) //nolint:forbidigo // an empty cgroup of version 1 can be waited for by a release agent only (cgroups(7))
	}
}

// RemoveEmpty removes a cgroup, and one in it, from the hierarchies in which
// nothing is in them: parents that several engines may share.
func RemoveEmpty(path, child string) {
	for _, dir := range Dirs(path) {
		_ = unix.Rmdir(filepath.Join(dir, child)) // busy, or not there
		_ = unix.Rmdir(dir)
	}
}

func removeTree(dir string) error {
	if err := unix.Rmdir(dir); err == nil {
		return nil
	} else if !errors.Is(err, unix.EBUSY) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
