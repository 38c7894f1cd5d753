// SPDX-License-Identifier: Apache-2.0

package seccomp

/*
#include <seccomp.h>

// An enumerator since 2.6.0; older libraries refuse the number.
#if SCMP_VER_MAJOR == 2 && SCMP_VER_MINOR < 6
#define SCMP_FLTATR_CTL_WAITKILL 10
#endif
*/
import "C"

import "fmt"

// VersionError says that the library or the kernel is too old for a setting.
type VersionError struct {
	op               string
	api, minAPI      uint
	major, minor, mi uint
}

// Error names the setting, what it needs and what there is.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s needs seccomp API level %d, here it is %d (libseccomp %d.%d.%d)",
		e.op, e.minAPI, e.api, e.major, e.minor, e.mi)
}

// attribute is one of seccomp_attr_set(3).
type attribute struct {
	name   string
	id     uint32
	minAPI uint // seccomp_api_get(3): the least that knows it
}

var (
	attrNNP      = attribute{"no_new_privs", C.SCMP_FLTATR_CTL_NNP, 1}
	attrLog      = attribute{"SECCOMP_FILTER_FLAG_LOG", C.SCMP_FLTATR_CTL_LOG, 3}
	attrSSB      = attribute{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", C.SCMP_FLTATR_CTL_SSB, 4}
	attrOptimize = attribute{"the binary tree", C.SCMP_FLTATR_CTL_OPTIMIZE, 4}
	attrWaitKill = attribute{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", C.SCMP_FLTATR_CTL_WAITKILL, 7}
)

// explain makes a VersionError of a failure that too old a version explains.
func (a attribute) explain(err error) error {
	api, _ := GetAPI()
	if err == nil || api >= a.minAPI {
		return err
	}
	e := &VersionError{op: a.name, api: api, minAPI: a.minAPI}
	e.major, e.minor, e.mi = GetLibraryVersion()
	return e
}

func (f *ScmpFilter) get(a attribute) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		return 0, a.explain(errNoFilter)
	}
	var value C.uint32_t
	err := failure(C.seccomp_attr_get(f.ctx, a.id, &value))
	if err != nil {
		return 0, a.explain(fmt.Errorf("cannot get %s: %w", a.name, err))
	}
	return uint32(value), nil
}

func (f *ScmpFilter) set(a attribute, value uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		return a.explain(errNoFilter)
	}
	err := failure(C.seccomp_attr_set(f.ctx, a.id, C.uint32_t(value)))
	if err != nil {
		return a.explain(fmt.Errorf("cannot set %s: %w", a.name, err))
	}
	return nil
}

func (f *ScmpFilter) getBit(a attribute) (bool, error) {
	value, err := f.get(a)
	return value != 0, err
}

func (f *ScmpFilter) setBit(a attribute, on bool) error {
	if on {
		return f.set(a, 1)
	}
	return f.set(a, 0)
}

// GetNoNewPrivsBit tells whether loading the filter sets no_new_privs.
func (f *ScmpFilter) GetNoNewPrivsBit() (bool, error) { return f.getBit(attrNNP) }

// SetNoNewPrivsBit says whether loading the filter sets no_new_privs.
func (f *ScmpFilter) SetNoNewPrivsBit(state bool) error { return f.setBit(attrNNP, state) }

// GetLogBit tells whether the kernel logs actions other than allow.
func (f *ScmpFilter) GetLogBit() (bool, error) { return f.getBit(attrLog) }

// SetLogBit says whether the kernel logs actions other than allow.
func (f *ScmpFilter) SetLogBit(state bool) error { return f.setBit(attrLog, state) }

// GetSSB tells whether the mitigation of speculative store bypass is left off.
func (f *ScmpFilter) GetSSB() (bool, error) { return f.getBit(attrSSB) }

// SetSSB says whether the mitigation of speculative store bypass is left off.
func (f *ScmpFilter) SetSSB(state bool) error { return f.setBit(attrSSB, state) }

// GetWaitKill tells whether a process that waits for a notification's answer
// is only interrupted by fatal signals.
func (f *ScmpFilter) GetWaitKill() (bool, error) { return f.getBit(attrWaitKill) }

// SetWaitKill says whether a process that waits for a notification's answer
// is only interrupted by fatal signals.
func (f *ScmpFilter) SetWaitKill(state bool) error { return f.setBit(attrWaitKill, state) }

// SetOptimize sets how the program searches for a system call: 1 by priority
// and number, 2 by a binary tree.
func (f *ScmpFilter) SetOptimize(level int) error { return f.set(attrOptimize, uint32(level)) }
