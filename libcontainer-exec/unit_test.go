// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
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

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "-1": 0, "10": 10, "10b": 10, "3k": 3 << 10, "3kb": 3 << 10, "10m": 10 << 20, "2G": 2 << 30, "x": -1, "-5": -1, "5x": -1, "9999999999g": -1, "1mk": -1} {
		got, err := parseSize(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
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
		{opts: []string{"seccomp=builtin", "apparmor=unconfined", "label=disable"}},
		{opts: []string{"apparmor=mine"}, bad: true},
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
	got := convertResources(&davit.HostConfig{Memory: 64 << 20, NanoCPUs: 2.5e9, PidsLimit: -1, CPUShares: 10})
	want := protocol.Resources{Memory: 64 << 20, MemorySwap: 128 << 20, CPUPeriod: 100_000, CPUQuota: 250_000, CPUShares: 10}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
