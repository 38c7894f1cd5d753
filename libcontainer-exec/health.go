// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"cmp"
	"path/filepath"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// What Docker gives a healthcheck that does not say.
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3
)

// convertHealthcheck returns nil for a container that has no healthcheck.
func convertHealthcheck(c *davit.ContainerConfig) *protocol.Healthcheck {
	h := c.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	args := h.Test[1:]
	switch h.Test[0] {
	case "CMD":
	case "CMD-SHELL":
		shell := c.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		args = append(shell[:len(shell):len(shell)], args...)
	default:
		return nil
	}
	return &protocol.Healthcheck{
		Args:          args,
		Interval:      cmp.Or(h.Interval, defaultInterval),
		Timeout:       cmp.Or(h.Timeout, defaultTimeout),
		StartPeriod:   h.StartPeriod,
		StartInterval: cmp.Or(h.StartInterval, defaultStartInterval),
		Retries:       cmp.Or(h.Retries, defaultRetries),
	}
}

// health completes what the holder tells of a container's health by the probes
// that it recorded; nil without a healthcheck.
func (p *Process) health(h *protocol.Health) *davit.Health {
	if h == nil {
		return nil
	}
	out := &davit.Health{Status: davit.HealthStatus(h.Status), FailingStreak: h.FailingStreak}
	var results []protocol.ProbeResult
	if err := protocol.ReadFile(filepath.Join(p.dir, protocol.HealthFile), &results); err != nil {
		return out // there has been none yet
	}
	for _, r := range results {
		out.Log = append(out.Log, davit.HealthProbe{
			Start: r.Start, End: r.End, ExitCode: r.ExitCode, Output: strings.ToValidUTF8(string(r.Output), "\uFFFD"),
		})
	}
	return out
}
