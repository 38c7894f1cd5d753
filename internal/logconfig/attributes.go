// SPDX-License-Identifier: Apache-2.0

package logconfig

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Container is what the options may tell of a container.
type Container struct {
	ID, Name           string
	ImageID, ImageName string
	Command            []string
	Labels             map[string]string
	Env                []string // NAME=value
}

// Attrs returns the extra attributes of a record of the json-file driver, a
// JSON object; "" when there are none.
func (o *Options) Attrs(c *Container) (string, error) {
	attrs := make(map[string]string)
	o.each(c, func(key, value string) { attrs[key] = value })
	if text := o.tag.expand(c); text != "" {
		attrs["tag"] = text
	}
	if len(attrs) == 0 {
		return "", nil
	}
	data, err := json.Marshal(attrs)
	if err != nil {
		return "", fmt.Errorf("cannot encode the log attributes of container %s: %w", c.Name, err)
	}
	return string(data), nil
}

// Names of fields of the journal that a label cannot have: what they say is
// believed.
var reserved = []string{
	"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_TIMESTAMP", "CONTAINER_ID", "CONTAINER_ID_FULL", "CONTAINER_NAME", "CONTAINER_TAG",
	"IMAGE_NAME", "CONTAINER_LOG_EPOCH", "CONTAINER_LOG_ORDINAL",
	"CONTAINER_PARTIAL_MESSAGE", "CONTAINER_PARTIAL_ID", "CONTAINER_PARTIAL_ORDINAL", "CONTAINER_PARTIAL_LAST",
}

// fields that an entry of a container has beside its attributes.
var wellKnown = slices.Concat(reserved, []string{"CODE_FILE", "CODE_FUNC", "CODE_LINE", "MESSAGE_ID", "ERRNO", "SYSLOG_FACILITY", "SYSLOG_PID", "SYSLOG_RAW", "TID", "UNIT", "INVOCATION_ID", "USER_UNIT", "USER_INVOCATION_ID"})

// IsAttribute tells whether a field of a container's entry in the journal is
// one that the user asked for.
func IsAttribute(field string) bool {
	return !strings.HasPrefix(field, "_") && !slices.Contains(wellKnown, field)
}

// Fields returns the fields, NAME=value, that all entries of the journald
// driver have.
func (o *Options) Fields(c *Container) []string {
	text := o.tag.expand(c)
	fields := []string{
		"CONTAINER_ID=" + short(c.ID), "CONTAINER_ID_FULL=" + c.ID, "CONTAINER_NAME=" + c.Name, "CONTAINER_TAG=" + text,
		"IMAGE_NAME=" + c.ImageName, "SYSLOG_IDENTIFIER=" + text,
	}
	more := make(map[string]string)
	o.each(c, func(key, value string) {
		if name := fieldName(key); name != "" && IsAttribute(name) {
			more[name] = value
		}
	})
	for _, name := range slices.Sorted(maps.Keys(more)) {
		fields = append(fields, name+"="+more[name])
	}
	return fields
}

// fieldName makes a name that the journal takes: at most 64 of A-Z, 0-9 and _,
// and no digit first.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = strings.TrimLeft(name, "_0123456789")
	return name[:min(len(name), 64)]
}

// each visits the attributes that were asked for.
func (o *Options) each(c *Container, visit func(key, value string)) {
	env := make(map[string]string, len(c.Env))
	for _, kv := range c.Env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	pick := func(from map[string]string, names []string, re *regexp.Regexp) {
		for _, name := range names {
			if value, ok := from[name]; ok {
				visit(name, value)
			}
		}
		if re == nil {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(from)) {
			if re.MatchString(name) {
				visit(name, from[name])
			}
		}
	}
	pick(c.Labels, o.labels, o.labelsRegex)
	pick(env, o.env, o.envRegex)
}

func short(id string) string { return id[:min(len(id), 12)] }

// tag is a text with fields in it.
type tag []piece

// piece is text, or else a field.
type piece struct {
	text  string
	field func(*Container) string
}

// tagFields are those of Docker's log tag templates.
var tagFields = map[string]func(*Container) string{
	"ID":          func(c *Container) string { return short(c.ID) },
	"FullID":      func(c *Container) string { return c.ID },
	"Name":        func(c *Container) string { return c.Name },
	"ImageID":     func(c *Container) string { return short(strings.TrimPrefix(c.ImageID, "sha256:")) },
	"ImageFullID": func(c *Container) string { return c.ImageID },
	"ImageName":   func(c *Container) string { return c.ImageName },
	"DaemonName":  func(*Container) string { return "davit" },
	"Command":     func(c *Container) string { return strings.Join(c.Command, " ") },
}

// parseTag reads a template. It knows fields, and none of the functions of
// text/template.
func parseTag(text string) (tag, error) {
	var t tag
	for text != "" {
		before, rest, found := strings.Cut(text, "{{")
		if before != "" {
			t = append(t, piece{text: before})
		}
		if !found {
			break
		}
		inside, after, found := strings.Cut(rest, "}}")
		if !found {
			return nil, fmt.Errorf("{{ has no }}")
		}
		name, isField := strings.CutPrefix(strings.TrimSpace(inside), ".")
		get := tagFields[name]
		if !isField || get == nil {
			return nil, fmt.Errorf("{{%s}} is not known: use {{.%s}}", inside, strings.Join(slices.Sorted(maps.Keys(tagFields)), "}}, {{."))
		}
		t = append(t, piece{field: get})
		text = after
	}
	return t, nil
}

func (t tag) expand(c *Container) string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.text)
		if p.field != nil {
			b.WriteString(p.field(c))
		}
	}
	return b.String()
}
