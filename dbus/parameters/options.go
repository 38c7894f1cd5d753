// SPDX-License-Identifier: Apache-2.0

// Package parameters translates the a{sv} arguments of methods to the nouns of
// the engine.
package parameters

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/refusal"
)

// Options are the entries of an a{sv} argument that were not taken yet.
type Options struct {
	values map[string]godbus.Variant
	err    error // of the first that had a wrong type
}

// Of returns options of an argument, which loses what is taken.
func Of(values map[string]godbus.Variant) *Options { return &Options{values: values} }

// Err returns the error of the first option that had a wrong type.
func (o *Options) Err() error { return o.err }

// Rest returns the names of the options that were not taken.
func (o *Options) Rest() []string { return slices.Sorted(maps.Keys(o.values)) }

// Take stores the option of the name in dst if it is there.
func Take[T any](o *Options, name string, dst *T) {
	v, ok := o.values[name]
	if !ok {
		return
	}
	delete(o.values, name)
	value, ok := v.Value().(T)
	if !ok && o.err == nil {
		o.err = refusal.InvalidArgs("%s must be of type %s, not %s", name, godbus.SignatureOf(*dst), v.Signature())
	}
	*dst = value
}

// Finish refuses what was not taken.
func (o *Options) Finish() error {
	if o.err != nil {
		return o.err
	}
	var names []string
	for name := range o.values {
		names = append(names, name)
	}
	if len(names) > 0 {
		slices.Sort(names)
		return refusal.InvalidArgs("unknown property %s", fmt.Sprintf("%q", names[0]))
	}
	return nil
}

// Filters translates a{sv} filters: values are strings or lists of them.
func Filters(options map[string]godbus.Variant) (map[string][]string, error) {
	filters := map[string][]string{}
	for name, v := range options {
		switch v := v.Value().(type) {
		case string:
			filters[name] = []string{v}
		case []string:
			filters[name] = v
		default:
			return nil, refusal.InvalidArgs("filter %s must be of type s or as", name)
		}
	}
	return filters, nil
}

// Platform reads "linux/arm64/v8".
func Platform(s string) (p davit.Platform, err error) {
	if s == "" {
		return p, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return p, refusal.InvalidArgs("Platform %q is not of the form OS/ARCHITECTURE[/VARIANT]", s)
	}
	p.OS, p.Architecture = parts[0], parts[1]
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}
