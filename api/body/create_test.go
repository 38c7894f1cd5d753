// SPDX-License-Identifier: Apache-2.0

package body

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/wire"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// cliDefaults is what the docker CLI 28.2 sends for "docker run busybox true".
const cliDefaults = `{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["true"],"Image":"busybox","Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null},"NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"","DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}}}}`

func parseCreate(t *testing.T, body string) (davit.Create, error) {
	t.Helper()
	var req container.CreateRequest
	if err := json.Unmarshal([]byte(body), &req); err != nil {
		t.Fatal(err)
	}
	if err := unknownFields([]byte(body), &req, nil); err != nil {
		return davit.Create{}, err
	}
	return Create(req)
}

func TestCreateDefaults(t *testing.T) {
	got, err := parseCreate(t, cliDefaults)
	if err != nil {
		t.Fatal(err)
	}
	want := davit.Create{
		Config: davit.ContainerConfig{
			AttachStdout: true, AttachStderr: true, Cmd: []string{"true"}, Image: "busybox",
			Volumes: map[string]struct{}{}, Labels: map[string]string{},
		},
		HostConfig: davit.HostConfig{
			NetworkMode: "bridge", RestartPolicy: davit.RestartPolicy{Name: "no"},
			LogConfig: davit.LogConfig{Config: map[string]string{}},
			Resources: davit.Resources{MemorySwappiness: new(int64(-1)), OomKillDisable: new(bool), PidsLimit: new(int64)},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// TestCreateFlags is "docker run" with the flags that the first step needs.
func TestCreateFlags(t *testing.T) {
	body := strings.NewReplacer(
		`"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null`, `"Tty":true,"OpenStdin":true,"StdinOnce":true,"Env":["A=b"],"ExposedPorts":{"80/tcp":{},"81/udp":{}},"StopTimeout":3`,
		`"Binds":null`, `"Binds":["/a:/b","vol:/c:ro"]`, `"PortBindings":{}`,
		`"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}],"81/udp":[{"HostIp":"127.0.0.1","HostPort":""}]}`,
		`"PublishAllPorts":false`, `"PublishAllPorts":true`, `"Memory":0`, `"Memory":67108864`, `"NanoCpus":0`, `"NanoCpus":1500000000`,
		`"PidsLimit":0`, `"PidsLimit":10`, `"Dns":[]`, `"Dns":["1.1.1.1"]`, `"Ulimits":[]`, `"Ulimits":[{"Name":"nofile","Hard":20,"Soft":10}]`,
		`"MaskedPaths":null`, `"Init":true,"Mounts":[{"Type":"bind","Source":"/a","Target":"/m","ReadOnly":true,"BindOptions":{"Propagation":"rslave"}},`+
			`{"Type":"tmpfs","Target":"/z","TmpfsOptions":{"SizeBytes":1048576,"Mode":448}}],"MaskedPaths":null`,
		`"MacAddress":""`, `"MacAddress":"02-42-AC-11-00-09"`,
	).Replace(cliDefaults)
	got, err := parseCreate(t, body)
	if err != nil {
		t.Fatal(err)
	}
	three := 3
	want := davit.Create{
		MAC: "02:42:ac:11:00:09",
		Config: davit.ContainerConfig{
			AttachStdout: true, AttachStderr: true, Tty: true, OpenStdin: true, StdinOnce: true, Env: []string{"A=b"},
			Cmd: []string{"true"}, Image: "busybox", Volumes: map[string]struct{}{}, Labels: map[string]string{},
			ExposedPorts: map[string]struct{}{"80/tcp": {}, "81/udp": {}}, StopTimeout: &three,
		},
		HostConfig: davit.HostConfig{
			Binds: []string{"/a:/b", "vol:/c:ro"}, NetworkMode: "bridge", PublishAllPorts: true,
			PortBindings:  map[string][]davit.PortBinding{"80/tcp": {{HostPort: "8080"}}, "81/udp": {{HostIP: "127.0.0.1"}}},
			RestartPolicy: davit.RestartPolicy{Name: "no"}, DNS: []string{"1.1.1.1"},
			Resources: davit.Resources{
				Memory: 64 << 20, NanoCPUs: 1_500_000_000, PidsLimit: new(int64(10)), MemorySwappiness: new(int64(-1)), OomKillDisable: new(bool),
				Ulimits: []davit.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}},
			},
			Init: new(true), LogConfig: davit.LogConfig{Config: map[string]string{}},
			Mounts: []davit.MountRequest{
				{Type: "bind", Source: "/a", Target: "/m", ReadOnly: true, Propagation: "rslave"},
				{Type: "tmpfs", Target: "/z", TmpfsSize: 1 << 20, TmpfsMode: 0o700},
			},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// TestCreateSilence sets each field of a create request in turn: each must
// change the job's request or be refused by its name.
func TestCreateSilence(t *testing.T) {
	base := func() container.CreateRequest {
		return container.CreateRequest{
			Config:     &container.Config{Image: "x"},
			HostConfig: &container.HostConfig{NetworkMode: "bridge", Mounts: []mount.Mount{{Type: mount.TypeBind, Target: "/t"}}},
			NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
				"bridge": {},
			}},
		}
	}
	plain, err := Create(base())
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, req container.CreateRequest) {
		t.Helper()
		got, err := Create(req)
		field := name[strings.LastIndex(name, ".")+1:]
		switch changed := !reflect.DeepEqual(plain, got); {
		case slices.Contains(CreateAnswers, strings.Replace(name, "Endpoint.", "NetworkingConfig.EndpointsConfig.", 1)):
			if err != nil || changed {
				t.Errorf("%s: means nothing in a request, but: %v", name, err)
			}
		case err == nil && !changed:
			t.Errorf("%s is dropped in silence", name)
		case err != nil && !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(field)) && field != "Name":
			t.Errorf("%s is refused without its name: %v", name, err)
		}
	}
	each := func(prefix string, at func(*container.CreateRequest) reflect.Value) {
		req := base()
		for _, f := range reflect.VisibleFields(at(&req).Type()) {
			if f.Anonymous || f.Name == "BindOptions" || f.Name == "VolumeOptions" || f.Name == "TmpfsOptions" {
				continue
			}
			req := base()
			fill(t, at(&req).FieldByIndex(f.Index))
			check(prefix+"."+f.Name, req)
		}
	}
	each("Config", func(r *container.CreateRequest) reflect.Value { return reflect.ValueOf(r.Config).Elem() })
	each("HostConfig", func(r *container.CreateRequest) reflect.Value { return reflect.ValueOf(r.HostConfig).Elem() })
	each("Endpoint", func(r *container.CreateRequest) reflect.Value {
		return reflect.ValueOf(r.NetworkingConfig.EndpointsConfig["bridge"]).Elem()
	})
	each("Mount", func(r *container.CreateRequest) reflect.Value { return reflect.ValueOf(&r.HostConfig.Mounts[0]).Elem() })
	each("Mount.BindOptions", func(r *container.CreateRequest) reflect.Value {
		r.HostConfig.Mounts[0].BindOptions = &mount.BindOptions{}
		return reflect.ValueOf(r.HostConfig.Mounts[0].BindOptions).Elem()
	})
	for _, kind := range []mount.Type{mount.TypeVolume, mount.TypeTmpfs} {
		old := base
		base = func() container.CreateRequest {
			r := old()
			r.HostConfig.Mounts[0].Type = kind
			return r
		}
		if plain, err = Create(base()); err != nil {
			t.Fatal(err)
		}
		each("Mount."+string(kind), func(r *container.CreateRequest) reflect.Value {
			m := &r.HostConfig.Mounts[0]
			if kind == mount.TypeVolume {
				m.VolumeOptions = &mount.VolumeOptions{}
				return reflect.ValueOf(m.VolumeOptions).Elem()
			}
			m.TmpfsOptions = &mount.TmpfsOptions{}
			return reflect.ValueOf(m.TmpfsOptions).Elem()
		})
	}
}

// fill sets v to something that is not its default.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *network.HardwareAddr:
		*x = network.HardwareAddr{2, 0x42, 0, 0, 0, 1}
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.1")
		return
	case *container.RestartPolicy:
		x.Name = container.RestartPolicyAlways
		return
	case *network.PortSet:
		*x = network.PortSet{network.MustParsePort("80/tcp"): {}}
		return
	case *network.PortMap:
		*x = network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: "1"}}}
		return
	case *container.NetworkMode:
		*x = "container:other"
		return
	case *mount.Type:
		*x = mount.TypeImage
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("something")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Array:
		fill(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		if elem.Kind() != reflect.Struct {
			fill(t, elem)
		}
		v.SetMapIndex(key, elem)
	case reflect.Struct:
		if v.NumField() > 0 {
			fill(t, v.Field(0))
		}
	default:
		t.Fatalf("cannot fill a %s", v.Type())
	}
}

// TestHostConfigRoundTrip sends what the record can hold through the wire's
// form and back.
func TestHostConfigRoundTrip(t *testing.T) {
	var want davit.HostConfig
	v := reflect.ValueOf(&want).Elem()
	for i := range v.NumField() {
		fill(t, v.Field(i))
	}
	want.Mounts = []davit.MountRequest{
		{Type: "bind", Source: "/a", Target: "/b", ReadOnly: true, Propagation: "rshared"},
		{Type: "volume", Target: "/b", NoCopy: true, VolumeLabels: map[string]string{"a": "b"}},
		{Type: "tmpfs", Target: "/b", TmpfsSize: 5, TmpfsMode: 0o755},
	}
	want.PortBindings = map[string][]davit.PortBinding{"80/tcp": {{HostIP: "192.0.2.1", HostPort: "8080"}}}
	want.DNS = []string{"192.0.2.1"}
	wire := wire.Host(&want)
	got := Host(wire)
	var err error
	if got.Mounts, err = mountRequests(wire.Mounts); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestPlatform(t *testing.T) {
	for s, want := range map[string]davit.Platform{
		"":               {},
		"linux/amd64":    {OS: "linux", Architecture: "amd64"},
		"linux/ARM/v7":   {OS: "linux", Architecture: "arm", Variant: "v7"},
		"aarch64":        {OS: "linux", Architecture: "arm64"},
		"windows/x86_64": {OS: "windows", Architecture: "amd64"},
	} {
		if got, err := Platform(s); err != nil || got != want {
			t.Errorf("Platform(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"/", "linux/", "a/b/c/d"} {
		if got, err := Platform(s); err == nil {
			t.Errorf("Platform(%q) = %+v, want an error", s, got)
		}
	}
}

func TestDecodeCreate(t *testing.T) {
	q, err := DecodeCreate("/web", []byte(`{"Image":"busybox","Cmd":["true"],"HostConfig":{"Memory":1048576}}`))
	if err != nil || q.Name != "web" || q.Config.Image != "busybox" || q.HostConfig.Memory != 1<<20 {
		t.Errorf("%+v, %v", q, err)
	}
	for body, says := range map[string]string{
		`{"Image":"busybox"`:                                  "invalid JSON",
		`{"Image":"busybox"} {}`:                              "unexpected content",
		`{"Image":"busybox","Imagine":1}`:                     "Imagine",
		`{"Image":"busybox","HostConfig":{"Runtime":"crun"}}`: "HostConfig.Runtime crun",
	} {
		if _, err := DecodeCreate("", []byte(body)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestRefusals holds the tables to be in order, each row once, and what is
// refused to be refused though it be zero.
func TestRefusals(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range CreateRefusals {
		if seen[r.Field] {
			t.Errorf("%s is refused twice", r.Field)
		}
		seen[r.Field] = true
		if (r.But == "") != (r.fine == nil) {
			t.Errorf("%s: what is honoured of it is said in words and in code, or in neither", r.Field)
		}
	}
	for body, says := range map[string]string{
		`{"HostConfig":{"Mounts":[{"Type":"tmpfs"},{"Type":"npipe"}]}}`:           "HostConfig.Mounts.Type npipe",
		`{"HostConfig":{"Mounts":[{"Type":"bind","VolumeOptions":{}}]}}`:          "field VolumeOptions must not be specified",
		`{"NetworkingConfig":{"EndpointsConfig":{"a":null,"b":{"Links":["c"]}}}}`: "EndpointsConfig.Links is not supported: links",
	} {
		if _, err := parseCreate(t, `{"Image":"x",`+body[1:]); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", body, err, says)
		}
	}
	for endpoint, says := range map[string]string{
		`"host":{"MacAddress":"02:42:ac:11:00:09"}`:            "conflicting options: mac-address",
		`"bridge":{"MacAddress":"01:00:5e:00:00:01"}`:          "invalid MAC address",
		`"bridge":{"MacAddress":"00:00:00:00:00:00"}`:          "invalid MAC address",
		`"bridge":{"MacAddress":"02:00:5e:10:00:00:00:01"}`:    "invalid MAC address",
		`"bridge":{"IPAMConfig":{"IPv4Address":"172.17.0.9"}}`: "user specified IP address is supported on user defined networks only",
		`"bridge":{"Aliases":["db"]}`:                          "network-scoped alias is supported only for containers in user defined networks",
		`"front":{}`:                                           "one network for now",
	} {
		mode, _, _ := strings.Cut(strings.TrimPrefix(endpoint, `"`), `"`)
		if mode == "front" {
			mode = "bridge"
		}
		body := `{"Image":"x","HostConfig":{"NetworkMode":"` + mode + `"},"NetworkingConfig":{"EndpointsConfig":{` + endpoint + `}}}`
		if _, err := parseCreate(t, body); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", body, err, says)
		}
	}
	for _, body := range []string{
		`{"HostConfig":{"MaskedPaths":null,"Devices":[],"StorageOpt":{},"OomKillDisable":false,"MemorySwappiness":-1,"Isolation":"default"}}`,
		`{"HostConfig":null,"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{},"Links":[]}}}}`,
	} {
		if _, err := parseCreate(t, `{"Image":"x",`+body[1:]); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}
