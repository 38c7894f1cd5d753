// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

type memory map[[32]byte][]byte

// cached has the package keep programs in m until the test ends.
func cached(t *testing.T, m memory) (hits *int) {
	t.Helper()
	hits = new(int)
	Lookup = func(key [32]byte) []byte {
		if m[key] != nil {
			*hits++
		}
		return m[key]
	}
	Store = func(key [32]byte, program []byte) error { m[key] = bytes.Clone(program); return nil }
	t.Cleanup(func() { Lookup, Store = nil, nil })
	return hits
}

func export(t *testing.T, f *ScmpFilter) []byte {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "bpf"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := f.ExportBPF(file); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if len(program) == 0 || len(program)%8 != 0 {
		t.Fatalf("program of %d bytes", len(program))
	}
	return program
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newFilter(t *testing.T, calls ...string) *ScmpFilter {
	t.Helper()
	f := must(NewFilter(ActErrno.SetReturnCode(1)))
	for _, name := range calls {
		if err := f.AddRule(must(GetSyscallFromName(name)), ActAllow); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestHitIsTheSameProgram(t *testing.T) {
	m := memory{}
	hits := cached(t, m)
	first := export(t, newFilter(t, "read", "write"))
	if *hits != 0 || len(m) != 1 {
		t.Fatalf("%d hits, %d stored", *hits, len(m))
	}
	again := newFilter(t, "read", "write")
	if !bytes.Equal(first, export(t, again)) || *hits != 1 {
		t.Errorf("%d hits", *hits)
	}
	if !bytes.Equal(first, export(t, again)) || *hits != 2 {
		t.Errorf("second export of one filter: %d hits", *hits)
	}
	// A filter that goes on after a hit still has its first rules.
	if err := again.AddRule(must(GetSyscallFromName("close")), ActAllow); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(export(t, again), export(t, newFilter(t, "read", "write", "close"))) || *hits != 3 {
		t.Errorf("rule after a hit: %d hits", *hits)
	}
}

// Whatever changes a program changes the key.
func TestKey(t *testing.T) {
	read := must(GetSyscallFromName("read"))
	cond := func(arg uint, op ScmpCompareOp, values ...uint64) []ScmpCondition {
		return []ScmpCondition{must(MakeCondition(arg, op, values...))}
	}
	variants := map[string]func(f *ScmpFilter) error{
		"nothing":   func(*ScmpFilter) error { return nil },
		"rule":      func(f *ScmpFilter) error { return f.AddRule(read, ActAllow) },
		"action":    func(f *ScmpFilter) error { return f.AddRule(read, ActTrap) },
		"errno":     func(f *ScmpFilter) error { return f.AddRule(read, ActErrno.SetReturnCode(2)) },
		"call":      func(f *ScmpFilter) error { return f.AddRule(read+1, ActAllow) },
		"condition": func(f *ScmpFilter) error { return f.AddRuleConditional(read, ActAllow, cond(0, CompareEqual, 1)) },
		"argument":  func(f *ScmpFilter) error { return f.AddRuleConditional(read, ActAllow, cond(1, CompareEqual, 1)) },
		"operator":  func(f *ScmpFilter) error { return f.AddRuleConditional(read, ActAllow, cond(0, CompareNotEqual, 1)) },
		"value":     func(f *ScmpFilter) error { return f.AddRuleConditional(read, ActAllow, cond(0, CompareEqual, 2)) },
		"mask": func(f *ScmpFilter) error {
			return f.AddRuleConditional(read, ActAllow, cond(0, CompareMaskedEqual, 2, 2))
		},
		"other mask": func(f *ScmpFilter) error {
			return f.AddRuleConditional(read, ActAllow, cond(0, CompareMaskedEqual, 2, 0))
		},
		"optimization":  func(f *ScmpFilter) error { return f.SetOptimize(2) },
		"architecture":  func(f *ScmpFilter) error { return f.AddArch(ArchX86) },
		"architectures": func(f *ScmpFilter) error { return errors.Join(f.AddArch(ArchX86), f.AddArch(ArchX32)) },
	}
	if arch := must(GetNativeArch()); arch != ArchAMD64 {
		delete(variants, "architecture")
		delete(variants, "architectures")
	}
	seen := map[[32]byte]string{}
	for name, change := range variants {
		for _, action := range []ScmpAction{ActErrno.SetReturnCode(1), ActErrno, ActKillProcess} {
			f := must(NewFilter(action))
			if err := change(f); err != nil {
				t.Fatal(name, err)
			}
			key := must(f.key())
			if other, ok := seen[key]; ok {
				t.Errorf("%q and %q have one key", name, other)
			}
			seen[key] = name
			if again := must(f.key()); again != key {
				t.Errorf("%q: the key changes", name)
			}
		}
	}
	// What does not shape the program does not change the key.
	f := newFilter(t, "read")
	key := must(f.key())
	if err := errors.Join(f.SetNoNewPrivsBit(false), f.SetLogBit(true)); err != nil {
		t.Fatal(err)
	}
	if must(f.key()) != key {
		t.Error("flags of loading change the key")
	}
}

func TestUselessAnswerOfTheCacheIsAMiss(t *testing.T) {
	want := export(t, newFilter(t, "read"))
	for _, answer := range [][]byte{nil, {}, []byte("short"), make([]byte, maxProgram+8)} {
		Lookup = func([32]byte) []byte { return answer }
		if !bytes.Equal(want, export(t, newFilter(t, "read"))) {
			t.Errorf("an answer of %d bytes was used", len(answer))
		}
		Lookup = nil
	}
}

func TestBadRuleFailsAtExportAndIsNotStored(t *testing.T) {
	m := memory{}
	cached(t, m)
	twice := []ScmpCondition{must(MakeCondition(0, CompareEqual, 1)), must(MakeCondition(0, CompareEqual, 2))}
	tests := map[string]struct {
		add  func(f *ScmpFilter) error
		want error
	}{
		"default action": {func(f *ScmpFilter) error { return f.AddRule(0, ActErrno.SetReturnCode(1)) }, syscall.EACCES},
		"argument twice": {func(f *ScmpFilter) error { return f.AddRuleConditional(0, ActAllow, twice) }, syscall.EINVAL},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFilter(t, "write")
			if err := tt.add(f); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := f.ExportBPF(os.Stderr); !errors.Is(err, tt.want) {
					t.Errorf("error is %v, want %v", err, tt.want)
				}
			}
		})
	}
	if len(m) != 0 {
		t.Errorf("%d programs stored", len(m))
	}
}

func TestRefusedAtOnce(t *testing.T) {
	f := newFilter(t)
	_, badDefault := NewFilter(ActInvalid)
	_, badName := GetArchFromString("pdp11")
	_, badArch := GetSyscallFromNameByArch("read", ArchInvalid)
	_, badOp := MakeCondition(0, CompareInvalid, 1)
	_, badArg := MakeCondition(6, CompareEqual, 1)
	_, noValue := MakeCondition(0, CompareEqual)
	for name, err := range map[string]error{
		"default action": badDefault, "architecture's name": badName, "architecture": badArch,
		"operator": badOp, "argument": badArg, "no value": noValue,
		"action": f.AddRule(0, 99), "added architecture": f.AddArch(99), "filter": new(ScmpFilter).AddRule(0, ActAllow),
		"export": new(ScmpFilter).ExportBPF(os.Stderr),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := GetSyscallFromName("no_such_call"); !errors.Is(err, ErrSyscallDoesNotExist) {
		t.Errorf("error is %v", err)
	}
	if _, err := GetSyscallFromName("read\x00x"); !errors.Is(err, ErrSyscallDoesNotExist) {
		t.Errorf("error is %v", err)
	}
}

// runc asks the zero filter which flags it may offer.
func TestVersionErrorOfTheZeroFilter(t *testing.T) {
	api := must(GetAPI())
	var tooOld *VersionError
	for _, tt := range []struct {
		set func(*ScmpFilter, bool) error
		min uint
	}{{(*ScmpFilter).SetLogBit, 3}, {(*ScmpFilter).SetSSB, 4}, {(*ScmpFilter).SetWaitKill, 7}} {
		err := tt.set(new(ScmpFilter), true)
		if err == nil || errors.As(err, &tooOld) != (api < tt.min) {
			t.Errorf("at API level %d, wanted %d: %v", api, tt.min, err)
		}
	}
}

func TestAttributes(t *testing.T) {
	f := newFilter(t)
	if on := must(f.GetNoNewPrivsBit()); !on {
		t.Error("no_new_privs is off by default")
	}
	for name, bit := range map[string]struct {
		set func(bool) error
		get func() (bool, error)
	}{
		"nnp": {f.SetNoNewPrivsBit, f.GetNoNewPrivsBit},
		"log": {f.SetLogBit, f.GetLogBit},
		"ssb": {f.SetSSB, f.GetSSB},
	} {
		for _, on := range []bool{true, false, true} {
			if err := bit.set(on); err != nil {
				t.Fatal(name, err)
			}
			if got := must(bit.get()); got != on {
				t.Errorf("%s is %v", name, got)
			}
		}
	}
	major, minor, _ := GetLibraryVersion()
	if major < 2 || major == 2 && minor < 5 {
		t.Errorf("version %d.%d", major, minor)
	}
}

func TestReturnCode(t *testing.T) {
	if a := ActErrno.SetReturnCode(1).SetReturnCode(-1); a != ActErrno|0xffff<<16 {
		t.Errorf("%#x", uint(a))
	}
	if a := ActAllow.SetReturnCode(5); a != ActAllow {
		t.Errorf("%#x", uint(a))
	}
}
