// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"slices"
	"time"

	"github.com/davit-engine/davit"
)

// checkLater runs the container's healthcheck again and again, until its end.
func (m *Monitor) checkLater() {
	h := m.Launch.Container.Config.Healthcheck
	if h == nil || h.Interval == 0 || len(h.Test) < 2 {
		return
	}
	time.AfterFunc(h.Interval, func() {
		prog := newProgram(h.Test[1:], false, false, m.Probed)
		prog.begin()
		if !m.ended() {
			m.checkLater()
		}
	})
}

// Probed is a probe of the container's healthcheck that ends with a code.
func (m *Monitor) Probed(code int) {
	m.mu.Lock()
	check, u := m.Launch.Container.Config.Healthcheck, m.state
	m.mu.Unlock()
	if u.Status != davit.StatusRunning || check == nil {
		return
	}
	if u.Health == nil {
		u.Health = &davit.Health{Status: davit.HealthStarting}
	}
	id, start := ID(time.Now().String()), time.Now().UTC()
	u.Probe = &davit.Probe{ID: id}
	m.publish(u, false)
	health := *u.Health
	health.Log = append(slices.Clone(health.Log), davit.HealthProbe{Start: start, End: time.Now().UTC(), ExitCode: code})
	health.Log = health.Log[max(0, len(health.Log)-5):]
	if health.FailingStreak++; health.FailingStreak >= check.Retries {
		health.Status = davit.HealthUnhealthy
	}
	if code == 0 {
		health.Status, health.FailingStreak = davit.HealthHealthy, 0
	}
	u.Health, u.Probe = &health, &davit.Probe{ID: id, Ended: true, ExitCode: code}
	m.publish(u, false)
}

func (m *Monitor) startingHealth() *davit.Health {
	if m.Launch.Container.Config.Healthcheck == nil {
		return nil
	}
	return &davit.Health{Status: davit.HealthStarting}
}
