// SPDX-License-Identifier: Apache-2.0

package request

import (
	"maps"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// Merge completes what the user gave by what the image has.
func Merge(user, img davit.ContainerConfig) davit.ContainerConfig {
	c := user
	if c.User == "" {
		c.User = img.User
	}
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = img.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = img.Entrypoint
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" { // --entrypoint ""
		c.Entrypoint = nil
	}
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
	if c.StopTimeout == nil {
		c.StopTimeout = img.StopTimeout
	}
	if c.Shell == nil {
		c.Shell = img.Shell
	}
	c.Healthcheck = mergeHealthcheck(c.Healthcheck, img.Healthcheck)
	c.Env = MergeEnv(img.Env, user.Env)
	c.ExposedPorts = MergeMap(img.ExposedPorts, user.ExposedPorts)
	c.Volumes = MergeMap(img.Volumes, user.Volumes)
	c.Labels = MergeMap(img.Labels, user.Labels)
	return c
}

// MergeEnv returns the image's variables overridden by the user's, each in
// its first place.
func MergeEnv(img, user []string) []string {
	out := slices.Clone(user)
	set := map[string]bool{}
	for _, kv := range user {
		k, _, _ := strings.Cut(kv, "=")
		set[k] = true
	}
	for _, kv := range img {
		if k, _, _ := strings.Cut(kv, "="); !set[k] {
			out = append(out, kv)
		}
	}
	return out
}

// MergeMap returns base overridden by over; nil when both are empty.
func MergeMap[V any](base, over map[string]V) map[string]V {
	if len(base)+len(over) == 0 {
		return nil
	}
	out := make(map[string]V, len(base)+len(over))
	for _, m := range []map[string]V{base, over} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// WithDefaults adds the limits that were not given, by name.
func WithDefaults(given []davit.Ulimit, defaults map[string]davit.Ulimit) []davit.Ulimit {
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		if !slices.ContainsFunc(given, func(u davit.Ulimit) bool { return strings.EqualFold(u.Name, name) }) {
			given = append(given, defaults[name])
		}
	}
	return given
}
