// SPDX-License-Identifier: Apache-2.0

package protocol

import "time"

// Healthcheck is a command that tells how a container is. All fields are set.
type Healthcheck struct {
	Args          []string
	Interval      time.Duration // between the end of a probe and the next
	Timeout       time.Duration // of a probe, which is killed then
	StartPeriod   time.Duration // in which failures do not count, until the first success
	StartInterval time.Duration // the interval in it
	Retries       int           // so many failures in a row are unhealthy
}

// The states of a container with a healthcheck.
const (
	Starting  = "starting"
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
)

// Health is what the probes so far say.
type Health struct {
	Status        string
	FailingStreak int
}

// Probe is a run of a healthcheck, as it is announced.
type Probe struct {
	ID       string // 64 hexadecimal digits
	Ended    bool
	ExitCode int // when Ended; -1: it did not end in time, or could not be run
}

// MaxProbes is how many probes are kept, and MaxProbeOutput how much of what
// one of them wrote, in bytes.
const (
	MaxProbes      = 5
	MaxProbeOutput = 4096
)

// ProbeResult is an element of health.json, which has the oldest first.
type ProbeResult struct {
	Start, End time.Time
	ExitCode   int
	Output     []byte
}
