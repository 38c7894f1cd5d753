// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
)

// files makes a directory with the given files.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStatsOfVersion2(t *testing.T) {
	var m meter
	m.unified(files(t, map[string]string{
		"cpu.stat":       "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 4\nthrottled_usec 9\ncore_sched.force_idle_usec 1\n",
		"memory.current": "4096\n", "memory.peak": "8192\n", "memory.max": "max\n", "memory.stat": "anon 1000\ninactive_file 24\n",
		"memory.events": "low 0\nhigh 0\nmax 6\noom 0\n", "pids.current": "3\n", "pids.max": "100\n",
		"io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:16\n7:1 rbytes=8 cost.usage=x\n",
	}))
	want := davit.ContainerStats{
		Unified: true, CPU: davit.CPUStats{Usage: 5000, User: 3000, System: 2000, Periods: 7, ThrottledPeriods: 4, ThrottledTime: 9000},
		Memory: davit.MemoryStats{Usage: 4096, MaxUsage: 8192, Limit: math.MaxUint64, Failures: 6, Raw: map[string]uint64{"anon": 1000, "inactive_file": 24}},
		Pids:   davit.PidsStats{Current: 3, Limit: 100},
		BlockIO: []davit.BlockIO{
			{Major: 8, ReadBytes: 1, WriteBytes: 2, Reads: 3, Writes: 4}, {Major: 254, Minor: 16}, {Major: 7, Minor: 1, ReadBytes: 8},
		},
	}
	if diff := cmp.Diff(want, m.stats); diff != "" || m.err != nil {
		t.Errorf("%v (-want +got):\n%s", m.err, diff)
	}
}

func TestStatsOfVersion1(t *testing.T) {
	var m meter
	m.legacy(map[string]string{
		"cpuacct": files(t, map[string]string{"cpuacct.usage": "50\n", "cpuacct.stat": "user 3\nsystem 2\n", "cpuacct.usage_percpu": "20 30 \n"}),
		"cpu":     files(t, map[string]string{"cpu.stat": "nr_periods 7\nnr_throttled 4\nthrottled_time 9\n"}),
		"memory": files(t, map[string]string{
			"memory.usage_in_bytes": "4096\n", "memory.max_usage_in_bytes": "8192\n", "memory.limit_in_bytes": "9223372036854771712\n",
			"memory.failcnt": "6\n", "memory.stat": "cache 24\nrss 1000\n",
		}),
		"pids": files(t, map[string]string{"pids.current": "3\n", "pids.max": "max\n"}),
		"blkio": files(t, map[string]string{
			"blkio.throttle.io_service_bytes_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Total 3\n7:1 Read 9\nTotal 12\n",
			"blkio.throttle.io_serviced_recursive":      "8:0 Read 5\n8:0 Write 6\nTotal 11\n",
		}),
	})
	want := davit.ContainerStats{
		CPU:    davit.CPUStats{Usage: 50, User: 3e7, System: 2e7, PerCPU: []uint64{20, 30}, Periods: 7, ThrottledPeriods: 4, ThrottledTime: 9},
		Memory: davit.MemoryStats{Usage: 4096, MaxUsage: 8192, Limit: 9223372036854771712, Failures: 6, Raw: map[string]uint64{"cache": 24, "rss": 1000}},
		Pids:   davit.PidsStats{Current: 3},
		BlockIO: []davit.BlockIO{
			{Major: 8, ReadBytes: 1, WriteBytes: 2, Reads: 5, Writes: 6}, {Major: 7, Minor: 1, ReadBytes: 9},
		},
	}
	if diff := cmp.Diff(want, m.stats); diff != "" || m.err != nil {
		t.Errorf("%v (-want +got):\n%s", m.err, diff)
	}
	m.legacy(map[string]string{"memory": t.TempDir(), "cpu": filepath.Join(t.TempDir(), "gone")})
	if m.err != nil {
		t.Errorf("files that are not there: %v", m.err)
	}
	m.legacy(map[string]string{"pids": files(t, map[string]string{"pids.current": "many\n"})})
	if m.err == nil {
		t.Error("what is no number was taken for one")
	}
}

func TestIsBelow(t *testing.T) {
	for _, c := range []struct {
		controller, dir, path string
		want                  bool
	}{
		{"", "/sys/fs/cgroup/davit.slice/a/payload", "/davit.slice/a/payload", true},
		{"", "/sys/fs/cgroup/davit.slice/a/payload", "/davit.slice/a/payload/inner", true},
		{"", "/sys/fs/cgroup/davit.slice/a/payload", "/davit.slice/a/payload2", false},
		{"", "/sys/fs/cgroup/davit.slice/a/payload", "/davit.slice/a", false},
		{"", "/sys/fs/cgroup/davit.slice/a/payload", "/a/payload", false},
		{"memory", "/sys/fs/cgroup/memory/davit/a", "/davit/a", true},
		{"memory", "/sys/fs/cgroup/memory/davit/a", "/davit/b", false},
		{"memory", "/sys/fs/cgroup/memory", "/", false},
		{"", "/sys/fs/cgroup", "/", false},
		{"", "/elsewhere/a", "/a", false},
	} {
		if got := isBelow(c.controller, c.dir, c.path); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
