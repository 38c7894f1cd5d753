// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Options are those of a log in files.
type Options struct {
	MaxSize  int64  // bytes after which a file is rotated; 0 or less: never
	MaxFiles int    // files kept, the current one included; less than 1 is 1
	Attrs    string // json-file: a JSON object that each record has; "" for none
	// Compress replaces the file at path, that was just rotated, by path.gz. It
	// returns at once, and the channel is closed when it is done, or has failed.
	// The next rotation waits for that. Nil: files are not compressed.
	Compress func(path string) (done <-chan struct{})
	// Buffer is how many bytes wait for the log instead of holding up who
	// writes; of more, the oldest are lost. 0: nothing is lost, writers wait.
	Buffer int
}

const (
	// smallBuffer holds the records of a container that writes now and then.
	smallBuffer = 4 << 10
	// bigBuffer is what a flood gets: enough for a write(2) to be worth it, and
	// for any one record.
	bigBuffer = 256 << 10
)

// file is a file that is rotated, and what is to be written to it.
type file struct {
	path string
	opts Options
	fd   int
	size int64
	// torn says that a write failed in the midst of a record. mend is then called
	// before the next one.
	torn bool
	mend func(*file) error

	buf    []byte // records not yet written: in small or in mapped
	small  []byte
	mapped []byte // nil: not needed now

	compressing <-chan struct{}
}

// pathError is fs.PathError without its package.
type pathError struct {
	verb, path string
	err        error
}

func (e *pathError) Error() string { return "cannot " + e.verb + " " + e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

func (f *file) open(flags int) error {
	// O_RDWR: the end is read back.
	fd, err := openRetry(f.path, flags|unix.O_RDWR|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NOFOLLOW)
	if err != nil {
		return &pathError{"open log", f.path, err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return &pathError{"stat log", f.path, err}
	}
	f.fd, f.size, f.torn = fd, st.Size, false
	return nil
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0o640)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// reserve makes room for a record of up to n bytes in buf, and rotates first
// when it is time.
func (f *file) reserve(n int) error {
	var failed error
	full := f.opts.MaxSize > 0 && f.size+int64(len(f.buf)) >= f.opts.MaxSize
	short := len(f.buf)+n > cap(f.buf)
	if !full && !short {
		return nil
	}
	if full || f.mapped != nil {
		failed = f.flush()
	}
	if full && f.size >= f.opts.MaxSize {
		failed = first(failed, f.rotate())
	}
	if len(f.buf)+n > cap(f.buf) {
		f.enlarge(len(f.buf) + n)
	}
	return failed
}

// enlarge replaces the buffer. Not by append: what that leaves behind stays
// resident, as a heap of four megabytes is not collected.
func (f *file) enlarge(n int) {
	size := max(bigBuffer, (n+0xffff)&^0xffff)
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		f.buf = append(make([]byte, 0, n), f.buf...)
		return
	}
	m = m[:copy(m, f.buf)]
	f.unmap()
	f.mapped, f.buf = m[:0], m
}

func (f *file) unmap() {
	if f.mapped != nil {
		_ = unix.Munmap(f.mapped[:cap(f.mapped)]) // it was mapped like this
		f.mapped = nil
	}
	if f.small == nil {
		f.small = make([]byte, 0, smallBuffer)
	}
	f.buf = f.small
}

func (f *file) idle() {
	if len(f.buf) == 0 && f.mapped != nil {
		f.unmap()
	}
}

// flush writes the buffer out and empties it, whatever happens.
func (f *file) flush() error {
	buf := f.buf
	f.buf = buf[:0]
	if len(buf) == 0 {
		return nil
	}
	if f.torn {
		if err := f.mend(f); err != nil {
			return err
		}
		f.torn = false
	}
	return f.writeAll(buf)
}

func (f *file) writeAll(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(f.fd, p)
		if n > 0 {
			f.size += int64(n)
			p = p[n:]
		}
		if err != nil && err != unix.EINTR {
			f.torn = true
			return &pathError{"write log", f.path, err}
		}
	}
	return nil
}

// rotate moves path to path.1, path.1 to path.2 and so on, and starts anew. A
// log of one file is unlinked, not truncated: a reader that has it open still
// finds its end. When a move fails the log goes on in the file it has.
func (f *file) rotate() error {
	if f.compressing != nil {
		<-f.compressing
		f.compressing = nil
	}
	keep := max(f.opts.MaxFiles, 1)
	shift := keep - 1
	var st unix.Stat_t
	if unix.Lstat(f.path, &st) == unix.ENOENT {
		shift = 0 // moved by an earlier try, which then could not make the file
	}
	for n := shift; n > 0; n-- {
		if err := f.shift(n); err != nil {
			return err
		}
	}
	if keep == 1 {
		if err := unix.Unlink(f.path); err != nil && err != unix.ENOENT {
			return &pathError{"rotate log", f.path, err}
		}
	}
	old := f.fd
	// If this fails (no descriptors, no inodes) the old file, renamed, is
	// still the log, and the next record tries again.
	if err := f.open(unix.O_CREAT | unix.O_EXCL); err != nil {
		return err
	}
	_ = unix.Close(old) // a log is not synced; each write to it was checked
	if f.opts.Compress != nil && shift > 0 {
		f.compressing = f.opts.Compress(f.path + ".1")
	}
	return nil
}

// shift makes the file before the n-th the n-th, compressed or not.
func (f *file) shift(n int) error {
	from, to := f.path, f.path+"."+strconv.Itoa(n)
	if n > 1 {
		from += "." + strconv.Itoa(n-1)
	}
	err := unix.Rename(from, to)
	if n > 1 && f.opts.Compress != nil {
		plain := err == nil
		err = unix.Rename(from+".gz", to+".gz")
		switch {
		case err == nil && !plain:
			err = unix.Unlink(to) // the one that goes was not compressed
		case err == unix.ENOENT && plain:
			err = unix.Unlink(to + ".gz")
		}
	}
	if err != nil && err != unix.ENOENT {
		return &pathError{"rotate log", from, err}
	}
	return nil
}

// place is the file, which has another name after a rotation, and how much of it
// there is.
func (f *file) place() string {
	var st unix.Stat_t
	if len(f.buf) > 0 || unix.Fstat(f.fd, &st) != nil {
		return ""
	}
	return "file " + strconv.FormatUint(st.Ino, 10) + " " + strconv.FormatInt(st.Mtim.Nano(), 10) + " " + strconv.FormatInt(st.Size, 10)
}

func (f *file) close() error {
	if f.compressing != nil {
		<-f.compressing
	}
	f.unmap()
	if err := unix.Close(f.fd); err != nil {
		return &pathError{"close log", f.path, err}
	}
	return nil
}
