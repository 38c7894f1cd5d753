// SPDX-License-Identifier: Apache-2.0

// Package values says what is known of the engine's things in the form of the
// bus: paths, properties and results.
package values

import (
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit/dbus/refusal"
)

// Properties are the values of an object's properties by their names.
type Properties map[string]any

// Variants returns the values as they go over the bus.
func (p Properties) Variants() map[string]godbus.Variant {
	out := make(map[string]godbus.Variant, len(p))
	for name, v := range p {
		out[name] = godbus.MakeVariant(v)
	}
	return out
}

// Only returns the named properties.
func (p Properties) Only(names ...string) Properties {
	out := Properties{}
	for _, n := range names {
		out[n] = p[n]
	}
	return out
}

// USec returns microseconds since the epoch, 0 for no time.
func USec(t time.Time) uint64 {
	if t.IsZero() || t.UnixMicro() < 0 {
		return 0
	}
	return uint64(t.UnixMicro())
}

// Text makes s fit for the bus.
func Text(s string) string { return refusal.Text(s) }

// Texts makes each of in fit for the bus.
func Texts(in []string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, Text(s))
	}
	return out
}
