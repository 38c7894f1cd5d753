// SPDX-License-Identifier: Apache-2.0

package filtercache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/google/go-cmp/cmp"
	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

var program = bytes.Repeat([]byte{6, 0, 0, 0, 0, 0, 0, 0}, 9)

var full = &configs.Seccomp{
	DefaultAction: configs.Errno, Architectures: []string{"amd64", "x86"},
	Syscalls: []*configs.Syscall{{Name: "read", Action: configs.Allow}, {Name: "mkdir", Action: configs.Allow}, {Name: "close", Action: configs.Allow}},
}

func key(n int) string { return strings.Repeat(fmt.Sprintf("%02x", n), 32) }

func open(t *testing.T) *Cache {
	t.Helper()
	testutil.RequireRoot(t)
	c, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Cache) put(t *testing.T, n int) {
	t.Helper()
	if err := c.Put(key(n), &Kept{Stub: full, program: program}); err != nil {
		t.Fatal(err)
	}
}

// twin returns a duplicate that is inherited, as os/exec makes them.
func twin(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func closesOnExec(t *testing.T, fd int) {
	t.Helper()
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("descriptor %d has flags %#x, %v: the container's program would inherit it", fd, flags, err)
	}
}

// TestCache lets a filter take the way from its making to an init.
func TestCache(t *testing.T) {
	t.Cleanup(func() { seccomp.Lookup = nil })
	c := open(t)
	if c.Find(key(1)) != nil {
		t.Error("an empty cache has a filter")
	}
	made, err := Compile(full)
	if err != nil {
		t.Fatal(err)
	}
	if seccomp.Store != nil {
		t.Error("what is compiled next does not reach the kernel")
	}
	if err := c.Put(key(1), made); err != nil {
		t.Fatal(err)
	}
	kept := c.Find(key(1))
	if kept == nil {
		t.Fatal("the filter was not kept")
	}
	given, err := Give(kept)
	if err != nil {
		t.Fatal(err)
	}
	defer given.File.Close()
	if n, err := given.File.WriteAt([]byte("x"), 0); err == nil {
		t.Errorf("%d bytes were written over a filter", n)
	}
	fd := twin(t, given.File)
	if err := load(fd); err != nil {
		t.Fatal(err)
	}
	closesOnExec(t, fd)
	if got := seccomp.Lookup([32]byte{2}); len(got) == 0 || !bytes.Equal(got, made.program) {
		t.Errorf("init has %x", got)
	}
}

// TestPromiseKept lets no init go on that was promised a filter and has none:
// its rules are a stub.
func TestPromiseKept(t *testing.T) {
	t.Cleanup(func() { seccomp.Lookup = nil })
	for _, content := range [][]byte{nil, make([]byte, 7), make([]byte, maxProgram+8)} {
		f, err := linux.Memfile("test", content)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := load(twin(t, f)); err == nil {
			t.Errorf("%d bytes are taken for a filter", len(content))
		}
	}
	if err := load(1 << 20); err == nil {
		t.Error("an init without the descriptor goes on")
	}
	if err := Load("davit-monitor"); err != nil || seccomp.Lookup != nil {
		t.Errorf("an init that was promised nothing: %v, %v", err, seccomp.Lookup != nil)
	}
}

// TestCacheOfOthers does not trust what others can write, nor what is torn.
func TestCacheOfOthers(t *testing.T) {
	c := open(t)
	c.put(t, 1)
	path := filepath.Join(c.dir, key(1))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range [][]byte{nil, content[:3], content[:50], content[:len(content)-1], content[:len(content)-len(program)], binary.LittleEndian.AppendUint32(nil, 1<<31)} {
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if c.Find(key(1)) != nil {
			t.Errorf("%d bytes of %d are taken for a filter", len(torn), len(content))
		}
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "..", "../" + key(1), key(2)} {
		if c.Find(bad) != nil {
			t.Errorf("%q finds a filter", bad)
		}
	}
	if c.Find(key(1)) == nil {
		t.Error("the whole one is not found")
	}
	if err := os.Chmod(c.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if c.Find(key(1)) != nil {
		t.Error("a filter was taken from a directory that anybody can write")
	}
}

// TestOtherVersions go when this one comes.
func TestOtherVersions(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "0123456789abcdef")
	for range 2 {
		if err := os.MkdirAll(filepath.Join(old, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("an old version that came later is touched: %v, %v", left, err)
	}
	if err := os.Remove(filepath.Join(dir, version())); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != version() {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestCacheIsBounded keeps the filters that were made last.
func TestCacheIsBounded(t *testing.T) {
	c := open(t)
	for i := range maxFilters + 3 {
		c.put(t, i)
		age := time.Now().Add(time.Duration(i-100) * time.Second)
		if err := os.Chtimes(filepath.Join(c.dir, key(i)), age, age); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxFilters + 3 {
		if kept := c.Find(key(i)) != nil; kept != (i >= 3) {
			t.Errorf("filter %d is kept: %v", i, kept)
		}
	}
}

// TestStub compares what libcontainer computes from a stub with what it would
// from the whole: the largest number of each architecture.
func TestStub(t *testing.T) {
	profile, err := profiles.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if err != nil {
		t.Fatal(err)
	}
	standard, err := specconv.SetupSeccomp(profile)
	if err != nil {
		t.Fatal(err)
	}
	notifying := *full
	notifying.Syscalls = append([]*configs.Syscall{{Name: "getpid", Action: configs.Notify}}, notifying.Syscalls...)
	unknown := &configs.Seccomp{DefaultAction: configs.Errno, Syscalls: []*configs.Syscall{{Name: "no_such_call", Action: configs.Allow}}}
	for name, whole := range map[string]*configs.Seccomp{
		"default": standard, "small": full, "notifying": &notifying, "unknown": unknown, "empty": {DefaultAction: configs.Allow},
	} {
		part, err := stub(whole)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(largestOf(t, whole), largestOf(t, part)); diff != "" {
			t.Errorf("%s (-whole +stub):\n%s", name, diff)
		}
		if len(part.Syscalls) > 4 {
			t.Errorf("%s: %d rules stay", name, len(part.Syscalls))
		}
		same := *part
		same.Syscalls = whole.Syscalls
		if diff := cmp.Diff(whole, &same); diff != "" {
			t.Errorf("%s, beside the rules:\n%s", name, diff)
		}
		if notifies(whole) != notifies(part) {
			t.Errorf("%s: the rule that notifies is gone", name)
		}
	}
}

func notifies(s *configs.Seccomp) bool {
	for _, call := range s.Syscalls {
		if call.Action == configs.Notify {
			return true
		}
	}
	return false
}

func largestOf(t *testing.T, s *configs.Seccomp) map[string]int {
	t.Helper()
	numbers := map[string]int{}
	for _, name := range append([]string{"amd64"}, s.Architectures...) {
		arch, err := seccomp.GetArchFromString(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range s.Syscalls {
			if n, err := seccomp.GetSyscallFromNameByArch(call.Name, arch); err == nil {
				numbers[name] = max(numbers[name], int(n))
			}
		}
	}
	return numbers
}
