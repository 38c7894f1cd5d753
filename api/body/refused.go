// SPDX-License-Identifier: Apache-2.0

package body

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/volume"
)

// A Refusal is a field of a body that is refused, all of it or some values.
// The tables below are the one place that says so: the door refuses by them,
// and docs/api.md is made of them. Who builds a feature takes its row away, and
// has the field carried by what translates the body; the tests of this package
// tell when a field is neither here nor changes the request to the engine.
type Refusal struct {
	// Field is its path, in the words of the JSON; through a list or a map it
	// goes to each element.
	Field string
	// Why is the end of "… is not supported"; "" is "yet".
	Why string
	// But says in words which values are honoured all the same, and fine tells
	// whether one is; nil: none. A value that says nothing (zero, empty) is fine.
	But  string
	fine func(value any) bool
	// given: what is there says something, though it be zero or empty; only null
	// and absence do not.
	given bool
}

const (
	windows  = ": it is of Windows"
	oneMore  = " yet: a container can join one network"
	noRemap  = ": users are not remapped"
	nowhere  = ": links need networks with names, which come later; use addresses"
	atCreate = ": it is set when a container is made"
	noDriver = ": the network driver has no options"
)

// CreateRefusals are those of POST /containers/create.
var CreateRefusals = []Refusal{
	{Field: "ArgsEscaped", Why: windows},
	{Field: "NetworkDisabled", Why: ": use HostConfig.NetworkMode none"},

	{Field: "HostConfig.Cgroup", Why: ": the cgroup of another container is not joined; use HostConfig.CgroupParent"},
	{Field: "HostConfig.Isolation", Why: windows, But: "default", fine: oneOf("default")},
	{Field: "HostConfig.Links", Why: nowhere},
	{Field: "HostConfig.Runtime", Why: ": the runtime is part of Davit", But: "runc", fine: oneOf("runc")},
	{Field: "HostConfig.StorageOpt", Why: ": the size of a container is limited only for overlay over xfs with quota of projects"},
	{Field: "HostConfig.UsernsMode", Why: noRemap, But: "host", fine: oneOf("host")},

	{Field: "HostConfig.CpuCount", Why: windows},
	{Field: "HostConfig.CpuPercent", Why: windows},
	{Field: "HostConfig.IOMaximumBandwidth", Why: windows},
	{Field: "HostConfig.IOMaximumIOps", Why: windows},

	{Field: "HostConfig.Mounts.Type", Why: ": its volumes are those of a swarm, or of Windows", But: "bind, volume, tmpfs, image", fine: oneOf("bind", "volume", "tmpfs", "image")},

	{Field: "NetworkingConfig.EndpointsConfig.Aliases", Why: ": network-scoped alias is supported only for containers in user defined networks"},
	{Field: "NetworkingConfig.EndpointsConfig.DriverOpts", Why: noDriver},
	{Field: "NetworkingConfig.EndpointsConfig.GwPriority", Why: oneMore},
	{Field: "NetworkingConfig.EndpointsConfig.IPAMConfig.IPv4Address", Why: ": user specified IP address is supported on user defined networks only"},
	{Field: "NetworkingConfig.EndpointsConfig.IPAMConfig.IPv6Address", Why: ": user specified IP address is supported on user defined networks only"},
	{Field: "NetworkingConfig.EndpointsConfig.IPAMConfig.LinkLocalIPs", Why: ": link-local addresses are supported on user defined networks only"},
	{Field: "NetworkingConfig.EndpointsConfig.Links", Why: nowhere},
}

// UpdateRefusals are those of POST /containers/{id}/update: what cannot be
// changed once a container is made.
var UpdateRefusals = []Refusal{
	{Field: "BlkioDeviceReadBps", Why: atCreate},
	{Field: "BlkioDeviceReadIOps", Why: atCreate},
	{Field: "BlkioDeviceWriteBps", Why: atCreate},
	{Field: "BlkioDeviceWriteIOps", Why: atCreate},
	{Field: "BlkioWeightDevice", Why: atCreate},
	{Field: "CgroupParent", Why: atCreate},
	{Field: "CpuCount", Why: windows},
	{Field: "CpuPercent", Why: windows},
	{Field: "DeviceCgroupRules", Why: atCreate},
	{Field: "DeviceRequests", Why: atCreate},
	{Field: "Devices", Why: atCreate},
	{Field: "IOMaximumBandwidth", Why: windows},
	{Field: "IOMaximumIOps", Why: windows},
	{Field: "MemorySwappiness", Why: atCreate, But: "-1, as it is", fine: oneOf("-1")},
	{Field: "OomKillDisable", Why: atCreate},
	{Field: "Ulimits", Why: atCreate},
}

// CreateAnswers are fields of a create request that are answers and no questions:
// inspect tells them of an endpoint, and they mean nothing when they are sent.
var CreateAnswers = []string{
	"NetworkingConfig.EndpointsConfig.DNSNames",
	"NetworkingConfig.EndpointsConfig.EndpointID",
	"NetworkingConfig.EndpointsConfig.Gateway",
	"NetworkingConfig.EndpointsConfig.GlobalIPv6Address",
	"NetworkingConfig.EndpointsConfig.GlobalIPv6PrefixLen",
	"NetworkingConfig.EndpointsConfig.IPAddress",
	"NetworkingConfig.EndpointsConfig.IPPrefixLen",
	"NetworkingConfig.EndpointsConfig.IPv6Gateway",
	"NetworkingConfig.EndpointsConfig.NetworkID",
}

// CreateRemarks say of fields that are taken what else there is to say.
var CreateRemarks = map[string]string{
	"HostConfig.ContainerIDFile":    "kept and told; it is the client that writes the file",
	"HostConfig.Mounts.Consistency": "kept and told; it has no effect on Linux",
	"HostConfig.Ulimits.Hard":       "-1 is as much as the host gives; what is above that is refused when the container starts",
	"OnBuild":                       "kept and told; it counts in images that are made of the container",
	"Shell":                         "kept and told; it counts in images that are made of the container",
}

// VolumeRefusals are those of POST /volumes/create.
var VolumeRefusals = []Refusal{{Field: "ClusterVolumeSpec", Why: ": this node is not a swarm manager"}}

var (
	refuseCreate = refuse[container.CreateRequest](CreateRefusals)
	refuseUpdate = refuse[container.UpdateConfig](UpdateRefusals)
	refuseVolume = refuse[volume.CreateRequest](VolumeRefusals)
)

func oneOf(values ...string) func(any) bool {
	return func(v any) bool { return slices.Contains(values, fmt.Sprint(v)) }
}

// refusing is a table that is ready to be used on values of T.
type refusing[T any] func(*T) error

// refuse compiles a table when it is first used. It panics when a field is not
// one of T's.
func refuse[T any](table []Refusal) refusing[T] {
	compiled := sync.OnceValue(func() [][][]int {
		paths := make([][][]int, len(table))
		for i, r := range table {
			paths[i] = indexPath(reflect.TypeFor[T](), strings.Split(r.Field, "."))
		}
		return paths
	})
	return func(v *T) error {
		for i, path := range compiled() {
			r := &table[i]
			if v, found := r.find(reflect.ValueOf(v), path); found {
				return unsupported("%s%s is not supported%s", r.Field, shown(v), r.Reason())
			}
		}
		return nil
	}
}

// Reason is how the refusal's text ends after "is not supported".
func (r *Refusal) Reason() string {
	if r.Why == "" {
		return " yet"
	}
	return r.Why
}

// shown returns a value that is a word with a space before it.
func shown(v reflect.Value) string {
	if v.Kind() == reflect.String {
		return " " + v.String()
	}
	return ""
}

// indexPath finds fields by their names in JSON, one index each.
func indexPath(t reflect.Type, names []string) (path [][]int) {
	for _, name := range names {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		f, ok := fieldNamed(t, name)
		if !ok {
			panic(fmt.Sprintf("%s has no field %s", t, name))
		}
		path, t = append(path, f.Index), f.Type
	}
	return path
}

// fieldNamed finds a field as encoding/json does.
func fieldNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous && f.IsExported() && strings.EqualFold(jsonName(f), name) {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func jsonName(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
		return name
	}
	return f.Name
}

// find returns the first value at the path that is to be refused.
func (r *Refusal) find(v reflect.Value, path [][]int) (reflect.Value, bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v, false
		}
		return r.find(v.Elem(), path)
	case reflect.Slice, reflect.Map:
		if len(path) == 0 {
			break
		}
		for _, elem := range v.Seq2() {
			if bad, found := r.find(elem, path); found {
				return bad, true
			}
		}
		return v, false
	}
	if len(path) > 0 {
		return r.find(v.FieldByIndex(path[0]), path[1:])
	}
	return v, r.asks(v) && (r.fine == nil || !r.fine(v.Interface()))
}

// asks tells whether a value, which is not behind a pointer any more, says
// something.
func (r *Refusal) asks(v reflect.Value) bool {
	switch k := v.Kind(); {
	case k != reflect.Slice && k != reflect.Map:
		return r.given || !v.IsZero()
	case r.given:
		return !v.IsNil()
	}
	return v.Len() > 0
}
