// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// BenchmarkLife measures create, start, exit and cleanup of a container, one
// after the other; medians in milliseconds.
func BenchmarkLife(b *testing.B) {
	h := newHost(b)
	var created, started, gone []float64
	for b.Loop() {
		l := h.launch("exit 0")
		begin := time.Now()
		ms := func() float64 { return float64(time.Since(begin).Microseconds()) / 1000 }
		p, err := h.rt.Create(b.Context(), l)
		h.must(err)
		created = append(created, ms())
		h.must(p.Start(b.Context(), nil))
		started = append(started, ms())
		for range p.Updates() {
		}
		gone = append(gone, ms())
		h.must(h.rt.Forget(l.Container.ID))
	}
	for _, m := range []struct {
		name   string
		values []float64
	}{{"created-ms", created}, {"started-ms", started}, {"gone-ms", gone}} {
		slices.Sort(m.values)
		b.ReportMetric(m.values[len(m.values)/2], m.name)
	}
}

// flood is a program that writes lines of 80 bytes as quickly as it can. Its
// argument is how many megabytes.
const flood = `package main

import (
	"bytes"
	"os"
	"strconv"
)

func main() {
	n, _ := strconv.Atoi(os.Args[1])
	lines := bytes.Repeat(append(bytes.Repeat([]byte("x"), 79), '\n'), 64<<10/80)
	for left := n * 1000000; left > 0; left -= len(lines) {
		os.Stdout.Write(lines)
	}
}
`

// BenchmarkFlood measures how quickly a container's output gets into its log, in
// megabytes of output a second, of all time and of the holder's processor time,
// and how much of the holder is resident at the end and after it, in kilobytes.
func BenchmarkFlood(b *testing.B) {
	h := newHost(b)
	source := filepath.Join(h.root, "flood.go")
	h.must(os.WriteFile(source, []byte(flood), 0o644))
	build := exec.Command("go", "build", "-o", filepath.Join(h.root, "image/bin/flood"), source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for name, config := range map[string]davit.LogConfig{
		"json-file": {Type: "json-file"}, "local": {Type: "local", Config: map[string]string{"compress": "false"}}, "none": {Type: "none"},
		"compressed": {Type: "json-file", Config: map[string]string{"compress": "true"}},
		"buffered":   {Type: "json-file", Config: map[string]string{"mode": "non-blocking"}},
	} {
		b.Run(name, func(b *testing.B) {
			values := make(map[string][]float64)
			for b.Loop() {
				for unit, value := range h.in(b).flood(config) {
					values[unit] = append(values[unit], value)
				}
			}
			for unit, v := range values {
				slices.Sort(v)
				b.ReportMetric(v[len(v)/2], unit)
			}
		})
	}
}

// flood runs a container that writes 300 megabytes.
func (h *host) flood(config davit.LogConfig) map[string]float64 {
	const size = 300
	l := h.launch("flood "+strconv.Itoa(size)+"; echo done >&2; read x", func(l *davit.Launch) {
		l.Container.HostConfig.LogConfig = config
		l.Container.Config.OpenStdin, l.Container.Config.StdinOnce = true, true
		l.LogPath = filepath.Join(l.Dir, "log", "log")
		h.must(os.MkdirAll(filepath.Dir(l.LogPath), 0o755))
	})
	p, err := h.rt.Create(h.t.Context(), l)
	h.must(err)
	var told buffer
	in, theirs, err := os.Pipe()
	h.must(err)
	attached := h.attach(p, davit.Streams{Stdin: in, Stderr: &told})
	begin := time.Now()
	h.must(p.Start(h.t.Context(), nil))
	h.until("the flood is over", func() bool { return strings.Contains(told.String(), "done") })
	rate := size / time.Since(begin).Seconds()
	var state protocol.State
	h.must(protocol.ReadFile(filepath.Join(h.rt.dir(l.Container.ID), protocol.StateFile), &state))
	used := processorTime(h, state.Holder)
	most := residentSize(h, state.Holder)
	calm, cancel := context.WithTimeout(h.t.Context(), 1500*time.Millisecond)
	defer cancel()
	<-calm.Done()
	after := residentSize(h, state.Holder)
	h.must(theirs.Close())
	h.must(<-attached)
	h.await(p)
	return map[string]float64{"MB/s": rate, "MB/holder-cpu-s": size / used, "kB-most": most, "kB-after": after}
}

// processorTime is what a process has used, in seconds, of which a tick is a
// hundredth (proc_pid_stat(5)).
func processorTime(h *host, pid int) float64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	h.must(err)
	var ticks float64
	for _, f := range strings.Fields(string(stat))[13:15] {
		n, err := strconv.ParseFloat(f, 64)
		h.must(err)
		ticks += n
	}
	return ticks / 100
}

func residentSize(h *host, pid int) float64 {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	h.must(err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	h.must(err)
	return n
}
