// SPDX-License-Identifier: Apache-2.0

package request

import (
	"math"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
)

// able is a host that can set every limit.
func able() *davit.HostFacts {
	return &davit.HostFacts{NCPU: 2, Seccomp: true, Cgroups: davit.CgroupSupport{
		Memory: true, MemoryReservation: true, MemorySwappiness: true, OomKillDisable: true, Swap: true, Pids: true, CPUShares: true,
		CPUQuota: true, CPURealtime: true, Cpuset: true, CPUs: "0-1", Mems: "0", BlkioWeight: true, BlkioWeightDevice: true,
		BlkioThrottle: true, Namespaces: true,
	}}
}

const mib = 1 << 20

func TestLimits(t *testing.T) {
	rate := []davit.ThrottleDevice{{Path: "/dev/sda", Rate: 1}}
	full := davit.Resources{
		Memory: 8 * mib, MemorySwap: 9 * mib, MemoryReservation: 7 * mib, MemorySwappiness: new(int64(0)), OomKillDisable: new(true), PidsLimit: new(int64(5)),
		CPUShares: 9, CPUPeriod: 1000, CPUQuota: 1000, CpusetCpus: "0", CpusetMems: "0", BlkioWeight: 10,
		BlkioWeightDevice: []davit.WeightDevice{{Path: "/dev/sda", Weight: 10}}, BlkioDeviceReadBps: rate, BlkioDeviceWriteBps: rate,
		BlkioDeviceReadIOps: rate, BlkioDeviceWriteIOps: rate,
	}
	for _, tc := range []struct {
		name       string
		give, want davit.Resources
		host       *davit.HostFacts
		warnings   int
	}{
		{"all of them", full, full, able(), 0},
		{"a host without cgroups", full, davit.Resources{MemorySwap: -1}, &davit.HostFacts{NCPU: 1}, 14},
		{"a host without cgroups, limits that are none", davit.Resources{OomKillDisable: new(false), PidsLimit: new(int64(0))}, davit.Resources{}, &davit.HostFacts{}, 0},
		{"as much swap as memory", davit.Resources{Memory: 8 * mib}, davit.Resources{Memory: 8 * mib, MemorySwap: 16 * mib}, able(), 0},
		{"shares in their range", davit.Resources{CPUShares: 1}, davit.Resources{CPUShares: 2}, able(), 0},
		{"swappiness that was not given", davit.Resources{MemorySwappiness: new(int64(-1))}, davit.Resources{}, able(), 0},
		{"no killer and no limit", davit.Resources{OomKillDisable: new(true)}, davit.Resources{OomKillDisable: new(true)}, able(), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.give
			warnings, err := Limits(&got, tc.host, false)
			if err != nil || len(warnings) != tc.warnings {
				t.Fatalf("%v, %d warnings: %q, want %d", err, len(warnings), warnings, tc.warnings)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	update := davit.Resources{MemorySwap: 1 << 30}
	if _, err := Limits(&update, able(), true); err != nil {
		t.Errorf("an update of swap alone: %v", err)
	}
}

func TestLimitsRefused(t *testing.T) {
	for _, tc := range []struct {
		give davit.Resources
		want string
	}{
		{davit.Resources{Memory: mib}, "Minimum memory limit allowed is 6MB"},
		{davit.Resources{Memory: -1}, "Minimum memory limit allowed is 6MB, and it is -1: 0 is no limit"},
		{davit.Resources{Memory: math.MaxInt64}, "invalid memory limit 9223372036854775807"},
		{davit.Resources{Memory: math.MaxInt64/2 + 1}, "invalid memory limit 4611686018427387904"},
		{davit.Resources{Memory: 8 * mib, MemorySwap: math.MaxInt64}, "invalid memory limit 9223372036854775807"},
		{davit.Resources{NanoCPUs: 1e6}, "range of CPUs is from 0.01"},
		{davit.Resources{MemorySwap: 1}, "always set the memory limit"},
		{davit.Resources{Memory: 9 * mib, MemorySwap: 8 * mib}, "memoryswap limit should be larger"},
		{davit.Resources{MemorySwap: -2}, "use -1 for unlimited"},
		{davit.Resources{MemoryReservation: 1}, "minimum memory reservation"},
		{davit.Resources{MemoryReservation: -1}, "minimum memory reservation"},
		{davit.Resources{Memory: 8 * mib, MemoryReservation: 9 * mib}, "less than memory reservation"},
		{davit.Resources{MemorySwappiness: new(int64(101))}, "0-100"},
		{davit.Resources{MemorySwappiness: new(int64(-2))}, "0-100"},
		{davit.Resources{NanoCPUs: 3e9}, "only 2 CPUs"},
		{davit.Resources{NanoCPUs: 1, CPUQuota: 1}, "conflicting options"},
		{davit.Resources{CPUPeriod: 999}, "cfs period"},
		{davit.Resources{CPUQuota: 999}, "cfs quota"},
		{davit.Resources{CPUQuota: -2}, "-1 for unlimited"},
		{davit.Resources{CPUShares: -1}, "shares"},
		{davit.Resources{CPURealtimePeriod: 5, CPURealtimeRuntime: 6}, "cannot be higher"},
		{davit.Resources{CPURealtimeRuntime: -6}, "cannot be negative"},
		{davit.Resources{CpusetCpus: "0-2"}, "requested CPUs are not available - requested 0-2, available: 0-1"},
		{davit.Resources{CpusetMems: "1"}, "requested memory nodes are not available"},
		{davit.Resources{CpusetCpus: "1-0"}, "invalid value 1-0 for cpuset cpus"},
		{davit.Resources{CpusetCpus: "0-99999999999"}, "invalid value"},
		{davit.Resources{BlkioWeight: 9}, "10 to 1000"},
		{davit.Resources{BlkioWeightDevice: []davit.WeightDevice{{Path: "/dev/sda", Weight: 1001}}}, "10 to 1000"},
		{davit.Resources{BlkioWeightDevice: []davit.WeightDevice{{Path: "sda", Weight: 100}}}, "bad format"},
		{davit.Resources{BlkioDeviceWriteIOps: []davit.ThrottleDevice{{Path: "/etc"}}}, "bad format"},
	} {
		if _, err := Limits(&tc.give, able(), false); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.give, err, tc.want)
		}
	}
	if _, err := Limits(&davit.Resources{CPURealtimePeriod: 1}, &davit.HostFacts{}, false); err == nil {
		t.Error("a real-time period was taken by a host that has none")
	}
}

func TestSecurity(t *testing.T) {
	security := func(opts ...string) davit.HostConfig { return davit.HostConfig{SecurityOpt: opts} }
	everything := able()
	everything.AppArmor = true
	for _, tc := range []struct {
		h    davit.HostConfig
		host *davit.HostFacts
		want string // "": it is taken
	}{
		{security("seccomp=unconfined", "apparmor=unconfined", "label=disable", "no-new-privileges"), &davit.HostFacts{}, ""},
		{security("apparmor=mine", `seccomp={"defaultAction":"SCMP_ACT_ALLOW"}`), everything, ""},
		{security("writable-cgroups=true"), able(), "cgroup namespace"},
		{security("apparmor=mine"), able(), "does not have AppArmor"},
		{security("label=type:x"), able(), "SELinux labels are not set"},
		{security("seccomp={"), able(), "decoding seccomp profile failed"},
		{security("seccomp={}"), &davit.HostFacts{}, "seccomp is not enabled"},
		{security("nonsense"), able(), "invalid --security-opt"},
		{davit.HostConfig{OomScoreAdj: -1001}, able(), "oom score adj"},
		{davit.HostConfig{Umask: new(uint32(0o1000))}, able(), "umask"},
		{davit.HostConfig{Runtime: "other"}, able(), "runtime name: other"},
		{davit.HostConfig{Annotations: map[string]string{"": "x"}}, able(), "Annotations"},
		{davit.HostConfig{Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "1", "fs/mqueue/msg_max": "1", "kernel.domainname": "d"}}, able(), ""},
		{davit.HostConfig{Sysctls: map[string]string{"kernel/panic": "1"}}, able(), `"kernel.panic" is not in a separate`},
		{davit.HostConfig{Sysctls: map[string]string{"kernel.domainname": "d"}, UTSMode: "host"}, able(), "separate kernel namespace"},
		{davit.HostConfig{Sysctls: map[string]string{"kernel.sem": "1"}, IpcMode: "host"}, able(), "hosts ipc namespace"},
		{davit.HostConfig{Sysctls: map[string]string{"net/ipv4/conf/eth0.1/forwarding": "1"}, NetworkMode: "host"}, able(), `"net.ipv4.conf.eth0/1.forwarding" not allowed`},
	} {
		err := checkSecurity(&tc.h, tc.host)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.h, err, tc.want)
		}
	}
}

func TestCheckModes(t *testing.T) {
	named := davit.ContainerConfig{Hostname: "h"}
	for _, tc := range []struct {
		c    davit.ContainerConfig
		h    davit.HostConfig
		want string
	}{
		{named, davit.HostConfig{IpcMode: "shareable", CgroupnsMode: "private", UsernsMode: "host", PidMode: "host"}, ""},
		{davit.ContainerConfig{}, davit.HostConfig{IpcMode: "container:a", PidMode: "container:a", NetworkMode: "container:a", UTSMode: "host"}, ""},
		{named, davit.HostConfig{IpcMode: "container:"}, "invalid IPC mode: container:"},
		{named, davit.HostConfig{IpcMode: "other"}, "invalid IPC mode: other"},
		{named, davit.HostConfig{PidMode: "private"}, "invalid PID mode: private"},
		{named, davit.HostConfig{UTSMode: "container:a"}, "invalid UTS mode"},
		{named, davit.HostConfig{CgroupnsMode: "x"}, "invalid cgroup namespace mode: x"},
		{named, davit.HostConfig{UsernsMode: "private"}, "invalid user namespace mode: private"},
		{named, davit.HostConfig{UTSMode: "host"}, "hostname and the UTS mode"},
		{named, davit.HostConfig{NetworkMode: "container:a"}, "hostname and the network mode"},
		{named, davit.HostConfig{NetworkMode: "container:"}, "invalid container format container:<name|id>"},
		{davit.ContainerConfig{}, davit.HostConfig{NetworkMode: "container:a", Links: []string{"x"}}, "can't be used with links"},
		{davit.ContainerConfig{}, davit.HostConfig{NetworkMode: "host", Links: []string{"x"}}, "can't be used with links"},
		{davit.ContainerConfig{}, davit.HostConfig{NetworkMode: "container:a", DNS: []string{"::1"}}, "dns and the network mode"},
		{davit.ContainerConfig{}, davit.HostConfig{NetworkMode: "container:a", ExtraHosts: []string{"a:::1"}}, "custom host-to-IP mapping"},
		{davit.ContainerConfig{}, davit.HostConfig{NetworkMode: "container:a", PublishAllPorts: true}, "port publishing"},
		{davit.ContainerConfig{ExposedPorts: map[string]struct{}{"80/tcp": {}}}, davit.HostConfig{NetworkMode: "container:a"}, "port exposing"},
	} {
		err := CheckModes(&tc.c, &tc.h)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.h, err, tc.want)
		}
	}
}
