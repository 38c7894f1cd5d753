// SPDX-License-Identifier: Apache-2.0

package davit

import "time"

// FileChange is one line of [ContainerChanges].
type FileChange struct {
	Path string
	Kind ChangeKind
}

// ChangeKind is how a file was changed, in the Docker API's numbers.
type ChangeKind uint8

// The kinds of changes.
const (
	FileModified ChangeKind = iota
	FileAdded
	FileDeleted
)

// ContainerStats is what a container uses at one moment; all is zero, Read too,
// of one that does not run. Times are in
// nanoseconds since the container's start; sizes are bytes.
type ContainerStats struct {
	ID, Name   string // of the container
	Read       time.Time
	CPU        CPUStats
	Memory     MemoryStats
	Pids       PidsStats
	BlockIO    []BlockIO
	Networks   map[string]LinkStats // by the name of the link in the container
	Processors int                  // of the host, online
	SystemCPU  uint64               // what all processors of the host have done and idled
	Unified    bool                 // of cgroup v2
}

// CPUStats is of the cpu controller.
type CPUStats struct {
	Usage, User, System                      uint64
	PerCPU                                   []uint64 // v1 only
	Periods, ThrottledPeriods, ThrottledTime uint64
}

// MemoryStats is of the memory controller; Raw is memory.stat.
type MemoryStats struct {
	Usage, MaxUsage, Limit, Failures uint64
	Raw                              map[string]uint64
}

// PidsStats is of the pids controller; Limit 0 is none.
type PidsStats struct{ Current, Limit uint64 }

// BlockIO is what was read from and written to one device.
type BlockIO struct {
	Major, Minor                         uint64
	ReadBytes, WriteBytes, Reads, Writes uint64
}

// LinkStats counts what went through a link, seen from the container.
type LinkStats struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}
