// SPDX-License-Identifier: Apache-2.0

package seccomp

/*
#define _GNU_SOURCE
#include <sys/mman.h>
#include <errno.h>
#include <unistd.h>
#include <seccomp.h>

// Linux 6.3. Where vm.memfd_noexec is 2 a memfd is refused without it; older
// kernels refuse it.
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

static int scratch(void)
{
	int fd = memfd_create("seccomp", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("seccomp", MFD_CLOEXEC);
	return fd;
}
*/
import "C"

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"
)

// A cache of compiled filters. Both are called with the filter locked and must
// be set before the first filter is made; nil is no cache.
//
// Lookup returns the program that Store was given with the key, or nil. What
// it returns is loaded as it is, so it must come from where only root writes.
// Store keeps a program, but must not keep program itself beyond the call. An
// error of its is that of ExportBPF: nothing is loaded then.
//
// The key covers everything that a program is made from, but of the library
// only its version: what was stored before a libseccomp of the same version
// was replaced by a patched one must be dropped by whoever keeps it.
var (
	Lookup func(key [32]byte) []byte
	Store  func(key [32]byte, program []byte) error
)

// instruction is the size of a struct sock_filter; maxProgram is as many as a
// struct sock_fprog can count.
const (
	instruction = 8
	maxProgram  = 65535 * instruction
)

// recorder takes the digest of what is done to a filter, in its order.
type recorder struct {
	digest hash.Hash
	buf    []byte
}

// begin starts with a format number, the default action, and what libseccomp
// itself looks at: who it is, where it runs and what the kernel can do.
func (r *recorder) begin(action uint32) {
	r.digest = sha256.New()
	api, _ := GetAPI()
	major, minor, micro := GetLibraryVersion()
	r.add(1, uint64(action), uint64(major), uint64(minor), uint64(micro), uint64(api), uint64(C.seccomp_arch_native()))
}

// Each record is its length, its kind and its values: no two sequences of
// records are the same bytes.
func (r *recorder) add(kind uint64, values ...uint64) {
	r.buf = binary.LittleEndian.AppendUint64(r.buf[:0], uint64(len(values)))
	r.buf = binary.LittleEndian.AppendUint64(r.buf, kind)
	for _, v := range values {
		r.buf = binary.LittleEndian.AppendUint64(r.buf, v)
	}
	r.digest.Write(r.buf)
}

func (r *recorder) arch(token uint32) { r.add(2, uint64(token)) }

func (r *recorder) rule(rule rule) {
	r.add(3, uint64(uint32(rule.call)), uint64(rule.action), uint64(len(rule.conds)))
	for _, c := range rule.conds {
		r.add(4, uint64(c.Argument), uint64(c.Op), c.Operand1, c.Operand2)
	}
}

// key is of the records so far and the attributes that shape a program. More
// may be recorded afterwards.
func (f *ScmpFilter) key() (key [32]byte, err error) {
	// hash.Hash.Sum leaves the state as it is, but the attributes may change
	// and are not to stay: they go into a second digest over the first.
	inner := f.log.digest.Sum(nil)
	outer := sha256.New()
	outer.Write(inner)
	for _, attr := range [...]uint32{
		C.SCMP_FLTATR_ACT_DEFAULT, C.SCMP_FLTATR_ACT_BADARCH, C.SCMP_FLTATR_API_TSKIP, C.SCMP_FLTATR_CTL_OPTIMIZE,
	} {
		var value C.uint32_t
		if err := failure(C.seccomp_attr_get(f.ctx, attr, &value)); err != nil {
			return key, fmt.Errorf("cannot get attribute %d of a seccomp filter: %w", attr, err)
		}
		outer.Write(binary.LittleEndian.AppendUint32(nil, uint32(value)))
	}
	outer.Sum(key[:0])
	return key, nil
}

// ExportBPF writes the filter's program, an array of struct sock_filter in the
// byte order of the host, to file.
func (f *ScmpFilter) ExportBPF(file *os.File) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		return errNoFilter
	}
	program, err := f.program()
	if err != nil {
		return err
	}
	if _, err := file.Write(program); err != nil {
		return fmt.Errorf("cannot write seccomp program: %w", err)
	}
	return nil
}

// program finds the compiled filter, or compiles it.
func (f *ScmpFilter) program() ([]byte, error) {
	if Lookup == nil && Store == nil {
		return f.compile()
	}
	key, err := f.key()
	if err != nil {
		return nil, err
	}
	if Lookup != nil {
		if p := Lookup(key); len(p) > 0 && len(p)%instruction == 0 && len(p) <= maxProgram {
			return p, nil
		}
	}
	p, err := f.compile()
	if err == nil && Store != nil {
		err = Store(key, p)
	}
	return p, err
}

// compile has libseccomp make the program. Before version 2.6 it can only
// write it to a descriptor.
func (f *ScmpFilter) compile() ([]byte, error) {
	if err := f.replay(); err != nil {
		return nil, err
	}
	fd, err := C.scratch()
	if fd < 0 {
		return nil, fmt.Errorf("cannot make a memfd for a seccomp program: %w", err)
	}
	defer syscall.Close(int(fd))
	if err := failure(C.seccomp_export_bpf(f.ctx, fd)); err != nil {
		return nil, fmt.Errorf("cannot compile seccomp filter: %w", err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(fd), &st); err != nil {
		return nil, fmt.Errorf("cannot stat the memfd of a seccomp program: %w", err)
	}
	if st.Size == 0 || st.Size%instruction != 0 || st.Size > maxProgram {
		return nil, fmt.Errorf("libseccomp made a program of %d bytes", st.Size)
	}
	program := make([]byte, st.Size)
	n, err := syscall.Pread(int(fd), program, 0)
	if err == nil && n != len(program) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read back a seccomp program: %w", err)
	}
	return program, nil
}
