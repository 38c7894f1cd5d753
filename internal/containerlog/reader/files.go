// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
)

// attempts bounds how often openAll starts again because of a rotation.
const attempts = 20

// openAll opens the files of a log, oldest first, none if there is no log.
func openAll(path string) ([]*os.File, error) {
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
func openNewestFirst(path string) ([]*os.File, error) {
	var files []*os.File
	var last os.FileInfo
	for n, missing := 0, 0; missing < 2; n++ {
		name := path
		if n > 0 {
			name += "." + strconv.Itoa(n)
		}
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			missing++ // a rotation in progress leaves one gap
			continue
		}
		if err != nil {
			return files, err
		}
		missing = 0
		info, err := f.Stat()
		if err != nil || !info.Mode().IsRegular() || last != nil && os.SameFile(last, info) {
			f.Close()
			if err != nil {
				return files, err
			}
			continue
		}
		files, last = append(files, f), info
	}
	return files, nil
}

// isNewest tells whether f is the file at path, or there is none.
func isNewest(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist) || err == nil && os.SameFile(mine, now)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// seekTail places files so that reading on from there gives the last n
// records, and returns how many of the files, from the end, are to be read.
// It reads no more than those records.
func seekTail(files []*os.File, n int) (int, error) {
	buf := make([]byte, 64<<10)
	for i := len(files) - 1; i >= 0; i-- {
		end, err := files[i].Seek(0, io.SeekEnd)
		if err != nil {
			return 0, err
		}
		at, found, err := fromEnd(files[i], end, n, buf)
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

// fromEnd finds where the last n records before end begin, and how many there
// are if fewer. A torn record at the very end counts for none.
func fromEnd(f *os.File, end int64, n int, buf []byte) (at int64, found int, err error) {
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
