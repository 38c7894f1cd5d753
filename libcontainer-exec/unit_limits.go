// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"strconv"
	"strings"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// setLimits are the processors and memory nodes of a unit.
func setLimits(r *protocol.Resources) (properties []sddbus.Property) {
	for _, set := range []struct{ name, list string }{{"AllowedCPUs", r.CpusetCpus}, {"AllowedMemoryNodes", r.CpusetMems}} {
		if mask := setMask(set.list); len(mask) > 0 {
			properties = append(properties, property(set.name, mask))
		}
	}
	return properties
}

// setMask is "0-2,8" as the bits of bytes, the lowest first: systemd's form of
// a set. The engine has checked the text.
func setMask(list string) (mask []byte) {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil {
			continue
		}
		for n := from; n <= to; n++ {
			for uint64(len(mask)) <= n/8 {
				mask = append(mask, 0)
			}
			mask[n/8] |= 1 << (n % 8)
		}
	}
	return mask
}

// deviceLimit is one of systemd's a(st).
type deviceLimit struct {
	Path  string
	Value uint64
}

// ioLimits are the shares and limits of block devices.
func ioLimits(r *protocol.Resources) (properties []sddbus.Property) {
	if r.BlkioWeight > 0 {
		properties = append(properties, property("IOWeight", ioWeight(uint64(r.BlkioWeight))))
	}
	for _, l := range []struct {
		name    string
		devices []protocol.DeviceRate
		convert func(uint64) uint64
	}{
		{"IODeviceWeight", r.BlkioWeightDevices, ioWeight},
		{"IOReadBandwidthMax", r.BlkioReadBps, same},
		{"IOWriteBandwidthMax", r.BlkioWriteBps, same},
		{"IOReadIOPSMax", r.BlkioReadIOps, same},
		{"IOWriteIOPSMax", r.BlkioWriteIOps, same},
	} {
		var list []deviceLimit
		for _, d := range l.devices {
			list = append(list, deviceLimit{d.Path, l.convert(d.Rate)})
		}
		if len(list) > 0 {
			properties = append(properties, property(l.name, list))
		}
	}
	return properties
}

func same(n uint64) uint64 { return n }

// ioWeight converts a weight of cgroup v1, 10 to 1000, to 1 to 10000, as runc
// does.
func ioWeight(weight uint64) uint64 { return 1 + (min(max(weight, 10), 1000)-10)*9999/990 }
