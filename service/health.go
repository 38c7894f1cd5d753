// SPDX-License-Identifier: Apache-2.0

package service

import (
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/request"
)

// starting is the health of a container that begins to run; nil without a
// healthcheck.
func starting(c *davit.ContainerConfig) *davit.Health {
	if !request.Checked(c) {
		return nil
	}
	return &davit.Health{Status: davit.HealthStarting}
}

// applyHealthLocked records what the monitor tells of the container's health,
// with the events of the exec session that a probe is to Docker. The lock of
// the container is held.
func (s *Service) applyHealthLocked(r *davit.Container, u davit.Update) {
	if p := u.Probe; p != nil {
		s.probed(r, p)
	}
	if u.Health == nil {
		return
	}
	before := r.State.Health
	r.State.Health = u.Health
	if (before == nil || before.Status != u.Health.Status) && u.Health.Status != davit.HealthStarting {
		s.events.Container("health_status: "+string(u.Health.Status), r, nil)
	}
}

func (s *Service) probed(r *davit.Container, p *davit.Probe) {
	if p.Ended {
		s.events.Container("exec_die", r, map[string]string{"execID": p.ID, "exitCode": strconv.Itoa(p.ExitCode)})
		return
	}
	if !request.Checked(&r.Config) {
		return
	}
	command := r.Config.Healthcheck.Test[1:]
	if r.Config.Healthcheck.Test[0] == "CMD-SHELL" {
		command = append(request.Shell(&r.Config), command...)
	}
	for _, action := range []string{"exec_create: ", "exec_start: "} {
		s.events.Container(action+strings.Join(command, " "), r, map[string]string{"execID": p.ID})
	}
}
