// SPDX-License-Identifier: Apache-2.0

// Package gzipped compresses the rotated files of a log. It is apart from
// package containerlog for the sake of the process that rotates them: a
// compressor's memory is a third of what that process may have.
package gzipped

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Suffix is what the name of a compressed file ends with.
const Suffix = ".gz"

// commentPrefix precedes the inode of the file that was compressed, in the
// comment of the header: a reader of that file finds by it where to go on.
const commentPrefix = "inode "

// Replace compresses the file at path into one with the [Suffix] and removes
// it. A reader finds the one, or the other, or both, and never neither; whatever
// fails leaves the file as it was.
func Replace(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot compress log %s: %w", path, err)
		}
	}()
	in, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	temporary := path + Suffix + ".tmp"
	out, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, info.Mode().Perm())
	if err != nil {
		return err
	}
	if err := errors.Join(write(out, in, info), out.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path+Suffix); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return os.Remove(path)
}

func write(out io.Writer, in io.Reader, info os.FileInfo) error {
	// A log halves its size again at the default level, in three times the time;
	// the container may be waiting.
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	z.ModTime = info.ModTime()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		z.Comment = commentPrefix + strconv.FormatUint(st.Ino, 10)
	}
	if _, err := io.Copy(z, in); err != nil {
		return err
	}
	return z.Close()
}

// Inode returns the inode that the compressed file had before; 0 when it does
// not say.
func Inode(z *gzip.Reader) uint64 {
	text, ok := strings.CutPrefix(z.Comment, commentPrefix)
	n, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil {
		return 0
	}
	return n
}
