// SPDX-License-Identifier: Apache-2.0

package filtercache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/runc/libcontainer/configs"
	lcseccomp "github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

var errCompiled = errors.New("compiled, and not to be loaded")

// Compile makes the program of a whole configuration. libcontainer does so to
// load it into its own process, and is stopped in between.
func Compile(full *configs.Seccomp) (*Kept, error) {
	k := &Kept{}
	seccomp.Store = func(_ [sha256.Size]byte, program []byte) error {
		k.program = slices.Clone(program)
		return errCompiled
	}
	defer func() { seccomp.Store = nil }()
	if _, err := lcseccomp.InitSeccomp(full); !errors.Is(err, errCompiled) {
		return nil, fmt.Errorf("cannot compile the seccomp profile: %w", err)
	}
	var err error
	if k.Stub, err = stub(full); err != nil {
		return nil, fmt.Errorf("cannot shorten a seccomp profile: %w", err)
	}
	return k, nil
}

// Loadable returns the program as it is loaded for the container's processes,
// and the flags of seccomp(2) to load it with. Before what libseccomp compiled are
// rules like those that libcontainer puts there, see [stub].
func (k *Kept) Loadable() (program []byte, flags uint64, err error) {
	for _, call := range k.Stub.Syscalls {
		if call.Action == configs.Notify {
			flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		}
	}
	for _, flag := range k.Stub.Flags {
		switch flag {
		case specs.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		}
	}
	switch k.Stub.DefaultAction {
	case configs.Allow, configs.Log, configs.Trace: // these know what they let through
		return k.program, flags, nil
	}
	before, err := unknownCalls(k.Stub)
	if err != nil {
		return nil, 0, err
	}
	program = slices.Concat(before, k.program)
	if len(program) > maxProgram {
		return nil, 0, errors.New("the seccomp profile is too long for the kernel")
	}
	return program, flags, nil
}

// The instructions of a filter, linux/bpf_common.h, and what it is applied to,
// struct seccomp_data.
const (
	opLoad      = 0x20 // a word of the data
	opJump      = 0x05
	opJumpEqual = 0x15
	opJumpAbove = 0x25
	opJumpBits  = 0x45
	opReturn    = 0x06

	offsetCall         = 0
	offsetArchitecture = 4

	x32Bit = 1 << 30 // in the numbers of system calls
)

// assembly is a program that is being written.
type assembly []byte

func (a *assembly) add(op uint16, jumpTrue, jumpFalse uint8, k uint32) {
	*a = binary.NativeEndian.AppendUint16(*a, op)
	*a = append(*a, jumpTrue, jumpFalse)
	*a = binary.NativeEndian.AppendUint32(*a, k)
}

// refuseAbove answers ENOSYS to what is above the largest known number.
func (a *assembly) refuseAbove(largest uint32) {
	a.add(opJumpAbove, 0, 1, largest)
	a.add(opReturn, 0, 0, enosys)
}

const enosys = 0x00050000 | uint32(unix.ENOSYS) // SECCOMP_RET_ERRNO

// unknownCalls returns instructions that answer ENOSYS to the system calls that a
// profile cannot know, and go on to what follows them with all others: C libraries
// take ENOSYS, and not EPERM, for "try the older one".
func unknownCalls(config *configs.Seccomp) ([]byte, error) {
	sections, err := largestCalls(config)
	if err != nil {
		return nil, err
	}
	var program assembly
	for _, audit := range slices.Sorted(maps.Keys(sections)) {
		var body assembly
		body.add(opLoad, 0, 0, offsetCall)
		if audit == unix.AUDIT_ARCH_S390 || audit == unix.AUDIT_ARCH_S390X {
			// What the kernel does not know arrives there as setup(2), number 0.
			body.add(opJumpEqual, 0, 1, 0)
			body.add(opReturn, 0, 0, enosys)
		}
		plain, x32 := sections[audit].plain, sections[audit].x32
		if audit == unix.AUDIT_ARCH_X86_64 {
			body.add(opJumpBits, 2, 0, x32Bit) // over refuseAbove
			if plain == 0 {
				plain = x32Bit - 1
			}
			body.refuseAbove(plain)
			body.add(opJumpBits, 0, 2, x32Bit)
			if x32 == 0 {
				x32 = ^uint32(0)
			}
			body.refuseAbove(x32)
		} else {
			body.refuseAbove(plain)
		}
		program.add(opLoad, 0, 0, offsetArchitecture)
		program.add(opJumpEqual, 0, uint8(len(body)/instruction), audit)
		program = append(program, body...)
	}
	return program, nil
}

// largest are the largest numbers that a profile names of an architecture; 0 is
// none.
type largest struct{ plain, x32 uint32 }

func largestCalls(config *configs.Seccomp) (map[uint32]largest, error) {
	all, err := architectures(config)
	if err != nil {
		return nil, err
	}
	sections := map[uint32]largest{}
	for _, arch := range all {
		audit, known := auditArchitectures[arch]
		if !known {
			return nil, fmt.Errorf("unknown architecture %v in a seccomp profile", arch)
		}
		var most seccomp.ScmpSyscall
		for _, call := range config.Syscalls {
			if number, err := seccomp.GetSyscallFromNameByArch(call.Name, arch); err == nil && number > most {
				most = number
			}
		}
		if most == 0 {
			continue
		}
		section := sections[audit]
		if arch == seccomp.ArchX32 {
			section.x32 = uint32(most)
		} else {
			section.plain = uint32(most)
		}
		sections[audit] = section
	}
	return sections, nil
}

var auditArchitectures = map[seccomp.ScmpArch]uint32{
	seccomp.ArchX86: unix.AUDIT_ARCH_I386, seccomp.ArchAMD64: unix.AUDIT_ARCH_X86_64, seccomp.ArchX32: unix.AUDIT_ARCH_X86_64,
	seccomp.ArchARM: unix.AUDIT_ARCH_ARM, seccomp.ArchARM64: unix.AUDIT_ARCH_AARCH64,
	seccomp.ArchMIPS: unix.AUDIT_ARCH_MIPS, seccomp.ArchMIPS64: unix.AUDIT_ARCH_MIPS64, seccomp.ArchMIPS64N32: unix.AUDIT_ARCH_MIPS64N32,
	seccomp.ArchMIPSEL: unix.AUDIT_ARCH_MIPSEL, seccomp.ArchMIPSEL64: unix.AUDIT_ARCH_MIPSEL64, seccomp.ArchMIPSEL64N32: unix.AUDIT_ARCH_MIPSEL64N32,
	seccomp.ArchPPC: unix.AUDIT_ARCH_PPC, seccomp.ArchPPC64: unix.AUDIT_ARCH_PPC64, seccomp.ArchPPC64LE: unix.AUDIT_ARCH_PPC64LE,
	seccomp.ArchS390: unix.AUDIT_ARCH_S390, seccomp.ArchS390X: unix.AUDIT_ARCH_S390X,
	seccomp.ArchRISCV64: unix.AUDIT_ARCH_RISCV64, seccomp.ArchLOONGARCH64: unix.AUDIT_ARCH_LOONGARCH64,
}
