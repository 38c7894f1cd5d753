// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc and of cgroup v1: USER_HZ is 100 on all
// architectures that Linux has Go for (sysconf(3), _SC_CLK_TCK).
const tick = uint64(time.Second / 100)

// Stats reads what the container uses from its cgroups, and what went through
// its network links. Files that this kernel has not count as zero.
func (r *Runtime) Stats(_ context.Context, id string) (davit.ContainerStats, error) {
	var state protocol.State
	if err := protocol.ReadFile(filepath.Join(r.dir(id), protocol.StateFile), &state); err != nil || state.Pid == 0 {
		return davit.ContainerStats{}, davit.Errorf(davit.ContainerNotRunning, "container %s is not running", davit.ShortID(id))
	}
	m := meter{stats: davit.ContainerStats{Read: time.Now().UTC()}}
	m.host()
	if cgroup.Unified() {
		m.unified(state.Cgroups[""])
	} else {
		m.legacy(state.Cgroups)
	}
	if start, err := linux.ProcessStart(state.Pid); err == nil && start == state.PidStart {
		m.links(state.Pid)
	}
	if m.err != nil {
		return davit.ContainerStats{}, fmt.Errorf("cannot read what container %s uses: %w", davit.ShortID(id), m.err)
	}
	return m.stats, nil
}

// meter fills in statistics and keeps the first error.
type meter struct {
	stats davit.ContainerStats
	err   error
}

// check keeps an error, unless it says that there is no such file: of a
// controller that is not on, or a cgroup that has just gone.
func (m *meter) check(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) && m.err == nil {
		m.err = err
	}
}

func (m *meter) number(dir, name string) uint64 {
	n, err := cgroup.Number(filepath.Join(dir, name))
	m.check(err)
	return n
}

func (m *meter) keyed(dir, name string) map[string]uint64 {
	kv, err := cgroup.Keyed(filepath.Join(dir, name))
	m.check(err)
	return kv
}

func (m *meter) text(file string) string {
	p, err := os.ReadFile(file)
	m.check(err)
	return string(p)
}

// host reads what all processors did: proc_stat(5).
func (m *meter) host() {
	for line := range strings.Lines(m.text("/proc/stat")) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.HasPrefix(fields[0], "cpu") {
			continue
		}
		if fields[0] != "cpu" {
			m.stats.Processors++
			continue
		}
		for _, f := range fields[1:8] { // user to softirq
			n, err := strconv.ParseUint(f, 10, 64)
			m.check(err)
			m.stats.SystemCPU += n * tick
		}
	}
}

// unified reads the cgroup of version 2.
func (m *meter) unified(dir string) {
	s := &m.stats
	s.Unified = true
	cpu := m.keyed(dir, "cpu.stat")
	s.CPU = davit.CPUStats{
		Usage: cpu["usage_usec"] * 1000, User: cpu["user_usec"] * 1000, System: cpu["system_usec"] * 1000,
		Periods: cpu["nr_periods"], ThrottledPeriods: cpu["nr_throttled"], ThrottledTime: cpu["throttled_usec"] * 1000,
	}
	s.Memory = davit.MemoryStats{
		Usage: m.number(dir, "memory.current"), MaxUsage: m.number(dir, "memory.peak"), Limit: m.number(dir, "memory.max"),
		Failures: m.keyed(dir, "memory.events")["max"], Raw: m.keyed(dir, "memory.stat"),
	}
	s.Pids = m.pids(dir)
	for line := range strings.Lines(m.text(filepath.Join(dir, "io.stat"))) { // 8:0 rbytes=… wbytes=…
		fields := strings.Fields(line)
		b, ok := device(fields)
		if !ok {
			continue
		}
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			n, _ := strconv.ParseUint(value, 10, 64) // of other keys: anything
			switch key {
			case "rbytes":
				b.ReadBytes = n
			case "wbytes":
				b.WriteBytes = n
			case "rios":
				b.Reads = n
			case "wios":
				b.Writes = n
			}
		}
		s.BlockIO = append(s.BlockIO, b)
	}
}

// legacy reads the cgroups of version 1, by their controllers.
func (m *meter) legacy(dirs map[string]string) {
	s := &m.stats
	if dir := dirs["cpuacct"]; dir != "" {
		used := m.keyed(dir, "cpuacct.stat")
		s.CPU = davit.CPUStats{Usage: m.number(dir, "cpuacct.usage"), User: used["user"] * tick, System: used["system"] * tick}
		for _, f := range strings.Fields(m.text(filepath.Join(dir, "cpuacct.usage_percpu"))) {
			n, err := strconv.ParseUint(f, 10, 64)
			m.check(err)
			s.CPU.PerCPU = append(s.CPU.PerCPU, n)
		}
	}
	if dir := dirs["cpu"]; dir != "" {
		kv := m.keyed(dir, "cpu.stat")
		s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledTime = kv["nr_periods"], kv["nr_throttled"], kv["throttled_time"]
	}
	if dir := dirs["memory"]; dir != "" {
		s.Memory = davit.MemoryStats{
			Usage: m.number(dir, "memory.usage_in_bytes"), MaxUsage: m.number(dir, "memory.max_usage_in_bytes"),
			Limit: m.number(dir, "memory.limit_in_bytes"), Failures: m.number(dir, "memory.failcnt"), Raw: m.keyed(dir, "memory.stat"),
		}
	}
	if dir := dirs["pids"]; dir != "" {
		s.Pids = m.pids(dir)
	}
	if dir := dirs["blkio"]; dir != "" {
		s.BlockIO = m.blkio(dir)
	}
}

func (m *meter) pids(dir string) davit.PidsStats {
	p := davit.PidsStats{Current: m.number(dir, "pids.current"), Limit: m.number(dir, "pids.max")}
	if p.Limit == math.MaxUint64 {
		p.Limit = 0
	}
	return p
}

// blkio reads version 1's counters of the throttling layer, which all
// schedulers have.
func (m *meter) blkio(dir string) []davit.BlockIO {
	byDevice := map[[2]uint64]*davit.BlockIO{}
	var order [][2]uint64
	read := func(name string, field func(b *davit.BlockIO, op string) *uint64) {
		for line := range strings.Lines(m.text(filepath.Join(dir, name))) { // 8:0 Read 4096
			fields := strings.Fields(line)
			b, ok := device(fields)
			if !ok || len(fields) != 3 {
				continue
			}
			key := [2]uint64{b.Major, b.Minor}
			if byDevice[key] == nil {
				byDevice[key] = &b
				order = append(order, key)
			}
			if p := field(byDevice[key], fields[1]); p != nil {
				n, err := strconv.ParseUint(fields[2], 10, 64)
				m.check(err)
				*p = n
			}
		}
	}
	read("blkio.throttle.io_service_bytes_recursive", func(b *davit.BlockIO, op string) *uint64 {
		return map[string]*uint64{"Read": &b.ReadBytes, "Write": &b.WriteBytes}[op]
	})
	read("blkio.throttle.io_serviced_recursive", func(b *davit.BlockIO, op string) *uint64 {
		return map[string]*uint64{"Read": &b.Reads, "Write": &b.Writes}[op]
	})
	var out []davit.BlockIO
	for _, key := range order {
		out = append(out, *byDevice[key])
	}
	return out
}

// device reads the device that a line begins with.
func device(fields []string) (b davit.BlockIO, ok bool) {
	if len(fields) == 0 {
		return b, false
	}
	major, minor, _ := strings.Cut(fields[0], ":")
	var err1, err2 error
	b.Major, err1 = strconv.ParseUint(major, 10, 32)
	b.Minor, err2 = strconv.ParseUint(minor, 10, 32)
	return b, err1 == nil && err2 == nil
}

// links reads the counters of the links in the process's network namespace:
// proc_pid_net(5). Nobody's traffic but its own goes through lo.
func (m *meter) links(pid int) {
	for line := range strings.Lines(m.text("/proc/" + strconv.Itoa(pid) + "/net/dev")) {
		name, counters, ok := strings.Cut(strings.TrimSpace(line), ":")
		fields := strings.Fields(counters)
		if !ok || name == "lo" || len(fields) < 12 {
			continue
		}
		var n [12]uint64
		for i := range n {
			var err error
			n[i], err = strconv.ParseUint(fields[i], 10, 64)
			m.check(err)
		}
		if m.stats.Networks == nil {
			m.stats.Networks = map[string]davit.LinkStats{}
		}
		m.stats.Networks[name] = davit.LinkStats{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
}

// Owner returns the id of the container that a process is in, whether the
// container's first one made it or an exec session did. [os.ErrNotExist] when
// it is in none.
func (r *Runtime) Owner(pid int) (string, error) {
	p, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("cannot tell the cgroup of process %d: %w", pid, err)
	}
	paths := map[string]string{} // by controller; "" is version 2
	for line := range strings.Lines(string(p)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 {
			continue
		}
		for c := range strings.SplitSeq(fields[1], ",") {
			paths[c] = fields[2]
		}
	}
	ids, err := r.Known()
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		var state protocol.State
		if err := protocol.ReadFile(filepath.Join(r.dir(id), protocol.StateFile), &state); err != nil {
			continue // it is being made, or has gone
		}
		for controller, dir := range state.Cgroups {
			if path, ok := paths[controller]; ok && isBelow(controller, dir, path) {
				return id, nil
			}
		}
	}
	return "", fmt.Errorf("process %d is in no container: %w", pid, os.ErrNotExist)
}

// isBelow tells whether path, of the controller's hierarchy, is the cgroup
// whose directory dir is, or in it.
func isBelow(controller, dir, path string) bool {
	own, ok := strings.CutPrefix(dir, cgroup.Root)
	if ok && controller != "" { // version 1: behind the hierarchy's name
		_, own, ok = strings.Cut(strings.TrimPrefix(own, "/"), "/")
		own = "/" + own
	}
	return ok && len(own) > 1 && (path == own || strings.HasPrefix(path, own+"/"))
}
