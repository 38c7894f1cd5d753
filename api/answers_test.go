// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/opencontainers/go-digest"
)

// unfilled are the documented fields of answers that are never filled, or those
// below a name, by endpoint, and why. What is below HostConfig and Config is what
// was asked for.
var unfilled = map[string]map[string]string{
	"GET /containers/{id}/json": with(endpointUnfilled, map[string]string{
		"ImageManifestDescriptor": "only of images with several manifests, which come later",
		"MountLabel":              "there is no SELinux policy yet",
		"ProcessLabel":            "there is no SELinux policy yet",
		"Storage":                 "only of a containerd image store",
	}),
	"GET /containers/json": with(endpointUnfilled, map[string]string{
		"ImageManifestDescriptor": "only of images with several manifests, which come later",
	}),
	"GET /exec/{id}/json": {},
	"GET /volumes/{name}": {
		"ClusterVolume": "of a swarm",
		"Status":        "the local driver has none",
		"UsageData":     "only GET /system/df measures it",
	},
	"GET /info": {
		"Containerd":                          "there is none",
		"DiscoveredDevices":                   "not told yet",
		"ExperimentalBuild":                   "false",
		"FirewallBackend.Info":                "nothing more to say",
		"GenericResources":                    "of a swarm",
		"HttpProxy":                           "not told",
		"HttpsProxy":                          "not told",
		"Isolation":                           "of Windows",
		"NRI":                                 "not spoken",
		"NoProxy":                             "not told",
		"Plugins.Authorization":               "none are spoken to",
		"ProductLicense":                      "free software",
		"RegistryConfig.IndexConfigs.Mirrors": "there are none yet",
		"RegistryConfig.Mirrors":              "there are none yet",
		"Runtimes.runtimeArgs":                "the runtime is part of Davit",
		"Runtimes.status":                     "the runtime is part of Davit",
		"Swarm.Cluster":                       "of a swarm",
		"Swarm.ControlAvailable":              "of a swarm",
		"Swarm.Error":                         "of a swarm",
		"Swarm.Managers":                      "of a swarm",
		"Swarm.NodeAddr":                      "of a swarm",
		"Swarm.NodeID":                        "of a swarm",
		"Swarm.Nodes":                         "of a swarm",
		"Swarm.RemoteManagers":                "of a swarm",
	},
	"GET /version": {
		"BuildTime":    "builds are reproducible, and have none",
		"Experimental": "false",
	},
}

// endpointUnfilled are those of a container's endpoint.
var endpointUnfilled = map[string]string{
	"NetworkSettings.Networks.DriverOpts":          "the network driver has no options",
	"NetworkSettings.Networks.GlobalIPv6Address":   "IPv4 only, yet",
	"NetworkSettings.Networks.GlobalIPv6PrefixLen": "IPv4 only, yet",
	"NetworkSettings.Networks.GwPriority":          "a container has one network, yet",
	"NetworkSettings.Networks.IPAMConfig":          "refused in requests",
	"NetworkSettings.Networks.IPv6Gateway":         "IPv4 only, yet",
	"NetworkSettings.Networks.Links":               "refused in requests",
}

func with(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// full registers handlers whose answers have everything, of a container in a
// state.
func full(d *door, state davit.Status) {
	var info davit.ContainerInfo
	fillAll(reflect.ValueOf(&info).Elem())
	info.State.Status = state
	info.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}}
	info.HostConfig.PortBindings = map[string][]davit.PortBinding{"80/tcp": {{HostPort: "80"}}}
	answer(d, engine.Query, davit.Containers{}, []davit.ContainerInfo{info})
	answer(d, engine.Query, davit.ContainerInspect{}, info)
	filledAnswer[davit.Exec](d, davit.ExecInspect{})
	filledAnswer[davit.Volume](d, davit.VolumeInspect{})
	filledAnswer[davit.EngineInfo](d, davit.Info{})
	filledAnswer[davit.VersionInfo](d, davit.Version{})
}

func filledAnswer[R any, Q engine.Typed[R]](d *door, _ Q) {
	var r R
	fillAll(reflect.ValueOf(&r).Elem())
	handle(d, engine.Query, func(context.Context, *engine.Job, Q) (R, error) { return r, nil })
}

// fillAll sets everything in v to what says something.
func fillAll(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *digest.Digest:
		*x = testImage.ID
		return
	case *time.Time:
		*x = time.Unix(1700000000, 5).UTC()
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.1")
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("192.0.2.1/24")
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("192.0.2.0/24")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillAll(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillAll(v.Index(0))
		fillAll(v.Index(1))
	case reflect.Array:
		for i := range v.Len() {
			fillAll(v.Index(i))
		}
	case reflect.Map:
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fillAll(key)
		fillAll(elem)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, elem)
	case reflect.Struct:
		for f := range v.Type().Fields() {
			if f.IsExported() {
				fillAll(v.FieldByIndex(f.Index))
			}
			if f.Name == "MAC" {
				v.FieldByIndex(f.Index).SetString("02:42:ac:11:00:02")
			}
		}
	}
}

// says tells whether a value of JSON is more than nothing.
func says(v any) bool {
	switch x := v.(type) {
	case nil:
		return false
	case list:
		return len(x) > 0
	case object:
		return len(x) > 0
	}
	return !reflect.ValueOf(v).IsZero()
}

// TestAnswers looks which documented fields of an answer are filled when there
// is something to say.
func TestAnswers(t *testing.T) {
	spec, filled := readSwagger(t), map[string]bool{}
	for _, state := range []davit.Status{
		davit.StatusRunning, davit.StatusPaused, davit.StatusRestarting, davit.StatusDead, davit.StatusExited,
	} {
		d := openDoor(t)
		full(d, state)
		for op := range unfilled {
			_, path, _ := strings.Cut(op, " ")
			r := d.do("GET", strings.NewReplacer("{id}", "x", "{name}", "x").Replace(path)+"?size=1", "")
			var told any
			if err := json.Unmarshal([]byte(r.body), &told); err != nil || r.status != 200 {
				t.Fatalf("%s: %d %s", op, r.status, r.body)
			}
			if all, ok := told.(list); ok {
				told = all[0]
			}
			for _, l := range answerFields(spec, op) {
				if says(l.find(told)) {
					filled[op+" "+l.name()] = true
				}
			}
		}
		d.close()
	}
	for op, without := range unfilled {
		used := map[string]bool{}
		for _, l := range answerFields(spec, op) {
			why := ""
			for name := range without {
				if l.name() == name || strings.HasPrefix(l.name(), name+".") {
					why, used[name] = name, true
				}
			}
			if filled[op+" "+l.name()] == (why != "") {
				t.Errorf("%s: %s: filled is %v, and the table has %q", op, l.name(), filled[op+" "+l.name()], why)
			}
		}
		for name := range without {
			if !used[name] {
				t.Errorf("%s: %s is in the table, and not documented", op, name)
			}
		}
	}
}

// answerFields are the fields of an endpoint's answer but those that repeat the
// request.
func answerFields(spec *swagger, op string) []leaf {
	s := spec.resolve(spec.operation(op).Responses["200"].Schema)
	if s.Type == "array" {
		s = spec.resolve(s.Items)
	}
	return slices.DeleteFunc(spec.leaves(s), func(l leaf) bool {
		return l.path[0] == "Config" || (l.path[0] == "HostConfig" && op == "GET /containers/{id}/json")
	})
}
