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
	"syscall"

	"golang.org/x/sys/unix"
)

// Suffix is what the name of a compressed file ends with.
const Suffix = ".gz"

// comment is that of the header. It tells which file was compressed: a reader
// of that file finds by it where to go on. The inode alone is given to another
// file as soon as this one is removed.
const comment = "inode %d modified %d"

// Origin is the file that was compressed.
type Origin struct {
	Inode    uint64
	Modified int64 // when it was written to last, nanoseconds since 1970
}

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
		z.Comment = fmt.Sprintf(comment, st.Ino, info.ModTime().UnixNano())
	}
	if _, err := io.Copy(z, in); err != nil {
		return err
	}
	return z.Close()
}

// OriginOf returns what the header of a compressed file says; nothing when it
// does not.
func OriginOf(z *gzip.Reader) Origin {
	var o Origin
	if n, err := fmt.Sscanf(z.Comment, comment, &o.Inode, &o.Modified); n != 2 || err != nil {
		return Origin{}
	}
	return o
}
