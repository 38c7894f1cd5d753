// SPDX-License-Identifier: Apache-2.0

package davit

import "time"

// HealthStatus is what a container's healthcheck says of it, in the words of
// the Docker API.
type HealthStatus string

// The states of a healthcheck.
const (
	HealthStarting  HealthStatus = "starting"
	HealthHealthy   HealthStatus = "healthy"
	HealthUnhealthy HealthStatus = "unhealthy"
)

// Health is what a container's monitor knows by its healthcheck.
type Health struct {
	Status        HealthStatus
	FailingStreak int           // failures since the last success
	Log           []HealthProbe `json:",omitempty"` // the last five, oldest first
}

// String is Docker's word: the status, or none without a healthcheck.
func (h *Health) String() string {
	if h == nil {
		return "none"
	}
	return string(h.Status)
}

// HealthProbe is one run of a healthcheck.
type HealthProbe struct {
	Start, End time.Time
	ExitCode   int    // 0 is healthy; -1: it did not end in time, or could not be run
	Output     string // at most 4096 bytes
}

// Probe announces that a run of a healthcheck begins, or has ended.
type Probe struct {
	ID       string // 64 hexadecimal digits
	Ended    bool
	ExitCode int // when it has ended
}
