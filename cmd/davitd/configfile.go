// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/davit-engine/davit"
)

// configFile is a daemon.json that was read: its keys, where they are and what
// they say.
type configFile struct {
	path   string
	data   []byte
	order  []string
	values map[string]json.RawMessage
	at     map[string]int64 // offsets in data
}

// readConfigFile reads a file and refuses what is no object, or has a key
// twice. Its errors say in which line.
func readConfigFile(path string) (*configFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	f := &configFile{path: path, data: data, values: map[string]json.RawMessage{}, at: map[string]int64{}}
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(data, &json.RawMessage{}); {
	case errors.As(err, &syntax):
		return nil, f.wrong(syntax.Offset, "%w", err)
	case err != nil:
		return nil, f.wrong(0, "%w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, f.wrong(0, "it must be an object, {…}")
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, f.wrong(d.InputOffset(), "%w", err)
		}
		key, at := fmt.Sprint(token), d.InputOffset()
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, f.wrong(at, "%s: %w", key, err)
		}
		if f.has(key) {
			return nil, f.wrong(at, "%s is given twice", key)
		}
		f.order, f.values[key], f.at[key] = append(f.order, key), value, at
	}
	return f, nil
}

func (f *configFile) has(key string) bool {
	_, ok := f.values[key]
	return ok
}

// wrong is an error about what is at an offset.
func (f *configFile) wrong(offset int64, format string, args ...any) error {
	line := 1 + bytes.Count(f.data[:min(max(0, offset), int64(len(f.data)))], []byte("\n"))
	return fmt.Errorf("cannot read the configuration: %s, line %d: %w", f.path, line, fmt.Errorf(format, args...))
}

// over puts what the file says over c, and sees that the whole makes sense.
func (f *configFile) over(c davit.Config) (davit.Config, error) {
	before := c
	for _, key := range f.order {
		if err := f.set(&c, key); err != nil {
			return before, err
		}
	}
	err := validate(&c)
	if err == nil {
		return c, nil
	}
	// It is the fault of the one key without which all is well; otherwise the
	// message names those that exclude one another.
	for _, key := range f.order {
		without := before
		for _, other := range f.order {
			if other != key {
				_ = f.set(&without, other) // it succeeded above
			}
		}
		if validate(&without) == nil {
			return before, f.wrong(f.at[key], "%w", err)
		}
	}
	return before, fmt.Errorf("cannot read the configuration: %s: %w", f.path, err)
}

// set sets one key of c.
func (f *configFile) set(c *davit.Config, key string) error {
	v := reflect.ValueOf(c).Elem()
	for field := range v.Type().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != key {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(f.values[key]))
		d.DisallowUnknownFields()
		into := reflect.New(field.Type) // not merged with what was there
		err := d.Decode(into.Interface())
		var mismatch *json.UnmarshalTypeError
		switch {
		case errors.As(err, &mismatch):
			return f.wrong(f.at[key], "%s is of type %s, and must not be a %s", strings.Trim(key+"."+mismatch.Field, "."), kindName(mismatch.Type), mismatch.Value)
		case err != nil:
			return f.wrong(f.at[key], "%s: %w", key, err)
		}
		v.FieldByIndex(field.Index).Set(into.Elem())
		return nil
	}
	return f.wrong(f.at[key], "there is no key %q (davitd --help lists the flags, whose names the keys are)", key)
}

// kindName is what a type of Go is called in JSON.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "array"
	case reflect.Map:
		return "object"
	case reflect.Int, reflect.Int64:
		return "number"
	case reflect.Struct:
		if t.NumField() > 0 && t.Field(0).IsExported() {
			return "object"
		}
	}
	return "string"
}
