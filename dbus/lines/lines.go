// SPDX-License-Identifier: Apache-2.0

// Package lines makes the lines of JSON in which the Docker API tells of what
// goes on, and which descriptors of this service carry too.
package lines

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// Write writes v as a line, in one piece.
func Write(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot write JSON: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("cannot write to the caller: %w", err)
	}
	return nil
}

// progress is a line of the Docker API's progress streams.
type progress struct {
	Status   string       `json:"status,omitempty"`
	ID       string       `json:"id,omitempty"`
	Progress *advance     `json:"progressDetail,omitempty"`
	Error    *errorDetail `json:"errorDetail,omitempty"`
	Message  string       `json:"error,omitempty"`
}

type advance struct {
	Current uint64 `json:"current,omitempty"`
	Total   uint64 `json:"total,omitempty"`
}

type errorDetail struct {
	Message string `json:"message"`
}

// Progress is the line of a step of a job's advance.
func Progress(p engine.Progress) any {
	l := progress{Status: p.Phase, ID: p.Item}
	if p.Current != 0 || p.Total != 0 {
		l.Progress = &advance{p.Current, p.Total}
	}
	return l
}

// Failure is the line of a job's error.
func Failure(err error) any { return progress{Error: &errorDetail{err.Error()}, Message: err.Error()} }

// event is an event in the form of the Docker API (GET /events).
type event struct {
	Type   string
	Action string
	Actor  struct {
		ID         string
		Attributes map[string]string
	}
	Scope    string `json:"scope"`
	Time     int64  `json:"time"`
	TimeNano int64  `json:"timeNano"`
}

// Event is the line of an event.
func Event(e davit.Event) any {
	l := event{Type: e.Type, Action: e.Action, Scope: "local", Time: e.Time.Unix(), TimeNano: e.Time.UnixNano()}
	l.Actor.ID, l.Actor.Attributes = e.ActorID, e.Attributes
	if l.Actor.Attributes == nil {
		l.Actor.Attributes = map[string]string{}
	}
	return l
}

// Stats is what a container uses, in the form of the Docker API
// (GET /containers/ID/stats).
type Stats struct {
	Name     string          `json:"name"`
	ID       string          `json:"id"`
	Read     time.Time       `json:"read"`
	PreRead  time.Time       `json:"preread"`
	CPU      cpu             `json:"cpu_stats"`
	PreCPU   cpu             `json:"precpu_stats"`
	Memory   memory          `json:"memory_stats"`
	Pids     pids            `json:"pids_stats"`
	BlockIO  blockIO         `json:"blkio_stats"`
	NumProcs uint32          `json:"num_procs"` // of Windows
	Networks map[string]link `json:"networks,omitempty"`
}

type cpu struct {
	Usage struct {
		Total  uint64   `json:"total_usage"`
		PerCPU []uint64 `json:"percpu_usage,omitempty"`
		Kernel uint64   `json:"usage_in_kernelmode"`
		User   uint64   `json:"usage_in_usermode"`
	} `json:"cpu_usage"`
	System     uint64 `json:"system_cpu_usage,omitempty"`
	Online     int    `json:"online_cpus,omitempty"`
	Throttling struct {
		Periods   uint64 `json:"periods"`
		Throttled uint64 `json:"throttled_periods"`
		Time      uint64 `json:"throttled_time"`
	} `json:"throttling_data"`
}

type memory struct {
	Usage    uint64            `json:"usage,omitempty"`
	MaxUsage uint64            `json:"max_usage,omitempty"`
	Stats    map[string]uint64 `json:"stats,omitempty"`
	Failures uint64            `json:"failcnt,omitempty"`
	Limit    uint64            `json:"limit,omitempty"`
}

type pids struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type blockIO struct {
	Bytes []device `json:"io_service_bytes_recursive"`
	Count []device `json:"io_serviced_recursive"`
}

type device struct {
	Major uint64 `json:"major"`
	Minor uint64 `json:"minor"`
	Op    string `json:"op"`
	Value uint64 `json:"value"`
}

type link struct {
	RxBytes   uint64 `json:"rx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxErrors  uint64 `json:"rx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxErrors  uint64 `json:"tx_errors"`
	TxDropped uint64 `json:"tx_dropped"`
}

// StatsOf translates the figures of one moment.
func StatsOf(i davit.ContainerInfo, s davit.ContainerStats) Stats {
	l := Stats{
		Name: "/" + i.Name, ID: i.ID, Read: s.Read,
		Memory: memory{s.Memory.Usage, s.Memory.MaxUsage, s.Memory.Raw, s.Memory.Failures, s.Memory.Limit},
		Pids:   pids(s.Pids), BlockIO: blockIO{[]device{}, []device{}},
	}
	l.CPU.Usage.Total, l.CPU.Usage.PerCPU, l.CPU.Usage.Kernel, l.CPU.Usage.User = s.CPU.Usage, s.CPU.PerCPU, s.CPU.System, s.CPU.User
	l.CPU.System, l.CPU.Online = s.SystemCPU, s.Processors
	l.CPU.Throttling.Periods, l.CPU.Throttling.Throttled, l.CPU.Throttling.Time = s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledTime
	for _, b := range s.BlockIO {
		l.BlockIO.Bytes = append(l.BlockIO.Bytes, device{b.Major, b.Minor, "read", b.ReadBytes}, device{b.Major, b.Minor, "write", b.WriteBytes})
		l.BlockIO.Count = append(l.BlockIO.Count, device{b.Major, b.Minor, "read", b.Reads}, device{b.Major, b.Minor, "write", b.Writes})
	}
	for name, n := range s.Networks {
		if l.Networks == nil {
			l.Networks = map[string]link{}
		}
		l.Networks[name] = link(n)
	}
	return l
}
