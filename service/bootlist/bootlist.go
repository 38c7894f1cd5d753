// SPDX-License-Identifier: Apache-2.0

// Package bootlist keeps a file for each container that wants to run again
// after the host was booted: davit-restore.service starts the daemon at boot
// only when there is one.
package bootlist

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/davit-engine/davit"
)

// List is the directory of the files. Each is empty and named by the id. The
// records are what counts: a file too many starts a daemon in vain, and
// [List.Sync] puts right whatever a crash left.
type List struct {
	dir string
	log *slog.Logger
}

// New returns the list in dir, which is made when it is needed.
func New(dir string, log *slog.Logger) *List { return &List{dir: dir, log: log} }

// comesBack tells whether the service would start the container after a boot of
// the host.
func comesBack(c *davit.Container) bool {
	switch c.HostConfig.RestartPolicy.Name {
	case "always":
		return c.State.Status != davit.StatusCreated
	case "unless-stopped":
		return c.State.Status != davit.StatusCreated && !c.State.StoppedByAPI
	case "on-failure":
		return c.State.Running() && !c.State.StoppedByAPI // when the host goes down without a word
	}
	return false
}

// Announce lists a container if the record that is about to be written says
// that it comes back.
func (l *List) Announce(c *davit.Container) {
	if comesBack(c) {
		l.set(c.ID, true)
	}
}

// Put lists a container, or takes it off, by its record, which was written.
func (l *List) Put(c *davit.Container) { l.set(c.ID, comesBack(c)) }

// Delete takes a container off.
func (l *List) Delete(id string) { l.set(id, false) }

// set lists a container or takes it off. That it cannot is logged: the record
// is what counts.
func (l *List) set(id string, on bool) {
	path := filepath.Join(l.dir, id)
	_, err := os.Lstat(path)
	switch listed := err == nil; {
	case listed == on:
		return
	case on:
		err = l.add(path)
	default:
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("cannot keep the list of containers that come back at boot", "path", path, "error", err)
	}
}

// add makes the file; it is there after a power cut too.
func (l *List) add(path string) error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	dir, err := os.Open(l.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Sync makes the list that of the records.
func (l *List) Sync(recs []davit.Container) {
	entries, err := os.ReadDir(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("cannot read the list of containers that come back at boot", "error", err)
	}
	for _, rec := range recs {
		l.set(rec.ID, comesBack(&rec))
	}
	for _, e := range entries {
		if !slices.ContainsFunc(recs, func(c davit.Container) bool { return c.ID == e.Name() }) {
			l.set(e.Name(), false)
		}
	}
}
