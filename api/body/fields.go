// SPDX-License-Identifier: Apache-2.0

package body

import (
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
)

// Decode reads the JSON value b into v, which points at a struct. A field that
// v has not is refused when it says anything, unless its name is in ignored.
func Decode(b []byte, v any, ignored []string) error {
	d := json.NewDecoder(strings.NewReader(string(b)))
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return invalid("invalid JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("unexpected content after JSON")
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return invalid("invalid JSON: %w", err)
	}
	return unknownFields(raw, v, ignored)
}

// unknownFields refuses fields of the JSON value raw that the type of v has
// not, unless their value is empty or their name is ignored. Clients of older
// versions send fields that have gone since, at their defaults.
func unknownFields(raw json.RawMessage, v any, ignored []string) error {
	name := findUnknown("", raw, reflect.TypeOf(v), ignored)
	if name == "" {
		return nil
	}
	if why, gone := retired[name[strings.LastIndexByte(name, '.')+1:]]; gone {
		return unsupported("%s is not supported: %s", name, why)
	}
	return invalid("unknown field %s in the request body", name)
}

// retired says why fields of older versions of the API have gone.
var retired = map[string]string{
	"KernelMemory":    noKernelMemory,
	"KernelMemoryTCP": noKernelMemory,
}

const noKernelMemory = "kernel memory has no limit of its own since API 1.42 and Linux 5.16; use Memory"

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// findUnknown returns the path of the first such field, "" for none.
func findUnknown(path string, raw json.RawMessage, t reflect.Type, ignored []string) string {
	if p := reflect.PointerTo(t); t.Kind() != reflect.Pointer && (p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler)) {
		return ""
	}
	switch t.Kind() {
	case reflect.Pointer:
		return findUnknown(path, raw, t.Elem(), ignored)
	case reflect.Slice, reflect.Array:
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return "" // null, or base64
		}
		for i, item := range items {
			if bad := findUnknown(path+"["+strconv.Itoa(i)+"]", item, t.Elem(), ignored); bad != "" {
				return bad
			}
		}
	case reflect.Map, reflect.Struct:
		var items map[string]json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return ""
		}
		for _, key := range sortedKeys(items) {
			if bad := findUnknownMember(path, key, items[key], t, ignored); bad != "" {
				return bad
			}
		}
	}
	return ""
}

func findUnknownMember(path, key string, raw json.RawMessage, t reflect.Type, ignored []string) string {
	full := strings.TrimPrefix(path+"."+key, ".")
	if t.Kind() == reflect.Map {
		return findUnknown(full, raw, t.Elem(), ignored)
	}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		if strings.EqualFold(name, key) { // as encoding/json matches
			return findUnknown(full, raw, f.Type, ignored)
		}
	}
	if emptyJSON(raw) || slices.Contains(ignored, full) {
		return ""
	}
	return full
}

// emptyJSON tells whether a value says nothing.
func emptyJSON(raw json.RawMessage) bool {
	return slices.Contains([]string{"null", `""`, "0", "false", "[]", "{}"}, string(raw))
}

// sortedKeys returns the keys of m in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func invalid(format string, args ...any) error {
	return davit.Errorf(davit.InvalidConfiguration, format, args...)
}

// unsupported returns the error of a valid request that the engine cannot
// serve.
func unsupported(format string, args ...any) error {
	return davit.Errorf(davit.NotSupported, format, args...)
}
