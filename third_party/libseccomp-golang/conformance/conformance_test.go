// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	ours "davit.invalid/seccomp"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	upstream "github.com/seccomp/libseccomp-golang"
)

// filter is a filter in neither binding's terms.
type filter struct {
	action   action
	archs    []string
	optimize int
	rules    []rule
}

type action struct {
	kind string
	code int16
}

type rule struct {
	name   string
	action action
	conds  []specs.LinuxSeccompArg
}

// dockerDefault is the filter that runc makes of Docker's default profile.
func dockerDefault(t testing.TB, caps ...string) filter {
	t.Helper()
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
	profile, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		t.Fatal(err)
	}
	return ofProfile(profile)
}

func ofProfile(p *specs.LinuxSeccomp) filter {
	code := func(ret *uint) int16 {
		if ret == nil {
			return 1
		}
		return int16(*ret)
	}
	f := filter{action: action{string(p.DefaultAction), code(p.DefaultErrnoRet)}, optimize: 2}
	for _, arch := range p.Architectures {
		f.archs = append(f.archs, map[specs.Arch]string{
			specs.ArchX86: "x86", specs.ArchX86_64: "amd64", specs.ArchX32: "x32",
			specs.ArchARM: "arm", specs.ArchAARCH64: "arm64",
		}[arch])
	}
	for _, call := range p.Syscalls {
		for _, name := range call.Names {
			r := rule{name: name, action: action{string(call.Action), code(call.ErrnoRet)}}
			if !repeats(call.Args) {
				r.conds = call.Args
				f.rules = append(f.rules, r)
				continue
			}
			for _, arg := range call.Args {
				r.conds = []specs.LinuxSeccompArg{arg}
				f.rules = append(f.rules, r)
			}
		}
	}
	return f
}

func repeats(args []specs.LinuxSeccompArg) bool {
	seen := map[uint]bool{}
	for _, a := range args {
		if seen[a.Index] {
			return true
		}
		seen[a.Index] = true
	}
	return false
}

var ourActions = map[string]ours.ScmpAction{
	"SCMP_ACT_KILL": ours.ActKillThread, "SCMP_ACT_KILL_PROCESS": ours.ActKillProcess, "SCMP_ACT_TRAP": ours.ActTrap,
	"SCMP_ACT_ERRNO": ours.ActErrno, "SCMP_ACT_TRACE": ours.ActTrace, "SCMP_ACT_ALLOW": ours.ActAllow,
	"SCMP_ACT_LOG": ours.ActLog, "SCMP_ACT_NOTIFY": ours.ActNotify,
}

var upstreamActions = map[string]upstream.ScmpAction{
	"SCMP_ACT_KILL": upstream.ActKillThread, "SCMP_ACT_KILL_PROCESS": upstream.ActKillProcess, "SCMP_ACT_TRAP": upstream.ActTrap,
	"SCMP_ACT_ERRNO": upstream.ActErrno, "SCMP_ACT_TRACE": upstream.ActTrace, "SCMP_ACT_ALLOW": upstream.ActAllow,
	"SCMP_ACT_LOG": upstream.ActLog, "SCMP_ACT_NOTIFY": upstream.ActNotify,
}

var ourOps = map[specs.LinuxSeccompOperator]ours.ScmpCompareOp{
	specs.OpNotEqual: ours.CompareNotEqual, specs.OpLessThan: ours.CompareLess, specs.OpLessEqual: ours.CompareLessOrEqual,
	specs.OpEqualTo: ours.CompareEqual, specs.OpGreaterEqual: ours.CompareGreaterEqual, specs.OpGreaterThan: ours.CompareGreater,
	specs.OpMaskedEqual: ours.CompareMaskedEqual,
}

var upstreamOps = map[specs.LinuxSeccompOperator]upstream.ScmpCompareOp{
	specs.OpNotEqual: upstream.CompareNotEqual, specs.OpLessThan: upstream.CompareLess, specs.OpLessEqual: upstream.CompareLessOrEqual,
	specs.OpEqualTo: upstream.CompareEqual, specs.OpGreaterEqual: upstream.CompareGreaterEqual, specs.OpGreaterThan: upstream.CompareGreater,
	specs.OpMaskedEqual: upstream.CompareMaskedEqual,
}

// byOurs and byUpstream build the same filter in the order that runc does.
func byOurs(f filter) (*ours.ScmpFilter, error) {
	def := ourActions[f.action.kind].SetReturnCode(f.action.code)
	s, err := ours.NewFilter(def)
	if err != nil {
		return nil, err
	}
	for _, name := range f.archs {
		arch, err := ours.GetArchFromString(name)
		if err != nil {
			return nil, err
		}
		if err := s.AddArch(arch); err != nil {
			return nil, err
		}
	}
	if f.optimize != 0 {
		if err := s.SetOptimize(f.optimize); err != nil {
			return nil, err
		}
	}
	if err := s.SetNoNewPrivsBit(false); err != nil {
		return nil, err
	}
	for _, r := range f.rules {
		act := ourActions[r.action.kind].SetReturnCode(r.action.code)
		call, err := ours.GetSyscallFromName(r.name)
		if err != nil || act == def {
			continue
		}
		var conds []ours.ScmpCondition
		for _, a := range r.conds {
			c, err := ours.MakeCondition(a.Index, ourOps[a.Op], a.Value, a.ValueTwo)
			if err != nil {
				return nil, err
			}
			conds = append(conds, c)
		}
		if err := s.AddRuleConditional(call, act, conds); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func byUpstream(f filter) (*upstream.ScmpFilter, error) {
	def := upstreamActions[f.action.kind].SetReturnCode(f.action.code)
	s, err := upstream.NewFilter(def)
	if err != nil {
		return nil, err
	}
	for _, name := range f.archs {
		arch, err := upstream.GetArchFromString(name)
		if err != nil {
			return nil, err
		}
		if err := s.AddArch(arch); err != nil {
			return nil, err
		}
	}
	if f.optimize != 0 {
		if err := s.SetOptimize(f.optimize); err != nil {
			return nil, err
		}
	}
	if err := s.SetNoNewPrivsBit(false); err != nil {
		return nil, err
	}
	for _, r := range f.rules {
		act := upstreamActions[r.action.kind].SetReturnCode(r.action.code)
		call, err := upstream.GetSyscallFromName(r.name)
		if err != nil || act == def {
			continue
		}
		var conds []upstream.ScmpCondition
		for _, a := range r.conds {
			c, err := upstream.MakeCondition(a.Index, upstreamOps[a.Op], a.Value, a.ValueTwo)
			if err != nil {
				return nil, err
			}
			conds = append(conds, c)
		}
		if err := s.AddRuleConditional(call, act, conds); err != nil {
			return nil, err
		}
	}
	return s, nil
}

type exporter interface{ ExportBPF(*os.File) error }

// program is what f exports through s, or its error.
func program(t testing.TB, s exporter, err error) ([]byte, error) {
	t.Helper()
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "bpf"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := s.ExportBPF(file); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	p, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return p, nil
}

// generate makes a filter of random calls and conditions.
func generate(rng *rand.Rand, names []string) filter {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	act := func() action {
		return action{pick("SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE",
			"SCMP_ACT_ALLOW", "SCMP_ACT_LOG"), int16(rng.IntN(200))}
	}
	f := filter{action: act(), optimize: rng.IntN(3)}
	for _, arch := range []string{"x86", "amd64", "x32"} {
		if rng.IntN(2) == 0 {
			f.archs = append(f.archs, arch)
		}
	}
	ops := []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
	for range rng.IntN(120) {
		r := rule{name: names[rng.IntN(len(names))], action: act()}
		for _, arg := range rng.Perm(6)[:rng.IntN(4)] {
			r.conds = append(r.conds, specs.LinuxSeccompArg{
				Index: uint(arg), Op: ops[rng.IntN(len(ops))], Value: rng.Uint64() >> rng.IntN(64), ValueTwo: rng.Uint64() >> rng.IntN(64),
			})
		}
		f.rules = append(f.rules, r)
	}
	return f
}

func TestProgramsAreUpstreams(t *testing.T) {
	filters := map[string]filter{
		"docker's default":            dockerDefault(t, "CAP_CHOWN", "CAP_NET_RAW"),
		"docker's default, sys_admin": dockerDefault(t, "CAP_SYS_ADMIN", "CAP_BPF", "CAP_SYS_PTRACE"),
		"no rules":                    {action: action{kind: "SCMP_ACT_ALLOW"}},
		"notify": {action: action{kind: "SCMP_ACT_ALLOW"}, archs: []string{"amd64"},
			rules: []rule{{name: "mount", action: action{kind: "SCMP_ACT_NOTIFY"}}}},
	}
	var names []string
	for _, r := range filters["docker's default"].rules {
		names = append(names, r.name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	rng := rand.New(rand.NewPCG(2, 7))
	for n := range 60 {
		filters[fmt.Sprintf("generated %d", n)] = generate(rng, names)
	}
	compared := 0
	for name, f := range filters {
		want, wantErr := byUpstream(f)
		wantProgram, wantErr := program(t, want, wantErr)
		got, gotErr := byOurs(f)
		gotProgram, gotErr := program(t, got, gotErr)
		switch {
		case (wantErr == nil) != (gotErr == nil):
			t.Errorf("%s: upstream's error is %v, ours %v", name, wantErr, gotErr)
		case !bytes.Equal(wantProgram, gotProgram):
			t.Errorf("%s: upstream's program has %d bytes, ours %d, and they differ", name, len(wantProgram), len(gotProgram))
		case wantErr == nil:
			compared++
		}
	}
	if compared < 50 {
		t.Errorf("only %d programs compared", compared)
	}
	t.Logf("%d programs equal, %d filters refused by both", compared, len(filters)-compared)
}

func TestNamesAreUpstreams(t *testing.T) {
	for _, name := range []string{
		"x86", "amd64", "x86_64", "X86-64", "x32", "arm", "arm64", "aarch64", "mips", "mips64", "mips64n32", "mipsel", "mipsel64",
		"mipsel64n32", "ppc", "ppc64", "ppc64le", "s390", "s390x", "riscv64", "loong64", "vax", "",
	} {
		want, wantErr := upstream.GetArchFromString(name)
		got, gotErr := ours.GetArchFromString(name)
		if (wantErr == nil) != (gotErr == nil) {
			t.Errorf("%q: upstream's error is %v, ours %v", name, wantErr, gotErr)
		}
		if wantErr != nil {
			continue
		}
		for _, call := range []string{"read", "socketcall", "copy_file_range", "nonesuch", ""} {
			a, aErr := upstream.GetSyscallFromNameByArch(call, want)
			b, bErr := ours.GetSyscallFromNameByArch(call, got)
			if int(a) != int(b) && aErr == nil || (aErr == nil) != (bErr == nil) {
				t.Errorf("%s on %s: upstream %d %v, ours %d %v", call, name, a, aErr, b, bErr)
			}
		}
	}
	a, _ := upstream.GetNativeArch()
	b, _ := ours.GetNativeArch()
	if a.String() != b.String() {
		t.Errorf("native architecture: upstream %v, ours %v", a, b)
	}
	wantAPI, _ := upstream.GetAPI()
	gotAPI, _ := ours.GetAPI()
	if wantAPI != gotAPI {
		t.Errorf("API level: upstream %d, ours %d", wantAPI, gotAPI)
	}
}

func BenchmarkDockerDefault(b *testing.B) {
	f := dockerDefault(b, "CAP_CHOWN", "CAP_NET_RAW")
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	run := func(name string, build func() (exporter, error)) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s, err := build()
				if err != nil {
					b.Fatal(err)
				}
				if err := s.ExportBPF(null); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("upstream", func() (exporter, error) { return byUpstream(f) })
	run("miss", func() (exporter, error) { return byOurs(f) })
	m := map[[32]byte][]byte{}
	ours.Lookup = func(key [32]byte) []byte { return m[key] }
	ours.Store = func(key [32]byte, p []byte) error { m[key] = bytes.Clone(p); return nil }
	defer func() { ours.Lookup, ours.Store = nil, nil }()
	run("hit", func() (exporter, error) { return byOurs(f) })
}
