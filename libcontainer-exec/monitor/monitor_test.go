// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"PATH=/bin", "A=1", "AB=2"}, []string{"A=3", "NEW=x=y", "AB", "NEVER", "EMPTY="})
	if diff := cmp.Diff([]string{"PATH=/bin", "A=3", "NEW=x=y", "EMPTY="}, got); diff != "" {
		t.Error(diff)
	}
}

func TestMounts(t *testing.T) {
	source := t.TempDir()
	made := filepath.Join(source, "made")
	got, err := mounts(&protocol.Container{Mounts: []protocol.Mount{
		{Type: "bind", Source: made, Target: "/data/sub/", MakeSource: true},
		{Type: "bind", Source: source, Target: "/data"},
		{Type: "tmpfs", Target: "/dev/shm", Options: []string{"size=1m"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range got {
		order = append(order, m.Type+" "+m.Destination)
	}
	want := []string{
		"proc /proc", "tmpfs /dev", "devpts /dev/pts", "sysfs /sys", "cgroup /sys/fs/cgroup", "mqueue /dev/mqueue",
		"bind /data", "bind /data/sub", "tmpfs /dev/shm",
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(made); err != nil || !info.IsDir() {
		t.Errorf("the source to be made: %v", err)
	}
	for _, bad := range []protocol.Mount{
		{Type: "bind", Source: source, Target: "/x", Propagation: "remount"}, {Type: "bind", Target: "relative"}, {Type: "bind", Target: "/x/.."}, {Type: "nfs", Target: "/x"}, {Type: "bind", Source: "/nosuch", Target: "/x"},
	} {
		if _, err := mounts(&protocol.Container{Mounts: []protocol.Mount{bad}}); !isKind(err, protocol.KindInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func isKind(err error, kind protocol.Kind) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.kind == kind
}

// root makes a container's root with a link out of it in each place that is read.
func root(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"accounts/passwd": "root:x:0:0:root:/root:/bin/sh\nme:x:1000:100::/home/me:/bin/sh\n",
		"accounts/group":  "root:x:0:\nusers:x:100:\nwheel:x:10:me\n",
		"bin/program":     "", "bin/data": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Chmod(filepath.Join(dir, "bin/program"), 0o755),
		os.Mkdir(filepath.Join(dir, "etc"), 0o755),
		// Absolute, and above the root: both must stay inside.
		os.Symlink("/accounts/passwd", filepath.Join(dir, "etc/passwd")),
		os.Symlink("../../../../accounts/group", filepath.Join(dir, "etc/group")),
		os.Symlink(filepath.Join(dir, "bin/program"), filepath.Join(dir, "bin/outside")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLookupUser(t *testing.T) {
	dir := root(t)
	for _, tc := range []struct {
		spec  string
		extra []string
		want  specs.User
		err   string
	}{
		{spec: "", want: specs.User{AdditionalGids: []uint32{0}}},
		{spec: "me", want: specs.User{UID: 1000, GID: 100, AdditionalGids: []uint32{100, 10}}},
		{spec: "1000", extra: []string{"wheel", "77"}, want: specs.User{UID: 1000, GID: 100, AdditionalGids: []uint32{100, 10, 77}}},
		{spec: "5:6", want: specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{6}}},
		{spec: "me:wheel", want: specs.User{UID: 1000, GID: 10, AdditionalGids: []uint32{10}}},
		{spec: "nosuch", err: "unable to find user nosuch: no matching entries in passwd file"},
		{spec: "me:nosuch", err: "unable to find group nosuch: no matching entries in group file"},
		{spec: "me", extra: []string{"nosuch"}, err: "unable to find group nosuch: no matching entries in group file"},
	} {
		got, err := lookupUser(dir, tc.spec, tc.extra)
		if tc.err != "" {
			if err == nil || err.Error() != tc.err {
				t.Errorf("%q %q: %v", tc.spec, tc.extra, err)
			}
		} else if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", tc.spec, err, diff)
		}
	}
}

func TestReadInRoot(t *testing.T) {
	dir := root(t)
	if p, err := readInRoot(dir, "etc/passwd"); err != nil || !strings.HasPrefix(string(p), "root:") {
		t.Errorf("a file behind a link: %q, %v", p, err)
	}
	fifo := filepath.Join(dir, "etc/fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	// To open it is to be seen by who holds the other end, or by a driver.
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, fifo, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	if _, err := readInRoot(dir, "etc/fifo"); err == nil {
		t.Error("a fifo was read")
	}
	if n, err := unix.Read(watch, make([]byte, 4096)); n > 0 {
		t.Errorf("a fifo was opened: %v", err)
	}
	if p, err := readInRoot(dir, "etc/nosuch"); p != nil || err != nil {
		t.Errorf("a missing file: %q, %v", p, err)
	}
	if p, err := readInRoot(dir, "bin/outside"); p != nil || err != nil {
		t.Errorf("a link out of the root: %q, %v", p, err)
	}
}

func TestCommandKind(t *testing.T) {
	dir := root(t)
	for _, tc := range []struct {
		command, cwd string
		uid          uint32
		want         protocol.Kind
	}{
		{"nosuch", "/", 0, protocol.KindStart},
		{"/nosuch", "/", 0, protocol.KindStart},
		{"data", "/", 0, protocol.KindStart}, // passed by
		{"", "/", 0, protocol.KindStart},
		{"/bin/data", "/", 0, protocol.KindDenied},
		{"./data", "/bin", 0, protocol.KindDenied},
		{"/bin", "/", 0, protocol.KindDenied},
		{"program", "/", 7, protocol.KindInternal},
		{"outside", "/", 0, protocol.KindStart},
	} {
		p := &specs.Process{Args: []string{tc.command}, Cwd: tc.cwd, Env: []string{"PATH=/sbin:/bin"}, User: specs.User{UID: tc.uid}}
		if got := commandKind(dir, p); got != tc.want {
			t.Errorf("%s in %s: %q, want %q", tc.command, tc.cwd, got, tc.want)
		}
	}
}

func TestCapabilityList(t *testing.T) {
	available, err := availableCapabilities()
	if err != nil {
		t.Fatal(err)
	}
	if len(available) < len(defaultCapabilities) {
		t.Skip("RequireCapabilities: this process has too few")
	}
	for _, tc := range []struct {
		name string
		s    protocol.Security
		want []string
	}{
		{"default", protocol.Security{}, defaultCapabilities},
		{"drop all", protocol.Security{CapDrop: []string{"ALL"}}, nil},
		{"drop all, add one", protocol.Security{CapDrop: []string{"all"}, CapAdd: []string{"chown"}}, []string{"CAP_CHOWN"}},
		{"drop some", protocol.Security{CapDrop: append([]string{"CAP_MKNOD"}, defaultCapabilities[2:]...)}, []string{"CAP_AUDIT_WRITE", "CAP_CHOWN"}},
		{"add what is there", protocol.Security{CapAdd: []string{"CAP_KILL", "kill"}}, defaultCapabilities},
		{"privileged", protocol.Security{Privileged: true, CapDrop: []string{"ALL"}}, available},
		{"add all", protocol.Security{CapAdd: []string{"ALL"}}, available},
	} {
		got, err := capabilityList(tc.s)
		if diff := cmp.Diff(strings.Join(tc.want, " "), strings.Join(got, " ")); err != nil || diff != "" {
			t.Errorf("%s: %v %s", tc.name, err, diff)
		}
	}
	if _, err := capabilityList(protocol.Security{CapDrop: []string{"FLY"}}); !isKind(err, protocol.KindInvalid) {
		t.Errorf("unknown: %v", err)
	}
}
