// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
)

// tree makes files with their content below a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCgroupSupport(t *testing.T) {
	for _, tc := range []struct {
		name, own string
		files     map[string]string
		want      davit.CgroupSupport
	}{
		{name: "nothing"},
		{
			name: "v2", own: "/system.slice/davit.service",
			files: map[string]string{
				"cgroup.controllers": "cpuset cpu io memory pids\n", "cpuset.cpus.effective": "0-3\n", "cpuset.mems.effective": "0\n",
				"system.slice/davit.service/memory.swap.max": "max\n", "io.cost.qos": "",
			},
			want: davit.CgroupSupport{
				Memory: true, MemoryReservation: true, Swap: true, Pids: true, CPUShares: true, CPUQuota: true, Cpuset: true,
				CPUs: "0-3", Mems: "0", BlkioWeight: true, BlkioThrottle: true,
			},
		},
		{
			name: "v2 with BFQ and without swap", own: "/",
			files: map[string]string{"cgroup.controllers": "io memory\n", "system.slice/io.bfq.weight": "default 100\n"},
			want: davit.CgroupSupport{
				Memory: true, MemoryReservation: true, BlkioWeight: true, BlkioWeightDevice: true, BlkioThrottle: true,
			},
		},
		{
			name: "v1", own: "/",
			files: map[string]string{
				"memory/memory.limit_in_bytes": "", "memory/memory.soft_limit_in_bytes": "", "memory/memory.swappiness": "60",
				"memory/memory.oom_control": "", "pids/cgroup.procs": "", "cpu/cpu.shares": "", "cpu/cpu.rt_runtime_us": "",
				"cpuset/cpuset.cpus": "0-1\n", "cpuset/cpuset.mems": "0\n", "blkio/blkio.bfq.io_serviced": "",
			},
			want: davit.CgroupSupport{
				Memory: true, MemoryReservation: true, MemorySwappiness: true, OomKillDisable: true, Pids: true, CPUShares: true,
				CPURealtime: true, Cpuset: true, CPUs: "0-1", Mems: "0", BlkioWeight: true,
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := CgroupSupport(tree(t, tc.files), tc.own)
			tc.want.Namespaces = got.Namespaces // the kernel's, not the tree's
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
