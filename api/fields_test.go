// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/body"
)

// bodies are the endpoints with a body of fields: what is refused of it, and
// what is an answer.
var bodies = map[string]struct {
	refusals []body.Refusal
	answers  []string
	remarks  map[string]string
}{
	"POST /containers/create":      {body.CreateRefusals, body.CreateAnswers, body.CreateRemarks},
	"POST /containers/{id}/update": {body.UpdateRefusals, nil, nil},
	"POST /containers/{id}/exec":   {},
	"POST /exec/{id}/start":        {},
	"POST /volumes/create":         {body.VolumeRefusals, nil, nil},
}

// samples are values of fields that take no other ones. Of a field that is
// refused but for some values, it is one that is refused.
var samples = map[string]any{
	"ExposedPorts":             object{"80/tcp": object{}},
	"Volumes":                  object{"/v": object{}},
	"HostConfig.ConsoleSize":   list{24, 80},
	"ConsoleSize":              list{24, 80},
	"HostConfig.Dns":           list{"192.0.2.1"},
	"HostConfig.NetworkMode":   "container:x",
	"HostConfig.Mounts.Type":   "npipe",
	"HostConfig.MaskedPaths":   list{"/x"},
	"HostConfig.ReadonlyPaths": list{"/x"},

	"HostConfig.PortBindings.HostIp": "192.0.2.1", "HostConfig.PortBindings.HostPort": "8080",
	"HostConfig.RestartPolicy.Name": "always", "RestartPolicy.Name": "always",

	"NetworkingConfig.EndpointsConfig.MacAddress": "02:42:ac:11:00:09",
	"NetworkingConfig.EndpointsConfig.Gateway":    "192.0.2.1", "NetworkingConfig.EndpointsConfig.IPAddress": "192.0.2.1",
	"NetworkingConfig.EndpointsConfig.IPv6Gateway": "2001:db8::1", "NetworkingConfig.EndpointsConfig.GlobalIPv6Address": "2001:db8::1",
	"NetworkingConfig.EndpointsConfig.IPAMConfig.IPv4Address": "192.0.2.1", "NetworkingConfig.EndpointsConfig.IPAMConfig.IPv6Address": "2001:db8::1",
	"NetworkingConfig.EndpointsConfig.IPAMConfig.LinkLocalIPs": list{"169.254.0.1"},
}

// good are values of fields that are refused but for some values.
var good = map[string]list{
	"HostConfig.CgroupnsMode":  {"private"},
	"HostConfig.IpcMode":       {"private"},
	"HostConfig.Isolation":     {"default"},
	"HostConfig.NetworkMode":   {"host", "none", "bridge", "default"},
	"HostConfig.Runtime":       {"runc"},
	"HostConfig.UsernsMode":    {"host"},
	"HostConfig.VolumeDriver":  {"local"},
	"HostConfig.MaskedPaths":   {nil},
	"HostConfig.ReadonlyPaths": {nil},
	"HostConfig.Mounts.Type":   {"bind", "volume", "tmpfs"},

	"HostConfig.MemorySwappiness": {-1}, "MemorySwappiness": {-1},
	"HostConfig.Mounts.VolumeOptions.DriverConfig.Name": {"local"},
}

// beside is what a field needs beside it, by the beginning of its name.
var beside = []struct {
	prefix string
	with   object
}{
	{"HostConfig.Mounts.BindOptions.", mountOf("bind")},
	{"HostConfig.Mounts.ImageOptions.", mountOf("image")},
	{"HostConfig.Mounts.TmpfsOptions.", mountOf("tmpfs")},
	{"HostConfig.Mounts.VolumeOptions.", mountOf("volume")},
	{"HostConfig.Mounts.", mountOf("bind")},
	{"HostConfig.RestartPolicy.MaximumRetryCount", object{"HostConfig": object{"RestartPolicy": object{"Name": "on-failure"}}}},
	{"RestartPolicy.MaximumRetryCount", object{"RestartPolicy": object{"Name": "on-failure"}}},
}

func mountOf(kind string) object {
	return object{"HostConfig": object{"Mounts": list{object{"Type": kind, "Target": "/t"}}}}
}

// keys are those of maps that do not take any.
var keys = map[string]string{"EndpointsConfig": "bridge", "PortBindings": "80/tcp"}

// sample makes a value that says something.
func (s *swagger) sample(of *schema) any {
	switch of.Type {
	case "integer":
		return 7
	case "boolean":
		return true
	case "array":
		return list{s.sample(s.resolve(of.Items))}
	case "object":
		if e := s.elem(of); e != nil {
			return object{"something": s.sample(e)}
		}
		return object{"something": object{}}
	}
	return "something"
}

// within makes the body in which a field has a value.
func (l leaf) within(value any) any {
	for _, name := range slices.Backward(l.path) {
		bare := strings.TrimRight(name, "[]{}")
		for marks := name[len(bare):]; marks != ""; marks = marks[:len(marks)-2] {
			if strings.HasSuffix(marks, "[]") {
				value = list{value}
			} else {
				value = object{cmp.Or(keys[bare], "something"): value}
			}
		}
		value = object{bare: value}
	}
	return value
}

// find is the inverse of within: it returns nil when there is no such value.
func (l leaf) find(in any) any {
	for _, name := range l.path {
		bare := strings.TrimRight(name, "[]{}")
		o, _ := in.(object)
		in = o[bare]
		for marks := name[len(bare):]; marks != ""; marks = marks[2:] {
			switch x := in.(type) {
			case list:
				if len(x) == 0 {
					return nil
				}
				in = x[0]
			case object:
				key := cmp.Or(keys[bare], "something")
				if names := slices.Sorted(maps.Keys(x)); x[key] == nil && len(names) > 0 {
					key = names[0]
				}
				in = x[key]
			}
		}
	}
	return in
}

// merged puts what over has into base.
func merged(base, over any) any {
	switch o := over.(type) {
	case object:
		b, _ := base.(object)
		out := maps.Clone(b)
		if out == nil {
			out = object{}
		}
		for k, v := range o {
			out[k] = merged(out[k], v)
		}
		return out
	case list:
		b, _ := base.(list)
		out := slices.Clone(b)
		for i, v := range o {
			if i == len(out) {
				out = append(out, nil)
			}
			out[i] = merged(out[i], v)
		}
		return out
	}
	return over
}

// around is the body that a field is put into.
func around(op, name string) any {
	for _, b := range beside {
		if strings.HasPrefix(name, b.prefix) {
			return merged(mustBody[op], b.with)
		}
	}
	return mustBody[op]
}

// fieldState finds out what becomes of a field.
func (rec *recorder) fieldState(op string, l leaf, value any) (state, string) {
	rec.t.Helper()
	method, path, _ := strings.Cut(op, " ")
	base, without := rec.ask(method, path, nil, around(op, l.name()))
	jobs, reply := rec.ask(method, path, nil, merged(around(op, l.name()), l.within(value)))
	last := strings.TrimRight(l.path[len(l.path)-1], "[]{}")
	return stateOf(last, jobs, base, reply, without), reply.body
}

func (s *swagger) sampleOf(l leaf) any {
	if v, ok := samples[l.name()]; ok {
		return v
	}
	return s.sample(l.of)
}

// refusalOf returns the row that a field is refused by.
func refusalOf(rows []body.Refusal, name string) *body.Refusal {
	for i, r := range rows {
		if r.Field == name || strings.HasPrefix(name, r.Field+".") {
			return &rows[i]
		}
	}
	return nil
}

// notAField says of fields that are documented, and are none of Docker's own
// types, why they are refused.
var notAField = map[string]string{
	"POST /containers/{id}/update Init": "Docker's own types have it not",
}

// TestFields sends each field that is documented. It must be refused by its
// row, change what the engine is asked, or be an answer by the table.
func TestFields(t *testing.T) {
	spec, rec := readSwagger(t), newRecorder(t)
	for op, is := range bodies {
		used := map[string]bool{}
		for _, l := range spec.leaves(spec.operation(op).body()) {
			want := honoured
			row := refusalOf(is.refusals, l.name())
			switch {
			case row != nil:
				want, used[row.Field] = refused, true
			case notAField[op+" "+l.name()] != "":
				want = refused
			case slices.Contains(is.answers, l.name()):
				want, used[l.name()] = ignored, true
			}
			if row != nil && row.Field != l.name() { // what is refused as a whole
				continue
			}
			got, reply := rec.fieldState(op, l, spec.sampleOf(l))
			if got != want {
				t.Errorf("%s: %s has %s, by the table %s: %s", op, l.name(), got, want, reply)
			}
			if row != nil && row.But != "" && good[l.name()] == nil {
				t.Errorf("%s: of %s %q is honoured, and nothing tries it", op, l.name(), row.But)
			}
			for _, value := range good[l.name()] {
				if got, reply := rec.fieldState(op, l, value); got == refused {
					t.Errorf("%s: %s: %v: %s: %s", op, l.name(), value, got, reply)
				}
			}
		}
		for _, r := range is.refusals {
			if !used[r.Field] && refusedWhole(spec, op, r.Field) == nil {
				t.Errorf("%s: %s is refused, and not documented", op, r.Field)
			}
		}
		for name := range is.remarks {
			if !slices.ContainsFunc(spec.leaves(spec.operation(op).body()), func(l leaf) bool { return l.name() == name }) {
				t.Errorf("%s: %s is remarked on, and not documented", op, name)
			}
		}
		for _, name := range is.answers {
			if !used[name] {
				t.Errorf("%s: %s is in the table, and not documented", op, name)
			}
		}
	}
}

// refusedWhole returns a field of the one named, which has some; nil when it
// has none.
func refusedWhole(spec *swagger, op, name string) *leaf {
	for _, l := range spec.leaves(spec.operation(op).body()) {
		if strings.HasPrefix(l.name(), name+".") {
			return &l
		}
	}
	return nil
}

// TestWholeFields sends what is refused with all that it has.
func TestWholeFields(t *testing.T) {
	spec, rec := readSwagger(t), newRecorder(t)
	for op, is := range bodies {
		for _, r := range is.refusals {
			l := refusedWhole(spec, op, r.Field)
			if l == nil {
				continue
			}
			method, path, _ := strings.Cut(op, " ")
			_, reply := rec.ask(method, path, nil, merged(around(op, l.name()), l.within(spec.sample(l.of))))
			if reply.status < 400 || !strings.Contains(reply.message(), r.Field) {
				t.Errorf("%s: %s: %d %s", op, r.Field, reply.status, reply.body)
			}
		}
	}
}

// elsewhere are fields of a create request that inspect tells at another place,
// or in another form.
var elsewhere = map[string]string{
	"NetworkingConfig.EndpointsConfig.MacAddress": "NetworkSettings.Networks.bridge.MacAddress",
}

// TestInspectTellsBack creates with each field that is honoured, and inspects.
func TestInspectTellsBack(t *testing.T) {
	spec, rec := readSwagger(t), newRecorder(t)
	const op = "POST /containers/create"
	for _, l := range spec.leaves(spec.operation(op).body()) {
		name, sent := l.name(), spec.sampleOf(l)
		if refusalOf(body.CreateRefusals, name) != nil || slices.Contains(body.CreateAnswers, name) {
			continue
		}
		if got, _ := rec.fieldState(op, l, sent); got != honoured {
			continue // TestFields tells
		}
		_, reply := rec.ask("GET", "/containers/x/json", nil, nil)
		var told any
		if err := json.Unmarshal([]byte(reply.body), &told); err != nil {
			t.Fatal(err)
		}
		at := leaf{path: slices.Concat([]string{"Config"}, l.path)}
		if l.path[0] == "HostConfig" {
			at = l
		}
		if other, ok := elsewhere[name]; ok {
			at = leaf{path: strings.Split(other, ".")}
		}
		b, _ := json.Marshal(sent) // to JSON's own types
		var want any
		_ = json.Unmarshal(b, &want)
		if got := at.find(told); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: sent %v, told %v", name, want, got)
		}
	}
}

// TestLegacyMAC sends the hardware address as clients before API 1.52 did.
func TestLegacyMAC(t *testing.T) {
	rec := newRecorder(t)
	for _, tc := range []struct{ path, body, mac, message string }{
		{"/v1.43", `"MacAddress":"02:42:ac:11:00:09"`, "02:42:ac:11:00:09", ""},
		{"/v1.51", `"MacAddress":"","HostConfig":{"NetworkMode":"none"}`, "", ""},
		{"/v1.43", `"MacAddress":"02:42:ac:11:00:09","HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":null}}`, "02:42:ac:11:00:09", ""},
		{"/v1.43", `"MacAddress":"02:42:ac:11:00:09","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:ac:11:00:09"}}}`, "02:42:ac:11:00:09", ""},
		{"/v1.43", `"MacAddress":"02:42:ac:11:00:09","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:ac:11:00:08"}}}`, "", "must match the endpoint-specific"},
		{"/v1.43", `"MacAddress":"02:42:ac:11:00:09","HostConfig":{"NetworkMode":"host"}`, "", "conflicting options: mac-address"},
		{"/v1.52", `"MacAddress":"02:42:ac:11:00:09"`, "", "unknown field MacAddress"},
	} {
		rec.last = davit.Create{}
		r := rec.do("POST", tc.path+"/containers/create", `{"Image":"x",`+tc.body+`}`)
		if rec.last.MAC != tc.mac || (r.status == 201) != (tc.message == "") || !strings.Contains(r.message(), tc.message) {
			t.Errorf("%s %s: %q, %d %s", tc.path, tc.body, rec.last.MAC, r.status, r.body)
		}
	}
}
