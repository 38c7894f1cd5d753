// SPDX-License-Identifier: Apache-2.0

// Package filter tells what is meant by the filters that users give lists and
// prunes.
package filter

import (
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// Table holds, for each key of a filter, what a value of it means.
type Table[T any] map[string]func(x T, value string) bool

// Check refuses keys that are not in the table, and what is neither yes nor no
// where it has to be: a prune that took it for a no would remove all images.
func (t Table[T]) Check(filters map[string][]string) error {
	for key, values := range filters {
		if t[key] == nil {
			return davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s'", key)
		}
		if !slices.Contains(yesOrNo, key) {
			continue
		}
		for _, v := range values {
			if !True(v) && v != "false" && v != "0" {
				return davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s=%s': it is true or false", key, v)
			}
			if True(v) != True(values[0]) {
				return davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s': it is both true and false", key)
			}
		}
	}
	return nil
}

// yesOrNo are the keys whose value is true or false, 1 or 0.
var yesOrNo = []string{"all", "dangling"}

// Match tells whether x is meant: the values of a key are alternatives, keys
// add up, and so do labels. The filters have been checked.
func (t Table[T]) Match(x T, filters map[string][]string) bool {
	for key, values := range filters {
		match := func(v string) bool { return t[key](x, v) }
		if strings.HasPrefix(key, "label") {
			match = func(v string) bool { return !t[key](x, v) }
		}
		if slices.ContainsFunc(values, match) == strings.HasPrefix(key, "label") {
			return false
		}
	}
	return true
}

// Label tells whether the labels have key or key=value.
func Label(labels map[string]string, want string) bool {
	k, v, hasValue := strings.Cut(want, "=")
	got, ok := labels[k]
	return ok && (!hasValue || got == v)
}

// True tells whether the value of a filter says yes.
func True(value string) bool { return value == "true" || value == "1" }
