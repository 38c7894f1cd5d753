// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Counter is a number that outlives the process, however that ends: it is in
// a memfd that systemd keeps (FDSTORE=1, sd_notify(3)) and hands to the next
// one. A stop of the service forgets it.
type Counter struct {
	file *os.File // nil: nobody keeps it
	page []byte
	last uint32
}

// The content of the memfd: the magic, and a word that is written at once.
const (
	counterMagic = 0x44_56_54_43_4e_54_52_01 // "DVTCNTR", version 1
	counterSize  = 4096
	counterSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
)

// Counter returns the counter of the name as the predecessor left it, or a new
// one at 0 that systemd is given to keep. An error says why what was kept
// cannot be used, or a new one not be kept; the counter works all the same.
func (s *Systemd) Counter(name string) (*Counter, error) {
	kept := s.stored[name]
	delete(s.stored, name)
	var errs error
	if len(kept) == 1 {
		c, err := openCounter(kept[0])
		if err == nil {
			return c, nil
		}
		errs = fmt.Errorf("what systemd kept as %s is useless, starting anew: %w", name, err)
	} else if len(kept) > 1 {
		errs = fmt.Errorf("systemd kept %d descriptors as %s, not one, starting anew", len(kept), name)
	}
	for _, f := range kept {
		f.Close()
	}
	if len(kept) > 0 {
		errs = errors.Join(errs, s.DropFDs(name))
	}
	if s.notify == nil {
		return &Counter{}, errs
	}
	c, err := newCounter(name)
	if err != nil {
		return &Counter{}, errors.Join(errs, err)
	}
	return c, errors.Join(errs, s.StoreFDs(name, c.file))
}

// DropUnknown has systemd close what a predecessor gave it to keep and nobody
// took: of another version, say. It returns the names.
func (s *Systemd) DropUnknown() (names []string, err error) {
	for name, files := range s.Stored() {
		for _, f := range files {
			f.Close()
		}
		names = append(names, name)
		err = errors.Join(err, s.DropFDs(name))
	}
	return names, err
}

func newCounter(name string) (*Counter, error) {
	fd, err := unix.MemfdCreate("davit-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot make a memfd: %w", err)
	}
	c := &Counter{file: os.NewFile(uintptr(fd), name)}
	err = unix.Ftruncate(fd, counterSize)
	if err == nil {
		// Of a memfd that cannot shrink no page can go while it is mapped (SIGBUS).
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, counterSeals)
	}
	if err == nil {
		c.page, err = unix.Mmap(fd, 0, counterSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		c.file.Close()
		return nil, fmt.Errorf("cannot use a memfd: %w", err)
	}
	binary.NativeEndian.PutUint64(c.page, counterMagic)
	c.Set(0)
	return c, nil
}

// openCounter takes the file over when it is a counter.
func openCounter(file *os.File) (*Counter, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Counter{file: file}
	cerr := raw.Control(func(fd uintptr) {
		var st unix.Stat_t
		if err = unix.Fstat(int(fd), &st); err != nil {
			return
		}
		seals, serr := unix.FcntlInt(fd, unix.F_GET_SEALS, 0)
		if serr != nil || seals&counterSeals != counterSeals || st.Size != counterSize {
			err = errors.New("it is not a memfd of ours")
			return
		}
		c.page, err = unix.Mmap(int(fd), 0, counterSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	})
	if err = errors.Join(cerr, err); err != nil {
		return nil, err
	}
	word := c.word().Load()
	c.last = uint32(word)
	if binary.NativeEndian.Uint64(c.page) != counterMagic || uint32(word>>32) != ^c.last {
		return nil, errors.Join(errors.New("its content is not a counter"), unix.Munmap(c.page))
	}
	return c, nil
}

// word is the number in its lower half and the complement of it in the upper
// one: one store, which no kill can cut in two.
func (c *Counter) word() *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&c.page[8])) }

// Last returns what the predecessor set last; 0 without one.
func (c *Counter) Last() uint32 { return c.last }

// Set sets the number. It takes nanoseconds: there is no system call.
func (c *Counter) Set(n uint32) {
	if c.page != nil {
		c.word().Store(uint64(^n)<<32 | uint64(n))
	}
}
