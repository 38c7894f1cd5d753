// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"os"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/davit-engine/davit/service"
	"github.com/google/go-cmp/cmp"
)

var _ service.Runtime = (*Runtime)(nil)

func TestDetacher(t *testing.T) {
	for _, tc := range []struct {
		name, keys string
		in         []string
		out        string
		found      bool
	}{
		{"no keys", "", []string{"abc"}, "abc", false},
		{"in one read", "xy", []string{"abxyc"}, "ab", true},
		{"over two reads", "xy", []string{"abx", "yc"}, "ab", true},
		{"a beginning only", "xy", []string{"abx", "c"}, "abxc", false},
		{"held at the end", "xy", []string{"abx"}, "ab", false},
		{"begins twice", "xy", []string{"xxy"}, "x", true},
		{"one key", "x", []string{"ax"}, "a", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := detacher{keys: []byte(tc.keys)}
			var got string
			var found bool
			for _, p := range tc.in {
				out, f := d.filter([]byte(p))
				got, found = got+string(out), f
			}
			if got != tc.out || found != tc.found {
				t.Errorf("got %q, %v; want %q, %v", got, found, tc.out, tc.found)
			}
		})
	}
}

func TestUnitName(t *testing.T) {
	if got := unitName("web", "/run/davit/"); got != "davit-web.service" {
		t.Errorf("the system's engine: %s", got)
	}
	a, b := unitName("web", "/x/run"), unitName("web", "/y/run")
	if a == b || !strings.HasPrefix(a, "davit-web-") || !strings.HasSuffix(a, ".service") {
		t.Errorf("other engines: %s, %s", a, b)
	}
	long := strings.Repeat("x", 300)
	for _, root := range []string{"/run/davit", "/x/run"} {
		a, b := unitName(long+"a", root), unitName(long+"b", root)
		if len(a) != maxUnit || a == b || !strings.HasSuffix(a, ".service") {
			t.Errorf("long names: %d bytes: %s, %s", len(a), a, b)
		}
	}
}

// TestUnitTaken gives a container whose name another's unit has a unit of its
// own, and remembers it for the next daemon.
func TestUnitTaken(t *testing.T) {
	open := func(root string) *Runtime {
		t.Helper()
		rt, err := New(Options{ExecRoot: root, HolderPath: "/bin/sh", MonitorPath: "/bin/sh", EnterPath: "/bin/sh", Launcher: LauncherSystemd})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = rt.Close() })
		return rt
	}
	launched := func(rt *Runtime, c *davit.Container) {
		t.Helper()
		if err := os.MkdirAll(rt.dir(c.ID), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := rt.keepUnit(c.ID, rt.claimUnit(c)[0]); err != nil {
			t.Fatal(err)
		}
	}
	root := t.TempDir()
	rt := open(root)
	first := &davit.Container{ID: strings.Repeat("a1", 32), Name: "web"}
	second := &davit.Container{ID: strings.Repeat("b2", 32), Name: "web"}
	plain, spare := unitName("web", root), unitName("web-b2b2b2b2", root)
	if got := rt.Unit(second); got != plain {
		t.Errorf("before: %s", got)
	}
	launched(rt, first)
	first.Name = "old"
	if diff := cmp.Diff([]string{plain, spare}, []string{rt.Unit(first), rt.Unit(second)}); diff != "" {
		t.Error(diff)
	}
	launched(rt, second)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	rt = open(root)
	if diff := cmp.Diff([]string{plain, spare}, []string{rt.Unit(first), rt.Unit(second)}); diff != "" {
		t.Errorf("the next daemon: %s", diff)
	}
	for _, c := range []*davit.Container{first, second} {
		if err := rt.Forget(c.ID); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{unitName("old", root), plain}, []string{rt.Unit(first), rt.Unit(second)}); diff != "" {
		t.Errorf("after their ends: %s", diff)
	}
	launched(rt, second)
	if got := rt.claimUnit(second); got[0] != plain || got[1] != spare {
		t.Errorf("again: %v", got)
	}
}

func TestHasArgument(t *testing.T) {
	commands := [][]any{{"/h", []string{"/h", "id"}, false}}
	for arg, want := range map[string]bool{"id": true, "i": false} {
		if hasArgument(commands, arg) != want {
			t.Errorf("hasArgument(%q) = %v", arg, !want)
		}
	}
	for _, none := range []any{nil, "", [][]any{}, [][]any{{"/h"}}, [][]any{{"/h", 5}}} {
		if hasArgument(none, "id") {
			t.Errorf("found in %v", none)
		}
	}
}

func TestCPUWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 1024: 39, 262144: 10000, 1 << 40: 10000} {
		if got := cpuWeight(shares); got != want {
			t.Errorf("cpuWeight(%d) = %d, want %d", shares, got, want)
		}
	}
}

func TestFilterPS(t *testing.T) {
	out := "UID          PID    PPID CMD\nroot           1       0 /sbin/init  splash\nroot          42       1 sleep 60\nroot  43 1 sh -c  x\n"
	got, err := filterPS(out, []int{1, 43})
	if err != nil {
		t.Fatal(err)
	}
	want := davit.ProcessTable{
		Titles:    []string{"UID", "PID", "PPID", "CMD"},
		Processes: [][]string{{"root", "1", "0", "/sbin/init  splash"}, {"root", "43", "1", "sh -c  x"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := filterPS("CMD\nx\n", nil); davit.CodeOf(err) != davit.InvalidConfiguration {
		t.Errorf("without PID: %v", err)
	}
}

func TestConvertSecurity(t *testing.T) {
	for _, tc := range []struct {
		opts []string
		want protocol.Security
		bad  bool
	}{
		{opts: []string{"no-new-privileges"}, want: protocol.Security{NoNewPrivileges: true}},
		{opts: []string{"no-new-privileges:true"}, want: protocol.Security{NoNewPrivileges: true}},
		{opts: []string{"no-new-privileges=false"}},
		{opts: []string{"seccomp:unconfined"}, want: protocol.Security{Seccomp: protocol.Unconfined}},
		{opts: []string{`seccomp={"a":"b=c"}`}, want: protocol.Security{Seccomp: `{"a":"b=c"}`}},
		{opts: []string{"seccomp=builtin", "apparmor=unconfined", "label=disable"}, want: protocol.Security{AppArmor: protocol.Unconfined, Labels: []string{"disable"}}},
		{opts: []string{"apparmor=mine", "label:type:t", "writable-cgroups=true"}, want: protocol.Security{AppArmor: "mine", Labels: []string{"type:t"}, WritableCgroups: true}},
		{opts: []string{"writable-cgroups=maybe"}, bad: true},
		{opts: []string{"seccomp="}, bad: true},
		{opts: []string{"nonsense"}, bad: true},
	} {
		got, err := convertSecurity(&davit.HostConfig{SecurityOpt: tc.opts})
		if (err != nil) != tc.bad {
			t.Errorf("%q: %v", tc.opts, err)
		} else if diff := cmp.Diff(tc.want, got); diff != "" && !tc.bad {
			t.Errorf("%q: %s", tc.opts, diff)
		}
	}
}

func TestConvertResources(t *testing.T) {
	got := convertResources(&davit.Resources{Memory: 64 << 20, NanoCPUs: 2.5e9, PidsLimit: new(int64(-1)), CPUShares: 10})
	want := protocol.Resources{Memory: 64 << 20, MemorySwap: 128 << 20, CPUPeriod: 100_000, CPUQuota: 250_000, CPUShares: 10}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnitLimits(t *testing.T) {
	r := protocol.Resources{
		Memory: 64 << 20, MemorySwap: 96 << 20, MemoryReservation: 32 << 20, CpusetCpus: "0-1,8", CpusetMems: "0", BlkioWeight: 1000,
		BlkioWeightDevices: []protocol.DeviceRate{{Path: "/dev/sda", Rate: 10}}, BlkioReadBps: []protocol.DeviceRate{{Path: "/dev/sda", Rate: 7}},
	}
	got := map[string]any{}
	for _, p := range unitLimits(&r) {
		got[p.Name] = p.Value.Value()
	}
	want := map[string]any{
		"MemoryMax": uint64(80 << 20), "MemorySwapMax": uint64(32 << 20), "MemoryLow": uint64(32 << 20), "AllowedCPUs": []byte{3, 1},
		"AllowedMemoryNodes": []byte{1}, "IOWeight": uint64(10000), "IODeviceWeight": []deviceLimit{{"/dev/sda", 1}},
		"IOReadBandwidthMax": []deviceLimit{{"/dev/sda", 7}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParentCgroup(t *testing.T) {
	for parent, want := range map[string]string{"": "/davit", "/mine/": "/mine", "mine/deep": "/davit/mine/deep", "../../up": "/davit/up"} {
		if got := parentCgroup(parent); got != want {
			t.Errorf("%q is %q, want %q", parent, got, want)
		}
	}
}
