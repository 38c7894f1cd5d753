// SPDX-License-Identifier: Apache-2.0

// Package lent is of callers' files that jobs read and write: descriptors that
// came with a call, and paths that root named.
package lent

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/internal/descriptor"
)

// File is one of them. Closing it ends a Read or Write that waits for the
// caller, which then fails with [context.Canceled]: files are closed when their
// jobs are to end.
type File struct {
	mu   sync.Mutex
	file *os.File // nil for a target that was not made yet
	path string   // of such a target
	over bool
}

// Of makes one of a file that can be given up.
func Of(f *os.File) *File { return &File{file: f} }

// Descriptor makes one of a descriptor that a caller passed to be read or, if
// write is true, written. It takes fd over, also when it fails.
func Descriptor(fd int, write bool) (*File, error) {
	adopt := descriptor.Source
	if write {
		adopt = descriptor.Target
	}
	f, err := adopt(fd)
	if errors.Is(err, descriptor.ErrUnfit) {
		return nil, refusal.InvalidArgs("%v", err)
	}
	if err != nil {
		return nil, err
	}
	return Of(f), nil
}

// Source opens a regular file that is there. O_NONBLOCK: opening a named pipe
// would wait for a writer.
func Source(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, davit.Errorf(davit.NoSuchFile, "cannot open SourcePath: %w", err)
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(refusal.InvalidArgs("SourcePath %s is not a regular file", path), f.Close())
	}
	return Of(f), nil
}

// Target is a file that is made when it is opened, when the job knows that
// there is something to write. What is there already stays, whatever it is.
func Target(path string) *File { return &File{path: path} }

// Open returns the file to write to.
func (f *File) Open() (io.Writer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.over:
		return nil, context.Canceled
	case f.file != nil:
		return f, nil
	}
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, davit.Errorf(davit.NameConflict, "cannot make TargetPath: %w", err)
	}
	f.file = file
	return f, nil
}

func (f *File) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	return n, ended(err)
}

func (f *File) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	return n, ended(err)
}

// ended turns the error of a file that was closed because its job is to end
// into the one by which the engine knows it.
func ended(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return context.Canceled
	}
	return err
}

// Close closes the file; what was written to a descriptor is its owner's.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || f.file == nil {
		f.over = true
		return nil
	}
	f.over = true
	return f.file.Close()
}

// Discard removes a target that was made and not completed.
func (f *File) Discard() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" || f.file == nil {
		return nil
	}
	return os.Remove(f.path)
}

// Raw is the file itself, of one made by [Of].
func (f *File) Raw() *os.File { return f.file }
