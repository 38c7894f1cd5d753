// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"github.com/davit-engine/davit"
	"golang.org/x/sys/unix"
)

// forbidden is a filter that refuses uname(2) and nothing else: what no profile
// of the tests compiles to.
func forbidden() []byte {
	var p []byte
	for _, i := range []struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}{
		{0x20, 0, 0, 0}, // load the system call's number
		{0x15, 0, 1, unix.SYS_UNAME},
		{0x06, 0, 0, 0x0005_0001}, // EPERM
		{0x06, 0, 0, 0x7fff_0000}, // allow
	} {
		p = binary.NativeEndian.AppendUint16(p, i.code)
		p = append(p, i.jt, i.jf)
		p = binary.NativeEndian.AppendUint32(p, i.k)
	}
	return p
}

// TestFiltersAreKept lets starts and exec sessions find the filter that the
// first start with it has compiled: it is replaced by another, whose effect
// shows who has used it.
func TestFiltersAreKept(t *testing.T) {
	profile := host1(func(c *davit.HostConfig) {
		c.SecurityOpt = []string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`}
	})
	for _, tc := range []struct {
		name   string
		change func(*davit.Launch)
		files  int
	}{
		{"default", func(*davit.Launch) {}, 1},
		{"capability", host1(func(c *davit.HostConfig) { c.CapAdd = []string{"SYS_ADMIN"} }), 1},
		{"profile", profile, 1},
		{"privileged", host1(func(c *davit.HostConfig) { c.Privileged = true }), 0},
		{"unconfined", host1(func(c *davit.HostConfig) { c.SecurityOpt = []string{"seccomp=unconfined"} }), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHost(t)
			if r := h.run(h.launch("uname -s", tc.change)); r.out != "Linux\n" {
				t.Fatalf("the first start: %+v", r)
			}
			kept, err := filepath.Glob(filepath.Join(h.rt.opts.ExecRoot, seccompDir, "*", "*"))
			h.must(err)
			if len(kept) != tc.files {
				t.Fatalf("%d filters were kept, not %d", len(kept), tc.files)
			}
			want := "Linux\n"
			for _, path := range kept {
				want = "\n" // of busybox's uname when the kernel tells nothing
				content, err := os.ReadFile(path)
				h.must(err)
				// What precedes the program is its stub, after its length.
				length := 4 + binary.LittleEndian.Uint32(content)
				h.must(os.WriteFile(path, append(content[:length], forbidden()...), 0o600))
			}
			if r := h.run(h.launch("uname -s", tc.change)); r.out != want {
				t.Errorf("the second start has compiled its filter itself: %+v", r)
			}
			p := h.start(h.launch("sleep 60", tc.change))
			for _, path := range kept {
				h.must(os.Remove(path)) // as a new version of the monitor does
			}
			if out := h.exec(p, "uname", "-s"); out != want {
				t.Errorf("the exec session has not the filter of its container: %q", out)
			}
			h.must(p.Signal(t.Context(), 9, true))
			h.await(p)
		})
	}
}

// exec runs a command in the container and returns what it wrote.
func (h *host) exec(p davit.Process, command ...string) string {
	h.t.Helper()
	x, err := p.Exec(h.t.Context(), davit.Exec{Cmd: command, AttachStdout: true})
	h.must(err)
	var out buffer
	h.must(x.Attach(h.t.Context(), davit.Streams{Stdout: &out}, nil))
	_, err = x.Wait(h.t.Context())
	h.must(err)
	return out.String()
}

// TestFilterIsWhole compares the filter that the kernel has of a container whose
// start has compiled it with that of one that has found it, and with that of
// an exec session, by what they do to each system call.
func TestFilterIsWhole(t *testing.T) {
	h := newHost(t)
	loaded := func(pid int) []byte {
		p, err := filterOf(pid)
		h.must(err)
		return p
	}
	for name, change := range map[string]func(*davit.Launch){
		"default":           func(*davit.Launch) {},
		"no new privileges": host1(func(c *davit.HostConfig) { c.SecurityOpt = []string{"no-new-privileges"} }),
		"profile": host1(func(c *davit.HostConfig) {
			c.SecurityOpt = []string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			first := h.start(h.launch("sleep 60", change))
			compiled := loaded(first.Pid())
			second := h.start(h.launch("sleep 60", change))
			x, err := second.Exec(t.Context(), davit.Exec{Cmd: []string{"sleep", "60"}})
			h.must(err)
			for name, pid := range map[string]int{"the next start": second.Pid(), "an exec session": x.(*ExecProcess).Pid()} {
				found := loaded(pid)
				verdicts := map[int]int{}
				for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64} {
					for call := range uint32(1200) {
						for _, number := range []uint32{call, call | 1<<30} {
							want, got := decide(t, compiled, arch, number), decide(t, found, arch, number)
							if want != got {
								t.Errorf("%s: call %#x of architecture %#x: %#x, not %#x", name, number, arch, got, want)
							}
							verdicts[got]++
						}
					}
				}
				if len(verdicts) < 2 {
					t.Errorf("%s: all calls are answered with %#v", name, verdicts)
				}
			}
			for _, p := range []davit.Process{first, second} {
				h.must(p.Signal(t.Context(), 9, true))
				h.await(p)
			}
		})
	}
}

// decide runs a filter on a system call whose arguments are 0.
func decide(t *testing.T, program []byte, arch, call uint32) int {
	t.Helper()
	var a uint32
	for pc := 0; pc*8 < len(program); pc++ {
		i := program[8*pc:]
		op, k := binary.NativeEndian.Uint16(i), binary.NativeEndian.Uint32(i[4:])
		var holds bool
		switch op {
		case 0x20: // load
			a = 0
			switch k {
			case 0:
				a = call
			case 4:
				a = arch
			}
			continue
		case 0x54:
			a &= k
			continue
		case 0x05:
			pc += int(k)
			continue
		case 0x06:
			return int(k)
		case 0x15:
			holds = a == k
		case 0x25:
			holds = a > k
		case 0x35:
			holds = a >= k
		case 0x45:
			holds = a&k != 0
		default:
			t.Fatalf("unknown instruction %#x", op)
		}
		if holds {
			pc += int(i[2])
		} else {
			pc += int(i[3])
		}
	}
	t.Fatal("a filter ends without a verdict")
	return 0
}

// filterOf reads a process's only seccomp filter from the kernel (ptrace(2),
// PTRACE_SECCOMP_GET_FILTER).
func filterOf(pid int) ([]byte, error) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		return nil, os.NewSyscallError("ptrace", err)
	}
	defer func() { _ = unix.PtraceDetach(pid) }()
	if err := unix.PtraceInterrupt(pid); err != nil {
		return nil, os.NewSyscallError("ptrace", err)
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		return nil, os.NewSyscallError("wait4", err)
	}
	const getFilter = 0x420c
	filter := make([]byte, 1<<16*8)
	n, _, errno := unix.Syscall6(unix.SYS_PTRACE, getFilter, uintptr(pid), 0, uintptr(unsafe.Pointer(&filter[0])), 0, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("ptrace", errno)
	}
	return filter[:8*n], nil
}
