// SPDX-License-Identifier: Apache-2.0

// Package seccomp is the part of the Go binding of libseccomp that runc's
// libcontainer calls, with one thing more: a compiled filter can be kept and
// found again.
//
// Compiling Docker's default profile takes libseccomp about 15 ms, every time
// that a container or an exec session starts, and gives the same 27 kB each
// time. Here the rules of a filter are recorded; [ScmpFilter.ExportBPF] asks
// [Lookup] for the program that belongs to exactly these rules, and only
// without an answer gives them to libseccomp. Everything else (names,
// architectures, attributes, which flags the kernel knows) is libseccomp's
// word, as ever. One difference follows: a rule that libseccomp refuses makes
// ExportBPF fail, not AddRule.
//
// See seccomp_init(3), seccomp_rule_add(3), seccomp_attr_set(3),
// seccomp_export_bpf(3).
package seccomp

/*
#cgo pkg-config: libseccomp
#include <seccomp.h>

#if SCMP_VER_MAJOR < 2 || (SCMP_VER_MAJOR == 2 && SCMP_VER_MINOR < 5)
#error "libseccomp 2.5 or newer is needed"
#endif
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
)

// ScmpAction is what happens to a system call. The high 16 bits are the value
// that [ScmpAction.SetReturnCode] sets.
type ScmpAction uint

// The actions (seccomp_init(3)).
const (
	ActInvalid ScmpAction = iota
	ActKillThread
	ActKillProcess
	ActTrap
	ActNotify
	ActErrno
	ActTrace
	ActAllow
	ActLog
)

// SetReturnCode returns a with a value for the caller (ActErrno: the errno) or
// for the tracer (ActTrace). Other actions have none and are returned as they
// are.
func (a ScmpAction) SetReturnCode(code int16) ScmpAction {
	switch kind := a & 0xffff; kind {
	case ActErrno, ActTrace:
		return kind | ScmpAction(uint16(code))<<16
	}
	return a
}

func (a ScmpAction) native() (C.uint32_t, error) {
	value := C.uint32_t(a >> 16 & 0xffff)
	switch a & 0xffff {
	case ActKillThread:
		return C.SCMP_ACT_KILL_THREAD, nil
	case ActKillProcess:
		return C.SCMP_ACT_KILL_PROCESS, nil
	case ActTrap:
		return C.SCMP_ACT_TRAP, nil
	case ActNotify:
		return C.SCMP_ACT_NOTIFY, nil
	case ActErrno:
		return 0x00050000 | value, nil // SCMP_ACT_ERRNO, a macro with an argument
	case ActTrace:
		return 0x7ff00000 | value, nil // SCMP_ACT_TRACE
	case ActAllow:
		return C.SCMP_ACT_ALLOW, nil
	case ActLog:
		return C.SCMP_ACT_LOG, nil
	}
	return 0, fmt.Errorf("unknown seccomp action %#x", uint(a))
}

// ScmpCompareOp compares an argument of a system call.
type ScmpCompareOp uint

// The comparisons. CompareMaskedEqual takes two values: the mask and what is
// left of the argument under it.
const (
	CompareInvalid ScmpCompareOp = iota
	CompareNotEqual
	CompareLess
	CompareLessOrEqual
	CompareEqual
	CompareGreaterEqual
	CompareGreater
	CompareMaskedEqual
)

// native relies on the constants having the order of enum scmp_compare.
func (op ScmpCompareOp) native() uint32 { return uint32(op) }

// ScmpCondition is a comparison of one argument of a system call.
type ScmpCondition struct {
	Argument           uint // 0 to 5
	Op                 ScmpCompareOp
	Operand1, Operand2 uint64
}

// MakeCondition returns a condition on argument arg, counted from 0, with one
// value, or two for CompareMaskedEqual; a second value of other comparisons is
// ignored by libseccomp.
func MakeCondition(arg uint, comparison ScmpCompareOp, values ...uint64) (ScmpCondition, error) {
	c := ScmpCondition{Argument: arg, Op: comparison}
	switch {
	case comparison < CompareNotEqual || comparison > CompareMaskedEqual:
		return ScmpCondition{}, fmt.Errorf("unknown comparison %d", comparison)
	case arg > 5:
		return ScmpCondition{}, fmt.Errorf("no argument %d: a system call has six, counted from 0", arg)
	case len(values) == 0 || len(values) > 2:
		return ScmpCondition{}, fmt.Errorf("a condition takes one or two values, not %d", len(values))
	}
	c.Operand1 = values[0]
	if len(values) == 2 {
		c.Operand2 = values[1]
	}
	return c, nil
}

var errNoFilter = errors.New("the filter was not made by NewFilter")

// ScmpFilter is a filter that is being put together. The zero value is none:
// its methods fail, but a setter that needs a newer library or kernel says
// that first, by [VersionError].
type ScmpFilter struct {
	mu      sync.Mutex
	ctx     C.scmp_filter_ctx
	log     recorder
	pending []rule // recorded and not given to libseccomp
}

type rule struct {
	call   ScmpSyscall
	action C.uint32_t
	conds  []ScmpCondition
}

// NewFilter returns a filter that does defaultAction to every system call that
// no rule matches.
func NewFilter(defaultAction ScmpAction) (*ScmpFilter, error) {
	action, err := defaultAction.native()
	if err != nil {
		return nil, err
	}
	ctx := C.seccomp_init(action)
	if ctx == nil {
		return nil, fmt.Errorf("cannot create a seccomp filter of default action %#x", uint32(action))
	}
	f := &ScmpFilter{ctx: ctx}
	f.log.begin(uint32(action))
	runtime.AddCleanup(f, func(ctx C.scmp_filter_ctx) { C.seccomp_release(ctx) }, ctx)
	return f, nil
}

// AddArch adds an architecture. One that is there already is no error.
func (f *ScmpFilter) AddArch(arch ScmpArch) error {
	token, err := arch.native()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		return errNoFilter
	}
	// An architecture gets only the rules that follow it.
	if err := f.replay(); err != nil {
		return err
	}
	if err := failure(C.seccomp_arch_add(f.ctx, token)); err != nil && err != syscall.EEXIST {
		return fmt.Errorf("cannot add architecture %s: %w", arch, err)
	}
	f.log.arch(uint32(token))
	return nil
}

// AddRule has the system call met with the action.
func (f *ScmpFilter) AddRule(call ScmpSyscall, action ScmpAction) error {
	return f.AddRuleConditional(call, action, nil)
}

// AddRuleConditional has the system call met with the action if all the
// conditions hold. Each argument may be in one condition only.
func (f *ScmpFilter) AddRuleConditional(call ScmpSyscall, action ScmpAction, conds []ScmpCondition) error {
	native, err := action.native()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		return errNoFilter
	}
	r := rule{call: call, action: native, conds: append([]ScmpCondition(nil), conds...)}
	f.pending = append(f.pending, r)
	f.log.rule(r)
	return nil
}

// replay gives the recorded rules to libseccomp.
func (f *ScmpFilter) replay() error {
	for len(f.pending) > 0 {
		r := f.pending[0]
		var args [6]C.struct_scmp_arg_cmp
		if len(r.conds) > len(args) {
			return fmt.Errorf("cannot add a rule for system call %d: it has %d conditions", r.call, len(r.conds))
		}
		for i, c := range r.conds {
			args[i] = C.struct_scmp_arg_cmp{
				arg: C.uint(c.Argument), op: c.Op.native(),
				datum_a: C.scmp_datum_t(c.Operand1), datum_b: C.scmp_datum_t(c.Operand2),
			}
		}
		rc := C.seccomp_rule_add_array(f.ctx, r.action, C.int(r.call), C.uint(len(r.conds)), &args[0])
		switch err := failure(rc); err {
		case nil:
		case syscall.EACCES:
			return fmt.Errorf("cannot add a rule for system call %d: its action is the default action: %w", r.call, err)
		case syscall.EINVAL:
			return fmt.Errorf("cannot add a rule for system call %d: two conditions on one argument, or an invalid one: %w", r.call, err)
		default:
			return fmt.Errorf("cannot add a rule for system call %d: %w", r.call, err)
		}
		f.pending = f.pending[1:]
	}
	return nil
}

// failure makes an error of libseccomp's negative errno.
func failure(rc C.int) error {
	if rc == 0 {
		return nil
	}
	return syscall.Errno(-rc)
}
