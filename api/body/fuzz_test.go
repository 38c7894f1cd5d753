// SPDX-License-Identifier: Apache-2.0

package body

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/wire"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/container"
)

// asked is what inspect tells of a request, as a request.
func asked(t *testing.T, q davit.Create) davit.Create {
	t.Helper()
	b, err := json.Marshal(container.CreateRequest{Config: wire.Config(&q.Config), HostConfig: wire.Host(&q.HostConfig)})
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeCreate(q.Name, b)
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return again
}

// FuzzCreate reads any body. What is taken can be told, asked for again as it
// was told, and is the same then.
func FuzzCreate(f *testing.F) {
	f.Add("/web", []byte(cliDefaults))
	f.Add("", []byte(`{"Image":"x","Entrypoint":[""],"Healthcheck":{"Test":["CMD","x"],"Interval":1},"StopTimeout":-1}`))
	f.Add("x", []byte(`{"Image":"x","ExposedPorts":{"80-82/sctp":{},"53/udp":{}},"HostConfig":{"PortBindings":{"80":[{"HostIp":"::1","HostPort":"1-2"}]}}}`))
	f.Add("x", []byte(`{"Image":"x","HostConfig":{"Mounts":[{"Type":"volume","Target":"/t","VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"}}}]}}`))
	f.Add("x", []byte(`{"Image":"x","HostConfig":{"Mounts":[{"Type":"tmpfs","TmpfsOptions":{"Mode":511}},{"Type":"bind","BindOptions":{"Propagation":"rshared"}}]}}`))
	f.Add("x", []byte(`{"NetworkingConfig":{"EndpointsConfig":{"default":{"Aliases":["a"],"MacAddress":"02:42:ac:11:00:02"}}}}`))
	f.Add("x", []byte(`{"HostConfig":{"Dns":["1.1.1.1","::1"],"MaskedPaths":[],"MemorySwappiness":-1,"Ulimits":[null,{"Name":"nofile"}],"DeviceRequests":[{}]}}`))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		q, err := DecodeCreate(name, b)
		if err != nil {
			return
		}
		if q.Name != strings.TrimPrefix(name, "/") {
			t.Errorf("the name is %q", q.Name)
		}
		once := asked(t, q)
		if diff := cmp.Diff(once, asked(t, once), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: told, asked for and told again it differs:\n%s", b, diff)
		}
	})
}

// FuzzUpdate reads any body of an update.
func FuzzUpdate(f *testing.F) {
	f.Add([]byte(`{"CpuShares":0,"Memory":67108864,"MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":-1,"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3}}`))
	f.Add([]byte(`{"Init":true}`))
	f.Add([]byte(`{"Devices":[{}],"Ulimits":[null],"BlkioWeightDevice":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var body container.UpdateConfig
		if Decode(b, &body, nil) != nil {
			return
		}
		q, err := Update(body)
		if err != nil && davit.KindOf(err) != davit.Invalid && davit.KindOf(err) != davit.NotImplemented {
			t.Errorf("%s: %v", b, err)
		}
		if err == nil && (len(q.Resources.Devices) > 0 || len(q.Resources.Ulimits) > 0 || q.Resources.CgroupParent != "") {
			t.Errorf("%s is an update to %+v", b, q)
		}
	})
}

// FuzzPlatform reads any text. What is a platform is the same when it is
// written out.
func FuzzPlatform(f *testing.F) {
	for _, seed := range []string{"", "linux", "linux/amd64", "linux/arm/v7", "aarch64", "windows/x86_64", "/", "a/b/c/d", "LINUX/ARM"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Platform(s)
		if err != nil || s == "" {
			return
		}
		again, err := Platform(strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/"))
		if err != nil || again != p {
			t.Errorf("%q is %+v, and that %+v, %v", s, p, again, err)
		}
	})
}
