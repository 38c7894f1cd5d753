// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freezeTimeout bounds the wait for all processes to stop: one that sleeps in
// the kernel, on a dead disk say, does not.
const freezeTimeout = 5 * time.Second

var (
	errNoFreezer = errors.New("this host has no cgroup controller freezer")
	errNotFrozen = errors.New("a process does not stop: it waits in the kernel, for a disk or a network file system")
)

// Freeze stops all processes of a container, or lets them go on, and returns
// when they have or do. cgroups are the container's directories by controller;
// version 2 has the one of "". When it fails they run.
func Freeze(cgroups map[string]string, frozen bool) error {
	if dir := cgroups["freezer"]; dir != "" {
		return freeze(filepath.Join(dir, "freezer.state"), frozen, "FROZEN", "THAWED", func() (bool, error) {
			p, err := os.ReadFile(filepath.Join(dir, "freezer.state"))
			return strings.TrimSpace(string(p)) == "FROZEN", err
		})
	}
	dir := cgroups[""]
	if dir == "" {
		return errNoFreezer
	}
	return freeze(filepath.Join(dir, "cgroup.freeze"), frozen, "1", "0", func() (bool, error) {
		events, err := Keyed(filepath.Join(dir, "cgroup.events"))
		return events["frozen"] == 1, err
	})
}

// freeze writes to the file until done says so.
func freeze(file string, frozen bool, on, off string, done func() (bool, error)) error {
	if !frozen {
		return write(file, off)
	}
	deadline := time.Now().Add(freezeTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		// Again each time: version 1 misses processes that were made meanwhile
		// (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
		err := write(file, on)
		if err == nil {
			var ok bool
			if ok, err = done(); ok {
				return nil
			}
		}
		if err == nil && time.Now().After(deadline) {
			err = errNotFrozen
		}
		if err != nil {
			return errors.Join(err, write(file, off))
		}
		<-time.After(wait)
	}
}

func write(file, value string) error {
	fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: file, Err: err}
	}
	return nil
}
