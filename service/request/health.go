// SPDX-License-Identifier: Apache-2.0

package request

import (
	"cmp"
	"slices"
	"time"

	"github.com/davit-engine/davit"
)

// mergeHealthcheck gives the user's healthcheck what it leaves open.
func mergeHealthcheck(user, img *davit.Healthcheck) *davit.Healthcheck {
	if user == nil || img == nil {
		return cmp.Or(user, img)
	}
	h := *user
	if len(h.Test) == 0 {
		h.Test = img.Test
	}
	h.Interval = cmp.Or(h.Interval, img.Interval)
	h.Timeout = cmp.Or(h.Timeout, img.Timeout)
	h.StartPeriod = cmp.Or(h.StartPeriod, img.StartPeriod)
	h.StartInterval = cmp.Or(h.StartInterval, img.StartInterval)
	h.Retries = cmp.Or(h.Retries, img.Retries)
	return &h
}

// Checked tells whether a container has a healthcheck that is run.
func Checked(c *davit.ContainerConfig) bool {
	h := c.Healthcheck
	return h != nil && len(h.Test) > 1 && h.Test[0] != "NONE"
}

// Shell is what a container runs a line with.
func Shell(c *davit.ContainerConfig) []string {
	if len(c.Shell) > 0 {
		return slices.Clone(c.Shell)
	}
	return []string{"/bin/sh", "-c"}
}

// minHealthDuration is Docker's.
const minHealthDuration = time.Millisecond

// checkHealthcheck refuses what Docker refuses, in its words, and a test that it
// would ignore.
func checkHealthcheck(h *davit.Healthcheck) error {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.value != 0 && d.value < minHealthDuration {
			return invalid("%s in Healthcheck cannot be less than %s", d.name, minHealthDuration)
		}
	}
	if h.Retries < 0 {
		return invalid("Retries in Healthcheck cannot be negative")
	}
	if len(h.Test) == 0 {
		return nil
	}
	switch h.Test[0] {
	case "", "NONE":
	case "CMD", "CMD-SHELL":
		if len(h.Test) == 1 {
			return invalid("Test in Healthcheck is %s without a command", h.Test[0])
		}
	default:
		return invalid("Unknown healthcheck type '%s': Test in Healthcheck begins with NONE, CMD or CMD-SHELL", h.Test[0])
	}
	return nil
}
