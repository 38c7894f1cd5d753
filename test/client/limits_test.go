// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// limit is one that a container can have: where the kernel tells of it, on
// either version of cgroups, and as what property of the unit systemd does.
type limit struct {
	line     string
	ask      func(*container.Resources)
	v1       [3]string // controller, file, want as in check
	v2       [2]string // file, want; none for what cgroup v2 has no word for
	property string    // with its value, which has the monitor's share (16 MiB, 32 tasks); "" for what the unit does not say
}

func limits(t *testing.T) []limit {
	disk, number := aDisk(t)
	rows := []limit{
		{"memory", func(r *container.Resources) { r.Memory = 64 << 20 }, [3]string{"memory", "memory.limit_in_bytes", "67108864"}, [2]string{"memory.max", "67108864"}, "MemoryMax=83886080"},
		{"memory and swap", func(r *container.Resources) { r.Memory, r.MemorySwap = 64<<20, 96<<20 }, [3]string{"memory", "memory.memsw.limit_in_bytes", "100663296"}, [2]string{"memory.swap.max", "33554432"}, ""},
		{"memory reservation", func(r *container.Resources) { r.MemoryReservation = 32 << 20 }, [3]string{"memory", "memory.soft_limit_in_bytes", "33554432"}, [2]string{"memory.low", "33554432"}, ""},
		{"CPU shares", func(r *container.Resources) { r.CPUShares = 512 }, [3]string{"cpu", "cpu.shares", "512"}, [2]string{"cpu.weight", "~^(20|59|5[0-9])$"}, ""},
		{"CPU quota and period", func(r *container.Resources) { r.CPUQuota, r.CPUPeriod = 25000, 50000 }, [3]string{"cpu", "cpu.cfs_quota_us", "25000"}, [2]string{"cpu.max", "25000 50000"}, "CPUQuotaPerSecUSec=500ms"},
		{"CPUs", func(r *container.Resources) { r.NanoCPUs = 5e8 }, [3]string{"cpu", "cpu.cfs_quota_us", "50000"}, [2]string{"cpu.max", "50000 100000"}, "CPUQuotaPerSecUSec=500ms"},
		{"CPU set", func(r *container.Resources) { r.CpusetCpus, r.CpusetMems = "0", "0" }, [3]string{"cpuset", "cpuset.cpus", "0"}, [2]string{"cpuset.cpus", "0"}, ""},
		{"pids", func(r *container.Resources) { r.PidsLimit = ptr(int64(77)) }, [3]string{"pids", "pids.max", "77"}, [2]string{"pids.max", "77"}, "TasksMax=109"},
		{"block I/O weight", func(r *container.Resources) { r.BlkioWeight = 300 }, [3]string{"blkio", "blkio.bfq.weight", "300"}, [2]string{"io.weight", "~300|2[0-9]{3}"}, ""},
		{"block I/O rates", func(r *container.Resources) {
			r.BlkioDeviceReadBps = []*blkiodev.ThrottleDevice{{Path: disk, Rate: 1 << 20}}
			r.BlkioDeviceWriteBps = []*blkiodev.ThrottleDevice{{Path: disk, Rate: 2 << 20}}
			r.BlkioDeviceReadIOps = []*blkiodev.ThrottleDevice{{Path: disk, Rate: 100}}
			r.BlkioDeviceWriteIOps = []*blkiodev.ThrottleDevice{{Path: disk, Rate: 200}}
		}, [3]string{"blkio", "blkio.throttle.write_bps_device", number + " 2097152"}, [2]string{"io.max", number + " rbps=1048576 wbps=2097152 riops=100 wiops=200"}, ""},
	}
	if disk == "" {
		rows = rows[:len(rows)-1]
	}
	return rows
}

// aDisk is a block device of the machine, with its number; none if there is none.
func aDisk(t *testing.T) (path, number string) {
	t.Helper()
	entries, _ := os.ReadDir("/sys/block")
	for _, name := range []string{"vda", "sda", "nvme0n1"} {
		if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name }) {
			continue
		}
		data, err := os.ReadFile("/sys/block/" + name + "/dev")
		if _, serr := os.Stat("/dev/" + name); err == nil && serr == nil {
			return "/dev/" + name, strings.TrimSpace(string(data))
		}
	}
	return "", ""
}

// offered tells whether the kernel has the file for a container, which depends
// on its configuration and on the controllers that the host has left.
func (e *engine) offered(t *testing.T, l limit, id string) bool {
	t.Helper()
	if !e.cgroup2 {
		_, err := os.Stat("/sys/fs/cgroup/" + l.v1[0] + "/" + l.v1[1])
		return err == nil || l.v1[1] != "blkio.bfq.weight" && l.v1[1] != "memory.memsw.limit_in_bytes"
	}
	return l.v2[0] != "" && slices.Contains(strings.Fields(e.group(t, id, "", "cgroup.controllers")), strings.SplitN(l.v2[0], ".", 2)[0])
}

// told checks what kernel and systemd say of a limit.
func (e *engine) told(t *testing.T, l limit, id string) {
	t.Helper()
	if !e.offered(t, l, id) {
		t.Skipf("this kernel has no %s", l.v1[1])
	}
	if e.cgroup2 {
		check(t, l.v2[0], e.group(t, id, "", l.v2[0]), l.v2[1])
	} else {
		check(t, l.v1[1], e.group(t, id, l.v1[0], l.v1[1]), l.v1[2])
	}
	if !e.systemd || l.property == "" {
		return
	}
	name, _, _ := strings.Cut(l.property, "=")
	unit := "davit-" + strings.TrimPrefix(e.inspect(t, id).Name, "/") + ".service"
	out, err := exec.Command("systemctl", "show", "--property="+name, unit).Output()
	if err != nil {
		t.Fatal(err)
	}
	check(t, "systemctl show "+unit, string(out), l.property)
}

func TestLimitsAreTheKernels(t *testing.T) {
	e := daemon(t)
	for _, l := range limits(t) {
		t.Run(l.line, func(t *testing.T) {
			id := e.start(t, idle(func(s *spec) { l.ask(&s.Host.Resources) }))
			e.told(t, l, id)
		})
	}
}

func TestUpdateChangesLimitsOfARunningContainer(t *testing.T) {
	e := daemon(t)
	for _, l := range limits(t) {
		if strings.HasPrefix(l.line, "block") {
			continue // Docker updates the weight only, and not all kernels have it
		}
		t.Run(l.line, func(t *testing.T) {
			id := e.start(t, idle(func(s *spec) { s.Host.Memory, s.Host.MemorySwap = 48<<20, 48<<20 }))
			var r container.Resources
			l.ask(&r)
			if r.Memory != 0 && r.MemorySwap == 0 {
				r.MemorySwap = 96 << 20 // it must not be less than the memory
			}
			if _, err := e.cli.ContainerUpdate(t.Context(), id, client.ContainerUpdateOptions{Resources: &r}); err != nil {
				t.Fatalf("update: %v", err)
			}
			e.told(t, l, id)
			if !running(e.inspect(t, id)) {
				t.Error("it does not run any more")
			}
		})
	}
	t.Run("a container that has stopped", func(t *testing.T) {
		id := e.create(t, idle())
		r := container.Resources{PidsLimit: ptr(int64(55))}
		if _, err := e.cli.ContainerUpdate(t.Context(), id, client.ContainerUpdateOptions{Resources: &r}); err != nil {
			t.Fatalf("update: %v", err)
		}
		e.startAgain(t, id)
		e.told(t, limit{v1: [3]string{"pids", "pids.max", "55"}, v2: [2]string{"pids.max", "55"}, property: "TasksMax=87"}, id)
	})
	t.Run("what is refused changes nothing", func(t *testing.T) {
		id := e.start(t, idle(func(s *spec) { s.Host.PidsLimit = ptr(int64(66)) }))
		r := container.Resources{PidsLimit: ptr(int64(88)), Memory: 1000}
		if _, err := e.cli.ContainerUpdate(t.Context(), id, client.ContainerUpdateOptions{Resources: &r}); statusOf(err) != 400 {
			t.Errorf("an update to 1000 bytes of memory: %v", err)
		}
		e.told(t, limit{v1: [3]string{"pids", "pids.max", "66"}, v2: [2]string{"pids.max", "66"}, property: "TasksMax=98"}, id)
	})
}

func TestLimitOfMemoryIsHeldAndTheKillIsTold(t *testing.T) {
	e := daemon(t)
	// tail keeps what has no end of line.
	id := e.start(t, sh("tail -n 1 /dev/zero", func(s *spec) { s.Host.Memory, s.Host.MemorySwap = 24<<20, 24<<20 }))
	if code := e.wait(t, id); code != 137 {
		t.Errorf("exit code %d", code)
	}
	e.until(t, id, "the kill by the kernel to be told", func(c container.InspectResponse) bool { return c.State.OOMKilled })
	if got := e.actions(t, id); !slices.Contains(got, "oom") || !slices.Contains(got, "die") {
		t.Errorf("the events are %v", got)
	}
}

// The kernel kills a process that is not the container's first: that is told at
// once, and the container goes on.
func TestKillForMemoryIsToldAtOnce(t *testing.T) {
	e := daemon(t)
	id := e.start(t, sh("dd if=/dev/zero of=/dev/null bs=256M count=1; echo survived; sleep 1000", func(s *spec) { s.Host.Memory = 32 << 20 }))
	c := e.until(t, id, "the kill to be told", func(c container.InspectResponse) bool { return c.State.OOMKilled })
	if !c.State.Running {
		t.Errorf("it is %s", c.State.Status)
	}
	testutil.Eventually(t, patience, "the event", func() bool { return slices.Contains(e.actions(t, id), "oom") })
}

func TestLimitsThatCgroup2HasNotAreWarnedOf(t *testing.T) {
	e := daemon(t)
	if !e.cgroup2 {
		t.Skip("needs cgroup v2")
	}
	_, warnings, err := e.tryCreate(t, idle(func(s *spec) { s.Host.OomKillDisable = ptr(true) }))
	if err != nil || !strings.Contains(strings.Join(warnings, " "), "OomKillDisable") {
		t.Errorf("warnings are %q, %v", warnings, err)
	}
}

func TestStats(t *testing.T) {
	e := daemon(t)
	id := e.start(t, sh("while :; do :; done", func(s *spec) { s.Host.Memory, s.Host.PidsLimit = 64<<20, ptr(int64(99)) }))
	read := func(o client.ContainerStatsOptions, n int) (all []container.StatsResponse) {
		t.Helper()
		r, err := e.cli.ContainerStats(t.Context(), id, o)
		if err != nil {
			t.Fatalf("stats: %v", err)
		}
		defer r.Body.Close()
		d := json.NewDecoder(r.Body)
		for range n {
			var s container.StatsResponse
			if err := d.Decode(&s); err != nil {
				t.Fatalf("stats: %v", err)
			}
			all = append(all, s)
		}
		return all
	}
	t.Run("stream", func(t *testing.T) {
		all := read(client.ContainerStatsOptions{Stream: true}, 2)
		a, b := all[0], all[1]
		if b.CPUStats.CPUUsage.TotalUsage <= a.CPUStats.CPUUsage.TotalUsage || b.PreCPUStats.CPUUsage.TotalUsage != a.CPUStats.CPUUsage.TotalUsage {
			t.Errorf("the CPU's time is %d, then %d, which tells of %d before", a.CPUStats.CPUUsage.TotalUsage, b.CPUStats.CPUUsage.TotalUsage, b.PreCPUStats.CPUUsage.TotalUsage)
		}
		if b.CPUStats.SystemUsage <= b.PreCPUStats.SystemUsage || b.CPUStats.OnlineCPUs == 0 {
			t.Errorf("of the machine it says %+v", b.CPUStats)
		}
	})
	t.Run("one-shot", func(t *testing.T) {
		s := read(client.ContainerStatsOptions{}, 1)[0]
		if s.ID != id || !s.PreRead.IsZero() || s.PidsStats.Current == 0 || len(s.Networks) != 1 {
			t.Errorf("it says %+v", s)
		}
		if s.MemoryStats.Usage == 0 || s.MemoryStats.Limit != 64<<20 || s.PidsStats.Limit != 99 {
			t.Errorf("of memory and processes it says %+v, %+v", s.MemoryStats, s.PidsStats)
		}
		_, v2 := s.MemoryStats.Stats["anon"]
		if v2 != e.cgroup2 {
			t.Errorf("the words for memory are %v", s.MemoryStats.Stats)
		}
	})
	t.Run("one-shot with the sample before", func(t *testing.T) {
		s := read(client.ContainerStatsOptions{IncludePreviousSample: true}, 1)[0]
		if s.PreRead.IsZero() || s.PreCPUStats.CPUUsage.TotalUsage == 0 {
			t.Errorf("it says %+v", s)
		}
	})
	t.Run("a container that has stopped", func(t *testing.T) {
		stopped := e.create(t, idle())
		r, err := e.cli.ContainerStats(t.Context(), stopped, client.ContainerStatsOptions{})
		if err != nil {
			t.Fatalf("stats: %v", err)
		}
		defer r.Body.Close()
		var s container.StatsResponse
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil || s.CPUStats.CPUUsage.TotalUsage != 0 {
			t.Errorf("it says %+v, %v", s, err)
		}
	})
}

func TestPauseHolds(t *testing.T) {
	e := daemon(t)
	id := e.start(t, sh("while :; do :; done"))
	ticks := func() string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.inspect(t, id).State.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(data))[13] // utime of proc(5)
	}
	if _, err := e.cli.ContainerPause(t.Context(), id, client.ContainerPauseOptions{}); err != nil {
		t.Fatalf("pause: %v", err)
	}
	if c := e.inspect(t, id); !c.State.Paused || c.State.Status != "paused" {
		t.Errorf("its state is %+v", c.State)
	}
	before := ticks()
	r := e.run(t, sh("sleep 0.5")) // as long as it takes
	if after := ticks(); r.code != 0 || after != before {
		t.Errorf("a paused container has used %s ticks, then %s", before, after)
	}
	if _, err := e.cli.ContainerPause(t.Context(), id, client.ContainerPauseOptions{}); statusOf(err) != 409 {
		t.Errorf("a second pause: %v", err)
	}
	if _, err := e.cli.ContainerUnpause(t.Context(), id, client.ContainerUnpauseOptions{}); err != nil {
		t.Fatalf("unpause: %v", err)
	}
	testutil.Eventually(t, patience, "the container to go on", func() bool { return ticks() != before })
	if _, err := e.cli.ContainerPause(t.Context(), id, client.ContainerPauseOptions{}); err != nil {
		t.Fatalf("pause: %v", err)
	}
	if _, err := e.cli.ContainerStop(t.Context(), id, client.ContainerStopOptions{Timeout: ptr(0)}); err != nil {
		t.Errorf("stop of a paused container: %v", err)
	}
}
