// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"

	"github.com/davit-engine/davit"
	"github.com/moby/moby/api/types/container"
)

// stats sends what a container uses: a stream; or one record, with the one
// before it for who computes a rate of the two; or, one-shot, one alone.
func stats(c *call) error {
	stream, oneShot := !c.form.Has("stream") || c.flag("stream"), c.flag("one-shot")
	if stream && oneShot {
		return invalid("cannot have stream=true and one-shot=true")
	}
	ctx, cancel := c.server.calls.follow(c.r.Context())
	defer cancel()
	out := c.chunked()
	q := davit.Stats{Container: c.name, Once: oneShot}
	wait := c.awaitJob(q)
	var before *davit.ContainerStats
	q.Emit = func(s davit.ContainerStats) error {
		wait()
		if !stream && !oneShot && before == nil && !s.Read.IsZero() {
			before = &s
			return nil
		}
		b, err := json.Marshal(statsWire(&s, before))
		if err != nil {
			return err
		}
		before = &s
		if ctx.Err() != nil {
			return ctx.Err()
		}
		out.begin("application/json")
		_, err = out.Write(append(b, '\n'))
		if !stream {
			cancel() // the client has what it asked for
		}
		return err
	}
	_, err := follow(ctx, c, q)
	switch {
	case c.status != 0:
		return nil // the reply ends as the job did: with its container or its client
	case err == nil:
		return davit.Errorf(davit.NoSuchContainer, "No such container: %s: it was removed meanwhile", c.name)
	}
	return err
}

func statsWire(s, before *davit.ContainerStats) container.StatsResponse {
	out := container.StatsResponse{
		ID: s.ID, Name: "/" + s.Name, OSType: "linux", Read: s.Read, CPUStats: cpuWire(s), PidsStats: container.PidsStats(s.Pids),
		MemoryStats: container.MemoryStats{Usage: s.Memory.Usage, Stats: s.Memory.Raw, Limit: s.Memory.Limit},
	}
	if before != nil {
		out.PreRead, out.PreCPUStats = before.Read, cpuWire(before)
	}
	if !s.Unified { // the API documents them of version 1 only
		out.MemoryStats.MaxUsage, out.MemoryStats.Failcnt = s.Memory.MaxUsage, s.Memory.Failures
	}
	for _, b := range s.BlockIO {
		add := func(to *[]container.BlkioStatEntry, op string, value uint64) {
			*to = append(*to, container.BlkioStatEntry{Major: b.Major, Minor: b.Minor, Op: op, Value: value})
		}
		bytes, times := &out.BlkioStats.IoServiceBytesRecursive, &out.BlkioStats.IoServicedRecursive
		if s.Unified {
			add(bytes, "read", b.ReadBytes)
			add(bytes, "write", b.WriteBytes)
			continue
		}
		add(bytes, "Read", b.ReadBytes)
		add(bytes, "Write", b.WriteBytes)
		add(times, "Read", b.Reads)
		add(times, "Write", b.Writes)
	}
	for name, l := range s.Networks {
		if out.Networks == nil {
			out.Networks = map[string]container.NetworkStats{}
		}
		out.Networks[name] = container.NetworkStats{
			RxBytes: l.RxBytes, RxPackets: l.RxPackets, RxErrors: l.RxErrors, RxDropped: l.RxDropped,
			TxBytes: l.TxBytes, TxPackets: l.TxPackets, TxErrors: l.TxErrors, TxDropped: l.TxDropped,
		}
	}
	return out
}

func cpuWire(s *davit.ContainerStats) container.CPUStats {
	return container.CPUStats{
		CPUUsage: container.CPUUsage{
			TotalUsage: s.CPU.Usage, PercpuUsage: s.CPU.PerCPU, UsageInKernelmode: s.CPU.System, UsageInUsermode: s.CPU.User,
		},
		SystemUsage: s.SystemCPU, OnlineCPUs: uint32(s.Processors),
		ThrottlingData: container.ThrottlingData{
			Periods: s.CPU.Periods, ThrottledPeriods: s.CPU.ThrottledPeriods, ThrottledTime: s.CPU.ThrottledTime,
		},
	}
}
