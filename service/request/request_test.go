// SPDX-License-Identifier: Apache-2.0

package request

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func TestPortRequests(t *testing.T) {
	type bindings = map[string][]davit.PortBinding
	host := func(ip, port string) []davit.PortBinding { return []davit.PortBinding{{HostIP: ip, HostPort: port}} }
	req := func(proto string, container uint16, ip string, first, last uint16) davit.PortRequest {
		return davit.PortRequest{Proto: proto, ContainerPort: container, HostIP: addr(ip), FirstPort: first, LastPort: last}
	}
	for _, c := range []struct {
		name    string
		mode    string
		ports   bindings
		all     bool
		exposed []string
		dflt    string
		want    []davit.PortRequest
		code    davit.Code
	}{
		{name: "none", mode: "bridge"},
		{name: "-p 8080:80", mode: "bridge", ports: bindings{"80/tcp": host("", "8080")}, want: []davit.PortRequest{req("tcp", 80, "", 8080, 8080)}},
		{name: "-p 80", mode: "bridge", ports: bindings{"80/tcp": host("", "")}, want: []davit.PortRequest{req("tcp", 80, "", 0, 0)}},
		{name: "-p 0:80", mode: "bridge", ports: bindings{"80/tcp": host("", "0")}, want: []davit.PortRequest{req("tcp", 80, "", 0, 0)}},
		{name: "-p 127.0.0.1::80", mode: "bridge", ports: bindings{"80/tcp": host("127.0.0.1", "")}, want: []davit.PortRequest{req("tcp", 80, "127.0.0.1", 0, 0)}},
		{name: "-p 127.0.0.1:8080:80/udp", mode: "bridge", ports: bindings{"80/udp": host("127.0.0.1", "8080")}, want: []davit.PortRequest{req("udp", 80, "127.0.0.1", 8080, 8080)}},
		{name: "a range", mode: "bridge", ports: bindings{"80/tcp": host("", "8000-8010")}, want: []davit.PortRequest{req("tcp", 80, "", 8000, 8010)}},
		{name: "a range of one", mode: "bridge", ports: bindings{"80/tcp": host("", "8000-8000")}, want: []davit.PortRequest{req("tcp", 80, "", 8000, 8000)}},
		{name: "without a protocol", mode: "bridge", ports: bindings{"80": host("", "1")}, want: []davit.PortRequest{req("tcp", 80, "", 1, 1)}},
		{name: "in capitals", mode: "bridge", ports: bindings{"80/UDP": host("", "65535")}, want: []davit.PortRequest{req("udp", 80, "", 65535, 65535)}},
		{name: "sctp", mode: "bridge", ports: bindings{"80/sctp": host("", "8080")}, want: []davit.PortRequest{req("sctp", 80, "", 8080, 8080)}},
		{name: "an IPv4 address in IPv6's form", mode: "bridge", ports: bindings{"80/tcp": host("::ffff:127.0.0.1", "1")}, want: []davit.PortRequest{req("tcp", 80, "127.0.0.1", 1, 1)}},
		{name: "no binding at all", mode: "bridge", ports: bindings{"80/tcp": nil}, want: []davit.PortRequest{req("tcp", 80, "", 0, 0)}},
		{name: "the default address", mode: "bridge", ports: bindings{"80/tcp": host("", "8080")}, dflt: "10.0.0.1", want: []davit.PortRequest{req("tcp", 80, "10.0.0.1", 8080, 8080)}},
		{name: "over the default address", mode: "bridge", ports: bindings{"80/tcp": host("0.0.0.0", "8080")}, dflt: "10.0.0.1", want: []davit.PortRequest{req("tcp", 80, "0.0.0.0", 8080, 8080)}},
		{name: "in order", mode: "bridge", ports: bindings{"443/tcp": host("", ""), "80/udp": host("", ""), "80/tcp": host("", "")}, want: []davit.PortRequest{
			req("tcp", 80, "", 0, 0), req("udp", 80, "", 0, 0), req("tcp", 443, "", 0, 0),
		}},
		{name: "-P", mode: "bridge", all: true, exposed: []string{"80/tcp", "53/udp"}, want: []davit.PortRequest{req("udp", 53, "", 0, 0), req("tcp", 80, "", 0, 0)}},
		{name: "-P and -p", mode: "bridge", all: true, exposed: []string{"80/tcp", "81/tcp"}, ports: bindings{"80/tcp": host("", "8080")}, want: []davit.PortRequest{
			req("tcp", 80, "", 8080, 8080), req("tcp", 81, "", 0, 0),
		}},
		{name: "exposed only", mode: "bridge", exposed: []string{"80/tcp"}},
		{name: "another network", mode: "none", all: true, exposed: []string{"80/tcp"}, ports: bindings{"80/tcp": host("", "8080")}},

		{name: "port 0", mode: "bridge", ports: bindings{"0/tcp": host("", "8080")}, code: davit.InvalidConfiguration},
		{name: "port 65536", mode: "bridge", ports: bindings{"65536/tcp": host("", "8080")}, code: davit.InvalidConfiguration},
		{name: "no number", mode: "bridge", ports: bindings{"http": host("", "8080")}, code: davit.InvalidConfiguration},
		{name: "nothing", mode: "bridge", ports: bindings{"": host("", "8080")}, code: davit.InvalidConfiguration},
		{name: "dccp", mode: "bridge", ports: bindings{"80/dccp": host("", "8080")}, code: davit.InvalidConfiguration},
		{name: "host port 65536", mode: "bridge", ports: bindings{"80/tcp": host("", "65536")}, code: davit.InvalidConfiguration},
		{name: "host port -1", mode: "bridge", ports: bindings{"80/tcp": host("", "-1")}, code: davit.InvalidConfiguration},
		{name: "a falling range", mode: "bridge", ports: bindings{"80/tcp": host("", "9-8")}, code: davit.InvalidConfiguration},
		{name: "half a range", mode: "bridge", ports: bindings{"80/tcp": host("", "9-")}, code: davit.InvalidConfiguration},
		{name: "a range from 0", mode: "bridge", ports: bindings{"80/tcp": host("", "0-9")}, code: davit.InvalidConfiguration},
		{name: "a bad address", mode: "bridge", ports: bindings{"80/tcp": host("localhost", "8080")}, code: davit.InvalidConfiguration},
		{name: "an IPv6 address", mode: "bridge", ports: bindings{"80/tcp": host("::1", "8080")}, code: davit.NotSupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &davit.Container{HostConfig: davit.HostConfig{NetworkMode: c.mode, PortBindings: c.ports, PublishAllPorts: c.all}}
			for _, e := range c.exposed {
				r.Config.ExposedPorts = MergeMap(r.Config.ExposedPorts, map[string]struct{}{e: {}})
			}
			got, err := Ports(r, addr(c.dflt))
			if c.code != "" {
				if err == nil || davit.CodeOf(err) != c.code {
					t.Errorf("got %+v, %v, want code %s", got, err, c.code)
				}
				return
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestParseBind(t *testing.T) {
	bind := func(source, target string) davit.Mount {
		return davit.Mount{Type: "bind", Source: source, Target: target, ReadWrite: true, Propagation: "rprivate", MakeSource: true}
	}
	named := func(name, target string) davit.Mount {
		return davit.Mount{Type: "volume", Name: name, Target: target, ReadWrite: true, Driver: "local", CopyUp: true}
	}
	with := func(m davit.Mount, f func(*davit.Mount)) davit.Mount { f(&m); return m }
	for spec, want := range map[string]davit.Mount{
		"/src:/dst":          bind("/src", "/dst"),
		"/src:/dst:":         bind("/src", "/dst"),
		"/src/./x/..:/dst":   bind("/src", "/dst"),
		"/src:/dst:rw":       with(bind("/src", "/dst"), func(m *davit.Mount) { m.Mode = "rw" }),
		"/src:/dst:cached,z": with(bind("/src", "/dst"), func(m *davit.Mount) { m.Mode = "cached,z" }),
		"/only":              {Type: "volume", Target: "/only", ReadWrite: true, Driver: "local", CopyUp: true},
		"/src:/dst:ro":       with(bind("/src", "/dst"), func(m *davit.Mount) { m.ReadWrite, m.Mode = false, "ro" }),
		"/src:/dst:ro,z":     with(bind("/src", "/dst"), func(m *davit.Mount) { m.ReadWrite, m.Mode = false, "ro,z" }),
		"/src:/dst:rslave":   with(bind("/src", "/dst"), func(m *davit.Mount) { m.Propagation, m.Mode = "rslave", "rslave" }),
		"/with blank:/dst":   bind("/with blank", "/dst"),
		"data:/dst":          named("data", "/dst"),
		"data:/dst:nocopy":   with(named("data", "/dst"), func(m *davit.Mount) { m.CopyUp, m.Mode = false, "nocopy" }),
		"1.14:/dst":          named("1.14", "/dst"),
		"data:/dst:ro":       with(named("data", "/dst"), func(m *davit.Mount) { m.ReadWrite, m.Mode = false, "ro" }),
		"data_x-y.z:/dst:rw": with(named("data_x-y.z", "/dst"), func(m *davit.Mount) { m.Mode = "rw" }),
	} {
		got, err := parseBind(spec, "local")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", spec, err, diff)
		}
	}
	for _, spec := range []string{
		"", ":", "/only:ro", "data", "/a:/b:ro:more", "a:/b", "rel/ative:/dst", "./here:/dst", "../up:/dst", ":/dst",
		"/src:/dst:nonsense", "-data:/dst", "da ta:/dst", "/src:/", "data:/x/..",
		"/src:/dst:ro,rw", "/src:/dst:ro,ro", "/src:/dst:z,Z", "/src:/dst:rslave,shared", "/src:/dst:nocopy", "data:/dst:nocopy,nocopy",
		"data:/dst:rslave", "/src:/dst:cached,delegated", "/src:/dst:remount", "/src:/dst:ro,", "/src\x00:/dst", "/src:/d\x00st",
	} {
		if got, err := parseBind(spec, "local"); davit.CodeOf(err) != davit.InvalidConfiguration {
			t.Errorf("%q is %+v, %v, want it refused", spec, got, err)
		}
	}
}

func TestParseMount(t *testing.T) {
	for _, c := range []struct {
		name string
		q    davit.MountRequest
		want davit.Mount
		bad  bool
	}{
		{"bind", davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", ReadOnly: true}, davit.Mount{Type: "bind", Source: "/s", Target: "/t", Propagation: "rprivate"}, false},
		{"bind with propagation", davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", Propagation: "rshared"}, davit.Mount{Type: "bind", Source: "/s", Target: "/t", Propagation: "rshared", ReadWrite: true}, false},
		{"volume", davit.MountRequest{Type: "volume", Source: "data", Target: "/t"}, davit.Mount{Type: "volume", Name: "data", Target: "/t", ReadWrite: true, Driver: "local", CopyUp: true}, false},
		{"anonymous volume", davit.MountRequest{Type: "volume", Target: "/t", NoCopy: true}, davit.Mount{Type: "volume", Target: "/t", ReadWrite: true, Driver: "local"}, false},
		{"tmpfs", davit.MountRequest{Type: "tmpfs", Target: "/t", TmpfsSize: 1 << 20, TmpfsMode: 0o1770}, davit.Mount{Type: "tmpfs", Target: "/t", ReadWrite: true, Options: "size=1048576,mode=1770"}, false},
		{"relative bind", davit.MountRequest{Type: "bind", Source: "s", Target: "/t"}, davit.Mount{}, true},
		{"bind of nothing", davit.MountRequest{Type: "bind", Target: "/t"}, davit.Mount{}, true},
		{"bad volume name", davit.MountRequest{Type: "volume", Source: "/s", Target: "/t"}, davit.Mount{}, true},
		{"tmpfs with a source", davit.MountRequest{Type: "tmpfs", Source: "x", Target: "/t"}, davit.Mount{}, true},
		{"bind with an option for propagation", davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", Propagation: "remount"}, davit.Mount{}, true},
		{"volume with an option for propagation", davit.MountRequest{Type: "volume", Source: "data", Target: "/t", Propagation: "rw"}, davit.Mount{}, true},
		{
			"volume in part, labelled",
			davit.MountRequest{Type: "volume", Source: "data", Target: "/t", Subpath: "a/./b", VolumeLabels: map[string]string{"k": "v"}},
			davit.Mount{Type: "volume", Name: "data", Target: "/t", ReadWrite: true, Driver: "local", Subpath: "a/b", VolumeLabels: map[string]string{"k": "v"}},
			false,
		},
		{
			"volume with options",
			davit.MountRequest{Type: "volume", Source: "data", Target: "/t", ReadOnly: true, VolumeDriver: "local", VolumeOptions: map[string]string{"type": "tmpfs", "device": "tmpfs"}},
			davit.Mount{Type: "volume", Name: "data", Target: "/t", Driver: "local", CopyUp: true, VolumeOptions: map[string]string{"type": "tmpfs", "device": "tmpfs"}},
			false,
		},
		{"image in part", davit.MountRequest{Type: "image", Source: "busybox", Target: "/t", Subpath: "etc"}, davit.Mount{Type: "image", Source: "busybox", Target: "/t", Subpath: "etc"}, false},
		{
			"bind, shallow",
			davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", NonRecursive: true, CreateMountpoint: true},
			davit.Mount{Type: "bind", Source: "/s", Target: "/t", ReadWrite: true, Propagation: "rprivate", NonRecursive: true, MakeSource: true},
			false,
		},
		{
			"bind, read-only on top",
			davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", ReadOnly: true, ReadOnlyNonRecursive: true},
			davit.Mount{Type: "bind", Source: "/s", Target: "/t", Propagation: "rprivate", ReadOnlyNonRecursive: true},
			false,
		},
		{
			"tmpfs with options",
			davit.MountRequest{Type: "tmpfs", Target: "/t", TmpfsSize: 4096, TmpfsOptions: [][]string{{"exec"}, {"uid", "1000"}}},
			davit.Mount{Type: "tmpfs", Target: "/t", ReadWrite: true, Options: "size=4096,exec,uid=1000"},
			false,
		},
		{"tmpfs that is another mount", davit.MountRequest{Type: "tmpfs", Target: "/t", TmpfsOptions: [][]string{{"remount"}}}, davit.Mount{}, true},
		{"tmpfs with an option in a value", davit.MountRequest{Type: "tmpfs", Target: "/t", TmpfsOptions: [][]string{{"uid", "0,rbind"}}}, davit.Mount{}, true},
		{"tmpfs with three parts", davit.MountRequest{Type: "tmpfs", Target: "/t", TmpfsOptions: [][]string{{"uid", "0", "1"}}}, davit.Mount{}, true},
		{"tmpfs with a type for mode", davit.MountRequest{Type: "tmpfs", Target: "/t", TmpfsMode: 0o100755}, davit.Mount{}, true},
		{"writable, made read-only below", davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", ReadOnlyForceRecursive: true}, davit.Mount{}, true},
		{"both read-only ways", davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", ReadOnly: true, ReadOnlyForceRecursive: true, ReadOnlyNonRecursive: true}, davit.Mount{}, true},
		{"part that is elsewhere", davit.MountRequest{Type: "volume", Source: "data", Target: "/t", Subpath: "../x"}, davit.Mount{}, true},
		{"part that is absolute", davit.MountRequest{Type: "image", Source: "busybox", Target: "/t", Subpath: "/etc"}, davit.Mount{}, true},
		{"part of a bind", davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", Subpath: "x"}, davit.Mount{}, true},
		{"image of no name", davit.MountRequest{Type: "image", Target: "/t"}, davit.Mount{}, true},
		{"anonymous volume, read-only", davit.MountRequest{Type: "volume", Target: "/t", ReadOnly: true}, davit.Mount{}, true},
		{"labels of a bind", davit.MountRequest{Type: "bind", Source: "/s", Target: "/t", VolumeLabels: map[string]string{"k": "v"}}, davit.Mount{}, true},
		{"npipe", davit.MountRequest{Type: "npipe", Source: "x", Target: "/t"}, davit.Mount{}, true},
		{"no type", davit.MountRequest{Source: "/s", Target: "/t"}, davit.Mount{}, true},
	} {
		got, err := parseMount(&c.q)
		if c.bad {
			if davit.CodeOf(err) != davit.InvalidConfiguration {
				t.Errorf("%s: %+v, %v, want it refused", c.name, got, err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
	}
}

func TestResolveMounts(t *testing.T) {
	r := &davit.Container{HostConfig: davit.HostConfig{
		Binds: []string{"/b:/a/b/c", "data:/a"}, Tmpfs: map[string]string{"/a/b/": "size=1m"},
		Mounts: []davit.MountRequest{{Type: "volume", Target: "/z"}},
	}, Config: davit.ContainerConfig{Volumes: map[string]struct{}{"/a/": {}, "/v": {}}}}
	if err := Mounts(r, Lookup{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range r.Mounts {
		got = append(got, m.Type+" "+m.Target)
	}
	want := []string{"volume /a", "volume /v", "volume /z", "tmpfs /a/b", "bind /a/b/c"} // those below others after them
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, h := range map[string]davit.HostConfig{
		"the root":                 {Binds: []string{"/b:/"}},
		"the root, by dots":        {Binds: []string{"/b:/x/.."}},
		"a relative target":        {Binds: []string{"/b:x"}},
		"one target twice":         {Binds: []string{"/b:/x"}, Mounts: []davit.MountRequest{{Type: "volume", Target: "/x/"}}},
		"tmpfs that is a bind":     {Tmpfs: map[string]string{"/x": "size=1m,rbind"}},
		"tmpfs that is a remount":  {Tmpfs: map[string]string{"/sys": "remount,rw"}},
		"tmpfs with another's key": {Tmpfs: map[string]string{"/x": "lowerdir=/etc"}},
		"tmpfs over a bind":        {Binds: []string{"/b:/x"}, Tmpfs: map[string]string{"/x": ""}},
		"another volume driver":    {Binds: []string{"data:/x"}, VolumeDriver: "nfs"},
		"a mount's other driver":   {Mounts: []davit.MountRequest{{Type: "volume", Target: "/x", VolumeDriver: "nfs"}}},
		"no target":                {Mounts: []davit.MountRequest{{Type: "volume"}}},
	} {
		if err := Mounts(&davit.Container{HostConfig: h}, Lookup{}); davit.CodeOf(err) != davit.InvalidConfiguration {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
}

// TestVolumesFrom gives a container what others mount, under what it mounts
// itself.
func TestVolumesFrom(t *testing.T) {
	others := map[string]davit.Container{
		"one": {Mounts: []davit.Mount{
			{Type: "volume", Name: "anon", Source: "/v/anon", Target: "/a", ReadWrite: true, CopyUp: true, Driver: "local"},
			{Type: "bind", Source: "/b", Target: "/b"},
			{Type: "tmpfs", Target: "/t", ReadWrite: true},
		}, HostConfig: davit.HostConfig{Tmpfs: map[string]string{"/t": ""}}},
		"two": {Mounts: []davit.Mount{{Type: "volume", Name: "two", Target: "/a", ReadWrite: true, Driver: "local"}, {Type: "tmpfs", Target: "/m", ReadWrite: true}}},
	}
	look := Lookup{Container: func(ref string) (davit.Container, error) {
		if c, ok := others[ref]; ok {
			return c, nil
		}
		return davit.Container{}, davit.Errorf(davit.NoSuchContainer, "No such container: %s", ref)
	}}
	for name, tc := range map[string]struct {
		h    davit.HostConfig
		want []davit.Mount
	}{
		"one": {davit.HostConfig{VolumesFrom: []string{"one"}}, []davit.Mount{
			{Type: "volume", Name: "anon", Source: "/v/anon", Target: "/a", ReadWrite: true}, {Type: "bind", Source: "/b", Target: "/b"},
		}},
		"a later one": {davit.HostConfig{VolumesFrom: []string{"one:ro", "two:z"}}, []davit.Mount{
			{Type: "volume", Name: "two", Target: "/a", ReadWrite: true}, {Type: "bind", Source: "/b", Target: "/b"}, {Type: "tmpfs", Target: "/m", ReadWrite: true},
		}},
		"read-only under an own one": {davit.HostConfig{VolumesFrom: []string{"two:ro"}, Binds: []string{"/own:/m"}}, []davit.Mount{
			{Type: "volume", Name: "two", Target: "/a"}, {Type: "bind", Source: "/own", Target: "/m", ReadWrite: true, Propagation: "rprivate", MakeSource: true},
		}},
	} {
		r := &davit.Container{HostConfig: tc.h, Config: davit.ContainerConfig{Volumes: map[string]struct{}{"/a": {}}}}
		err := Mounts(r, look)
		if diff := cmp.Diff(withDriver(tc.want), withDriver(r.Mounts)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	for _, spec := range []string{"", "nobody", "one:nocopy", "one:rslave", "one:ro,rw", "one:x"} {
		err := Mounts(&davit.Container{HostConfig: davit.HostConfig{VolumesFrom: []string{spec}}}, look)
		if davit.CodeOf(err) != davit.InvalidConfiguration {
			t.Errorf("volumes from %q: %v, want it refused", spec, err)
		}
	}
}

// withDriver fills in what the mounts of these tests leave out.
func withDriver(mounts []davit.Mount) []davit.Mount {
	out := slices.Clone(mounts)
	for i := range out {
		if out[i].Type == "volume" {
			out[i].Driver = "local"
		}
	}
	return out
}

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]int{"TERM": 15, "SIGTERM": 15, "sigterm": 15, "term": 15, "15": 15, "KILL": 9, "USR1": 10, "64": 64, "RTMIN": 34} {
		if got, err := Signal(name); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"", "SIG", "NOPE", "0", "65", "-9", "1.5", " TERM"} {
		if got, err := Signal(name); davit.CodeOf(err) != davit.InvalidConfiguration {
			t.Errorf("%q is %d, %v, want it refused", name, got, err)
		}
	}
}
