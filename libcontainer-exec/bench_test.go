// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"slices"
	"testing"
	"time"
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
