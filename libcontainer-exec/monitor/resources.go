// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// resources converts the limits. Without one there is nothing to be set.
func resources(c *protocol.Container) (*specs.LinuxResources, error) {
	l := &c.Resources
	r := &specs.LinuxResources{Devices: deviceRules(c.Security.Privileged), Memory: memory(l), CPU: cpu(l)}
	if l.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &l.Pids}
	}
	var err error
	r.BlockIO, err = blockIO(l)
	return r, err
}

func memory(l *protocol.Resources) *specs.LinuxMemory {
	m := &specs.LinuxMemory{Swappiness: l.MemorySwappiness}
	if l.Memory != 0 {
		m.Limit = &l.Memory
	}
	if l.MemorySwap != 0 && swapAccounting() {
		m.Swap = &l.MemorySwap
	}
	if l.MemoryReservation != 0 {
		m.Reservation = &l.MemoryReservation
	}
	if l.OomKillDisable {
		m.DisableOOMKiller = &l.OomKillDisable
	}
	if *m == (specs.LinuxMemory{}) {
		return nil
	}
	return m
}

func cpu(l *protocol.Resources) *specs.LinuxCPU {
	c := &specs.LinuxCPU{Cpus: l.CpusetCpus, Mems: l.CpusetMems}
	if l.CPUShares != 0 {
		c.Shares = &l.CPUShares
	}
	if l.CPUPeriod != 0 {
		c.Period = &l.CPUPeriod
	}
	if l.CPUQuota != 0 {
		c.Quota = &l.CPUQuota
	}
	if l.CPURealtimePeriod != 0 {
		c.RealtimePeriod = &l.CPURealtimePeriod
	}
	if l.CPURealtimeRuntime != 0 {
		c.RealtimeRuntime = &l.CPURealtimeRuntime
	}
	if *c == (specs.LinuxCPU{}) {
		return nil
	}
	return c
}

func blockIO(l *protocol.Resources) (*specs.LinuxBlockIO, error) {
	b := &specs.LinuxBlockIO{}
	if l.BlkioWeight != 0 {
		b.Weight = &l.BlkioWeight
	}
	for _, d := range l.BlkioWeightDevices {
		major, minor, err := blockDevice(d.Path)
		if err != nil {
			return nil, err
		}
		w := specs.LinuxWeightDevice{Weight: new(uint16(d.Rate))}
		w.Major, w.Minor = major, minor
		b.WeightDevice = append(b.WeightDevice, w)
	}
	for _, t := range []struct {
		from []protocol.DeviceRate
		to   *[]specs.LinuxThrottleDevice
	}{
		{l.BlkioReadBps, &b.ThrottleReadBpsDevice},
		{l.BlkioWriteBps, &b.ThrottleWriteBpsDevice},
		{l.BlkioReadIOps, &b.ThrottleReadIOPSDevice},
		{l.BlkioWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.from {
			major, minor, err := blockDevice(d.Path)
			if err != nil {
				return nil, err
			}
			throttle := specs.LinuxThrottleDevice{Rate: d.Rate}
			throttle.Major, throttle.Minor = major, minor
			*t.to = append(*t.to, throttle)
		}
	}
	if b.Weight == nil && len(b.WeightDevice)+len(b.ThrottleReadBpsDevice)+len(b.ThrottleWriteBpsDevice)+
		len(b.ThrottleReadIOPSDevice)+len(b.ThrottleWriteIOPSDevice) == 0 {
		return nil, nil
	}
	return b, nil
}

// blockDevice returns the numbers of the device of which path is a node.
func blockDevice(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, fail(protocol.KindInvalid, fmt.Errorf("cannot limit device %s: %w", path, err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, 0, fail(protocol.KindInvalid, errors.New("cannot limit device "+path+": not a block device"))
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}
