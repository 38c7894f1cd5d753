// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

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
				h.must(os.Chmod(path, 0o600))
				h.must(os.WriteFile(path, forbidden(), 0o600))
			}
			if r := h.run(h.launch("uname -s", tc.change)); r.out != want {
				t.Errorf("the second start has compiled its filter itself: %+v", r)
			}
			p := h.start(h.launch("sleep 60", tc.change))
			if out := h.exec(p, "uname", "-s"); out != want {
				t.Errorf("the exec session has compiled its filter itself: %q", out)
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
