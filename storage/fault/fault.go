// SPDX-License-Identifier: Apache-2.0

// Package fault gives errors of the disk and of archives the codes and the
// texts that users see.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/davit-engine/davit"
)

// NoSpace gives err the code [davit.NoSpace] if a full file system, or a quota,
// caused it; any other error it returns as it is. dir is on that file system.
func NoSpace(err error, dir string) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, full) && davit.CodeOf(err) != davit.NoSpace {
			return davit.Errorf(davit.NoSpace, "not enough space in %s: %w", dir, full)
		}
	}
	return err
}

// host are errors that an archive cannot cause.
var host = []error{
	syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EPERM, fs.ErrClosed,
}

// Damaged explains why unpacking or reading an archive failed. What ctx, a full
// file system under dir, the host, or code below says stays as it is; anything
// else is the archive's fault and gets the code [davit.InvalidArchive]. what
// names the archive.
func Damaged(ctx context.Context, what, dir string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("cannot read %s: %w", what, ctx.Err())
	}
	err = NoSpace(err, dir)
	if davit.CodeOf(err) != davit.Failed {
		return err
	}
	for _, h := range host {
		if errors.Is(err, h) {
			return fmt.Errorf("cannot unpack %s: %w", what, err)
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return davit.Errorf(davit.InvalidArchive, "%s is cut short or is not an archive: %w", what, err)
	}
	return davit.Errorf(davit.InvalidArchive, "%s is damaged or not a tar archive (plain, gzip, zstd or bzip2): %w", what, err)
}
