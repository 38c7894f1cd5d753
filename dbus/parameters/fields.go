// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/engine"
)

// subjectFields are the fields of requests that name the thing that a job is
// about, in the order in which EnqueueJob's subject looks for one.
var subjectFields = [...]string{"Container", "Image", "Network", "Volume", "Reference", "ID", "Name", "Class", "Term"}

// Fields returns the request's fields as values for JSON.
func Fields(t engine.TypeInfo, subject string, parameters map[string]godbus.Variant) (map[string]any, error) {
	fields := map[string]any{}
	for name, v := range parameters {
		if _, ok := t.Parameters[name]; !ok {
			known := slices.Sorted(maps.Keys(t.Parameters))
			return nil, refusal.InvalidArgs("job %s has no parameter %s (it has: %s)", t.Name, name, strings.Join(known, ", "))
		}
		value, err := plain(v.Value())
		if err != nil {
			return nil, refusal.InvalidArgs("parameter %s: %v", name, err)
		}
		fields[name] = value
	}
	if subject == "" {
		return fields, nil
	}
	for _, name := range subjectFields {
		if _, ok := t.Parameters[name]; !ok {
			continue
		}
		if _, twice := fields[name]; twice {
			return nil, refusal.InvalidArgs("job %s: the subject and parameter %s say the same", t.Name, name)
		}
		fields[name] = subject
		return fields, nil
	}
	return nil, refusal.InvalidArgs("job %s takes no subject", t.Name)
}

// plain converts a value from the bus to one that encoding/json writes.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case godbus.Variant:
		return plain(v.Value())
	case godbus.UnixFD, godbus.UnixFDIndex, godbus.Signature:
		return nil, fmt.Errorf("a value of type %s is not understood", godbus.SignatureOf(v))
	case map[string]godbus.Variant:
		out := map[string]any{}
		for k, e := range v {
			p, err := plain(e.Value())
			if err != nil {
				return nil, err
			}
			out[k] = p
		}
		return out, nil
	case []godbus.Variant:
		out := []any{}
		for _, e := range v {
			p, err := plain(e.Value())
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
		return out, nil
	}
	return v, nil
}

// Fill decodes the fields into a request, which is a pointer to a
// struct of the root package.
func Fill(target any, fields map[string]any) error {
	data, err := json.Marshal(fields)
	if err != nil {
		return refusal.InvalidArgs("the parameters cannot be converted: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	err = dec.Decode(target)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch):
		return refusal.InvalidArgs("parameter %s must be of type %s", mismatch.Field, Signature(mismatch.Type.String()))
	case err != nil:
		return refusal.InvalidArgs("%v", err)
	}
	return nil
}

// signatures are the D-Bus types that the Go types of request fields are best
// given in.
var signatures = map[string]string{
	"string": "s", "bool": "b", "[]string": "as", "map[string]string": "a{ss}", "map[string][]string": "a{sas}",
	"int": "x", "int32": "i", "int64": "x", "uint": "t", "uint16": "q", "uint32": "u", "uint64": "t", "float64": "d",
	"time.Duration": "x", "*time.Duration": "x", // nanoseconds
	"time.Time": "s", // RFC 3339
}

// Signature returns the D-Bus type that a parameter is given in: structures
// of the root package are dictionaries.
func Signature(goType string) string {
	if s, ok := signatures[goType]; ok {
		return s
	}
	if strings.HasPrefix(goType, "[") {
		return "av"
	}
	return "a{sv}"
}
