// SPDX-License-Identifier: Apache-2.0

package events

import (
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/filter"
)

// tests are the filters of GET /events.
var tests = map[string]func(ev davit.Event, v string) bool{
	"type":      func(ev davit.Event, v string) bool { return ev.Type == v },
	"event":     func(ev davit.Event, v string) bool { return ev.Action == v || strings.HasPrefix(ev.Action, v+":") },
	"scope":     func(_ davit.Event, v string) bool { return v == "local" },
	"label":     func(ev davit.Event, v string) bool { return filter.Label(ev.Attributes, v) },
	"image":     ofImage,
	"container": of("container"),
	"volume":    of("volume"),
	"network":   of("network"),
	"daemon":    of("daemon"),
	// There is nothing of these here, and nothing happens to it.
	"config":  of("config"),
	"node":    of("node"),
	"plugin":  of("plugin"),
	"secret":  of("secret"),
	"service": of("service"),
}

// types are those of the events that the API knows.
var types = []string{
	"builder", "config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume",
}

// of makes a filter by the thing that the event is about: by its name, its id or
// what the id begins with.
func of(class string) func(davit.Event, string) bool {
	return func(ev davit.Event, v string) bool {
		return ev.Type == class && v != "" && (strings.HasPrefix(ev.ActorID, v) || ev.Attributes["name"] == v)
	}
}

// ofImage means the image's own events and those of containers that were made
// of it, by id or name, with or without the tag.
func ofImage(ev davit.Event, v string) bool {
	name := ev.Attributes["image"]
	if ev.Type == "image" {
		name = ev.Attributes["name"]
	}
	return v != "" && slices.Contains([]string{name, untagged(name), ev.ActorID, untagged(ev.ActorID)}, v)
}

// untagged is a reference without its tag; the port of a registry is none.
func untagged(ref string) string {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') && !strings.HasPrefix(ref, "sha256:") {
		return ref[:i]
	}
	return ref
}

// matcher makes a test of the filters: values of one key are alternatives, keys
// add up, and so do labels. What could never happen is refused: it was meant to
// be something else.
func matcher(filters map[string][]string) (func(davit.Event) bool, error) {
	for key, values := range filters {
		if tests[key] == nil {
			return nil, davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s'", key)
		}
		for _, v := range values {
			if (key == "type" && !slices.Contains(types, v)) || (key == "scope" && v != "local" && v != "swarm") {
				return nil, davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s=%s'", key, v)
			}
		}
	}
	return func(ev davit.Event) bool {
		for key, values := range filters {
			test := tests[key]
			fails := func(v string) bool { return !test(ev, v) }
			passes := func(v string) bool { return test(ev, v) }
			if key == "label" && slices.ContainsFunc(values, fails) {
				return false
			}
			if key != "label" && len(values) > 0 && !slices.ContainsFunc(values, passes) {
				return false
			}
		}
		return true
	}, nil
}
