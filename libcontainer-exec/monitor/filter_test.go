// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestNewFilter compiles a filter where none is kept, and where none can be: the
// container has it all the same, and so have its exec sessions.
func TestNewFilter(t *testing.T) {
	testutil.RequireRoot(t) // nothing that another can write is found
	profile := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "close"}, Action: specs.ActAllow}},
	}
	dir := t.TempDir()
	var programs [][]byte
	for _, where := range []string{dir, dir, "/proc/nowhere"} {
		f, err := newFilter(where, profile)
		if err != nil || f.kept == nil {
			t.Fatalf("%s: %v", where, err)
		}
		program, _, err := f.kept.Loadable()
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, program)
	}
	for i := range programs {
		if !bytes.Equal(programs[0], programs[i]) {
			t.Errorf("filter %d is not the first", i)
		}
	}
	if kept, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(kept) != 1 {
		t.Errorf("kept: %v, %v", kept, err)
	}
	if f, err := newFilter(dir, nil); err != nil || f.kept != nil {
		t.Errorf("no profile has a filter: %v", err)
	}
	profile.Syscalls[0].Action = "SCMP_ACT_FLY"
	if _, err := newFilter(dir, profile); err == nil {
		t.Error("an unknown action is taken")
	}
}
