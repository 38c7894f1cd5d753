// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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
	packed bool           // compressed
	origin gzipped.Origin // of the file when it was written to; of a packed one it may not be known
	pass   int            // how many of its records, from where it is placed, are not to be given
	end    int64          // how many of its bytes are to be read; 0: all
}

// is tells whether two segments are the same file, which may have been
// compressed between. The one that is not packed is looked at now: it may have
// grown since it was opened.
func (s *segment) is(o *segment) bool {
	if s.origin.Inode != o.origin.Inode || s.origin.Inode == 0 {
		return false
	}
	if !s.packed && !o.packed {
		return true // both are open: the inode is of one file
	}
	return s.modified() == o.modified()
}

func (s *segment) modified() int64 {
	if s.packed {
		return s.origin.Modified
	}
	info, err := s.Stat()
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// text returns what is in the file from where it is placed. Nothing is unpacked
// to a place where it would stay, or fill a disk.
func (s *segment) text() (io.Reader, error) {
	var text io.Reader = s.File
	if s.packed {
		z, err := gzip.NewReader(s.File)
		if err != nil {
			return nil, err
		}
		text = z
	}
	if s.end > 0 {
		text = io.LimitReader(text, s.end)
	}
	return text, nil
}

// endAt closes the files that are newer than a place, and has the one that it is
// in end there. It closes all when none is: that file was removed by rotations.
func endAt(files []*segment, place string) ([]*segment, error) {
	var origin gzipped.Origin
	var end int64
	if n, err := fmt.Sscanf(place, "file %d %d %d", &origin.Inode, &origin.Modified, &end); n != 3 || err != nil {
		return files, fmt.Errorf("cannot read a log to its place %q, which is none", place)
	}
	keep := 0
	for i, f := range files {
		// The oldest: an earlier one with its inode was not written to any more.
		if f.origin.Inode == origin.Inode && f.modified() >= origin.Modified {
			keep, f.end = i, end
			if end > 0 {
				keep++
			}
			break
		}
	}
	closeAll(files[keep:])
	return files[:keep], nil
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
		case s == nil || len(files) > 0 && s.is(files[len(files)-1]):
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
		s.origin.Inode = inode(info)
		return s, nil
	}
	if z, err := gzip.NewReader(s.File); err == nil { // else reading it will tell
		s.origin = gzipped.OriginOf(z)
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
// Of the files that are not compressed it reads no more than those records.
func (r *reading) seekTail(ctx context.Context, files []*segment, n int) (int, error) {
	for i := len(files) - 1; i >= 0; i-- {
		found, err := r.placeTail(ctx, files[i], n)
		if err != nil {
			return 0, err
		}
		if n -= found; n <= 0 {
			return len(files) - i, nil
		}
	}
	return len(files), nil
}

// placeTail places a file before its last n records, and returns how many there
// are if fewer.
func (r *reading) placeTail(ctx context.Context, f *segment, n int) (int, error) {
	if f.packed {
		return r.countTail(ctx, f, n)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	var at int64
	var found int
	if r.opts.Local {
		var ok bool
		if at, found, ok = framesFromEnd(f.File, end, n); !ok {
			return r.countTail(ctx, f, n)
		}
	} else if at, found, err = linesFromEnd(f.File, end, n); err != nil {
		return 0, err
	}
	_, err = f.Seek(at, io.SeekStart)
	return found, err
}

// countTail is placeTail for a file that cannot be read from its end.
func (r *reading) countTail(ctx context.Context, f *segment, n int) (int, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	c := &reading{path: r.path, opts: Options{Local: r.opts.Local}}
	c.out.opts = c.opts
	f.pass = math.MaxInt
	if err := c.use(f); err != nil {
		return 0, err
	}
	if err := c.toEnd(ctx); err != nil {
		return 0, err
	}
	total := math.MaxInt - c.pass
	f.pass = max(total-n, 0)
	_, err := f.Seek(0, io.SeekStart)
	return min(total, n), err
}

// linesFromEnd finds where the last n records before end begin, and how many there
// are if fewer. A torn record at the very end counts for none.
func linesFromEnd(f *os.File, end int64, n int) (at int64, found int, err error) {
	buf := make([]byte, 64<<10)
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
