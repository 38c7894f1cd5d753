// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"syscall"

	"github.com/davit-engine/davit/internal/containerlog/gzipped"
)

// attempts bounds how often openAll starts again because of a rotation.
const attempts = 20

// segment is one file of a log.
type segment struct {
	*os.File
	packed bool   // compressed: see unpack
	inode  uint64 // of the file when it was written to; 0: not known
}

// openAll opens the files of a log, oldest first, none if there is no log.
func openAll(path string) ([]*segment, error) {
	for n := 1; ; n++ {
		files, err := openNewestFirst(path)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("cannot open log: %w", err)
		}
		// One rotation since the first was opened does no harm, two might have
		// put a newer file behind an older one.
		if n == attempts || len(files) == 0 || isNewest(files[0], path) {
			slices.Reverse(files)
			return files, nil
		}
		closeAll(files)
	}
}

// openNewestFirst opens each file of the log once: a rotation meanwhile can
// show one a second time, under its next name, but hides none.
func openNewestFirst(path string) ([]*segment, error) {
	var files []*segment
	for n, missing := 0, 0; missing < 2; n++ {
		name := path
		if n > 0 {
			name += "." + strconv.Itoa(n)
		}
		s, err := openSegment(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			missing++ // a rotation in progress leaves one gap
			continue
		case err != nil:
			return files, err
		case s == nil || len(files) > 0 && s.inode != 0 && s.inode == files[len(files)-1].inode:
			if s != nil {
				s.Close()
			}
		default:
			files = append(files, s)
		}
		missing = 0
	}
	return files, nil
}

// openSegment opens a file of a log, which may be compressed by now; nil if it
// is no file.
func openSegment(name string) (*segment, error) {
	s := &segment{}
	var err error
	if s.File, err = os.Open(name); errors.Is(err, os.ErrNotExist) {
		s.packed = true // in this order: the one is removed when the other is there
		s.File, err = os.Open(name + gzipped.Suffix)
	}
	if err != nil {
		return nil, err
	}
	info, err := s.Stat()
	if err != nil || !info.Mode().IsRegular() {
		s.Close()
		return nil, err
	}
	if !s.packed {
		s.inode = inode(info)
		return s, nil
	}
	if z, err := gzip.NewReader(s.File); err == nil { // else unpack will tell
		s.inode = gzipped.Inode(z)
	}
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// unpack replaces a compressed file by what it contains, in a file that has no
// name: the end of a log is looked for from its end.
func (s *segment) unpack() error {
	if !s.packed {
		return nil
	}
	z, err := gzip.NewReader(s.File)
	if err != nil {
		return fmt.Errorf("cannot unpack log %s: %w", s.Name(), err)
	}
	plain, err := os.CreateTemp("", "davit-log-")
	if err != nil {
		return err
	}
	if err := os.Remove(plain.Name()); err != nil {
		plain.Close()
		return err
	}
	if _, err := io.Copy(plain, z); err != nil {
		plain.Close()
		return fmt.Errorf("cannot unpack log %s: %w", s.Name(), err)
	}
	s.Close()
	s.File, s.packed = plain, false
	_, err = s.Seek(0, io.SeekStart)
	return err
}

// isNewest tells whether f is the file at path, or there is none.
func isNewest(f *segment, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist) || err == nil && os.SameFile(mine, now)
}

func closeAll(files []*segment) {
	for _, f := range files {
		f.Close()
	}
}

// seekTail places files so that reading on from there gives the last n
// records, and returns how many of the files, from the end, are to be read.
// It reads no more than those records.
func (r *reading) seekTail(files []*segment, n int) (int, error) {
	fromEnd := linesFromEnd
	if r.opts.Local {
		fromEnd = framesFromEnd
	}
	buf := make([]byte, 64<<10)
	for i := len(files) - 1; i >= 0; i-- {
		if err := files[i].unpack(); err != nil {
			return 0, err
		}
		end, err := files[i].Seek(0, io.SeekEnd)
		if err != nil {
			return 0, err
		}
		at, found, err := fromEnd(files[i].File, end, n, buf)
		if err != nil {
			return 0, err
		}
		if _, err := files[i].Seek(at, io.SeekStart); err != nil {
			return 0, err
		}
		if n -= found; n <= 0 {
			return len(files) - i, nil
		}
	}
	return len(files), nil
}

// linesFromEnd finds where the last n records before end begin, and how many there
// are if fewer. A torn record at the very end counts for none.
func linesFromEnd(f *os.File, end int64, n int, buf []byte) (at int64, found int, err error) {
	newlines := 0
	at = end
	for at > 0 {
		size := min(int64(len(buf)), at)
		block := buf[:size]
		if _, err := f.ReadAt(block, at-size); err != nil {
			return 0, 0, err
		}
		for {
			i := bytes.LastIndexByte(block, '\n')
			if i < 0 {
				break
			}
			if newlines == n {
				return at - size + int64(i) + 1, n, nil
			}
			newlines++
			block = block[:i]
		}
		at -= size
	}
	return 0, newlines, nil
}
