// SPDX-License-Identifier: Apache-2.0

package seccomp

/*
#include <stdlib.h>
#include <seccomp.h>

// Newer than the oldest supported header (linux/audit.h, linux/elf-em.h).
#ifndef SCMP_ARCH_RISCV64
#define SCMP_ARCH_RISCV64 (243|0x80000000|0x40000000)
#endif
#ifndef SCMP_ARCH_LOONGARCH64
#define SCMP_ARCH_LOONGARCH64 (258|0x80000000|0x40000000)
#endif

static unsigned int library_version(void)
{
	const struct scmp_version *v = seccomp_version();
	return v ? v->major << 16 | v->minor << 8 | v->micro : 0;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// ScmpArch is an architecture, or one of the ways to call a kernel of one.
type ScmpArch uint

// The architectures that runc has a name for.
const (
	ArchInvalid ScmpArch = iota
	ArchNative           // what the library was built for
	ArchX86
	ArchAMD64
	ArchX32
	ArchARM
	ArchARM64
	ArchMIPS
	ArchMIPS64
	ArchMIPS64N32
	ArchMIPSEL
	ArchMIPSEL64
	ArchMIPSEL64N32
	ArchPPC
	ArchPPC64
	ArchPPC64LE
	ArchS390
	ArchS390X
	ArchRISCV64
	ArchLOONGARCH64
)

// archs has, by ScmpArch, the name and libseccomp's token.
var archs = [...]struct {
	name  string
	token C.uint32_t
}{
	ArchNative:      {"native", C.SCMP_ARCH_NATIVE},
	ArchX86:         {"x86", C.SCMP_ARCH_X86},
	ArchAMD64:       {"amd64", C.SCMP_ARCH_X86_64},
	ArchX32:         {"x32", C.SCMP_ARCH_X32},
	ArchARM:         {"arm", C.SCMP_ARCH_ARM},
	ArchARM64:       {"arm64", C.SCMP_ARCH_AARCH64},
	ArchMIPS:        {"mips", C.SCMP_ARCH_MIPS},
	ArchMIPS64:      {"mips64", C.SCMP_ARCH_MIPS64},
	ArchMIPS64N32:   {"mips64n32", C.SCMP_ARCH_MIPS64N32},
	ArchMIPSEL:      {"mipsel", C.SCMP_ARCH_MIPSEL},
	ArchMIPSEL64:    {"mipsel64", C.SCMP_ARCH_MIPSEL64},
	ArchMIPSEL64N32: {"mipsel64n32", C.SCMP_ARCH_MIPSEL64N32},
	ArchPPC:         {"ppc", C.SCMP_ARCH_PPC},
	ArchPPC64:       {"ppc64", C.SCMP_ARCH_PPC64},
	ArchPPC64LE:     {"ppc64le", C.SCMP_ARCH_PPC64LE},
	ArchS390:        {"s390", C.SCMP_ARCH_S390},
	ArchS390X:       {"s390x", C.SCMP_ARCH_S390X},
	ArchRISCV64:     {"riscv64", C.SCMP_ARCH_RISCV64},
	ArchLOONGARCH64: {"loong64", C.SCMP_ARCH_LOONGARCH64},
}

// String returns the name that [GetArchFromString] takes.
func (a ScmpArch) String() string {
	if a == ArchInvalid || int(a) >= len(archs) {
		return "invalid"
	}
	return archs[a].name
}

func (a ScmpArch) native() (C.uint32_t, error) {
	if a == ArchInvalid || int(a) >= len(archs) {
		return 0, fmt.Errorf("unknown architecture %d", uint(a))
	}
	return archs[a].token, nil
}

// GetArchFromString returns the architecture of a name, in any case. The
// native architecture has no name here.
func GetArchFromString(arch string) (ScmpArch, error) {
	name := strings.ToLower(arch)
	switch name {
	case "x86-64", "x86_64", "x64":
		name = "amd64"
	case "aarch64":
		name = "arm64"
	case "loongarch64":
		name = "loong64"
	}
	for a := ArchX86; int(a) < len(archs); a++ {
		if archs[a].name == name {
			return a, nil
		}
	}
	return ArchInvalid, fmt.Errorf("unknown architecture %q", arch)
}

// GetNativeArch returns the architecture that this process runs on.
func GetNativeArch() (ScmpArch, error) {
	token := C.seccomp_arch_native()
	for a := ArchX86; int(a) < len(archs); a++ {
		if archs[a].token == token {
			return a, nil
		}
	}
	return ArchInvalid, fmt.Errorf("unknown native architecture %#x", uint32(token))
}

// ScmpSyscall is the number of a system call on the native architecture. A
// negative one is libseccomp's own, for a call that the architecture lacks.
type ScmpSyscall int32

// ErrSyscallDoesNotExist says that libseccomp knows no system call of a name.
var ErrSyscallDoesNotExist = errors.New("no such system call")

// GetSyscallFromName returns the number of a system call.
func GetSyscallFromName(name string) (ScmpSyscall, error) {
	return resolve(name, C.SCMP_ARCH_NATIVE)
}

// GetSyscallFromNameByArch returns the number that a system call has on arch.
func GetSyscallFromNameByArch(name string, arch ScmpArch) (ScmpSyscall, error) {
	token, err := arch.native()
	if err != nil {
		return 0, err
	}
	return resolve(name, token)
}

func resolve(name string, token C.uint32_t) (ScmpSyscall, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return 0, ErrSyscallDoesNotExist // C would see the part before
	}
	s := C.CString(name)
	defer C.free(unsafe.Pointer(s))
	call := C.seccomp_syscall_resolve_name_arch(token, s)
	if call == C.__NR_SCMP_ERROR {
		return 0, ErrSyscallDoesNotExist
	}
	return ScmpSyscall(call), nil
}

// GetLibraryVersion returns the version of the libseccomp that runs.
func GetLibraryVersion() (major, minor, micro uint) {
	v := uint(C.library_version())
	return v >> 16, v >> 8 & 0xff, v & 0xff
}

// GetAPI returns the API level: what both the library and the kernel know
// (seccomp_api_get(3)). It never fails with the libraries supported here.
func GetAPI() (uint, error) { return uint(C.seccomp_api_get()), nil }
