// SPDX-License-Identifier: Apache-2.0

package logconfig

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type config = map[string]string

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		driver string
		config config
		want   Options // what it says of files and buffers
	}{
		{"json", JSONFile, nil, Options{MaxSize: 10_000_000, MaxFiles: 3}},
		{"json, unlimited", JSONFile, config{"max-size": "-1"}, Options{MaxFiles: 3}},
		{"json, decimal", JSONFile, config{"max-size": "1.5 kB", "max-file": "7", "compress": "true"}, Options{MaxSize: 1500, MaxFiles: 7, Compress: true}},
		{"local", Local, nil, Options{MaxSize: 20 << 20, MaxFiles: 5, Compress: true}},
		{"local, binary", Local, config{"max-size": "2KiB", "compress": "false"}, Options{MaxSize: 2048, MaxFiles: 5}},
		{"local, one file", Local, config{"max-file": "1"}, Options{MaxSize: 20 << 20, MaxFiles: 1}},
		{"journald", Journald, config{"mode": "blocking"}, Options{}},
		{"buffer", JSONFile, config{"mode": "non-blocking"}, Options{MaxSize: 10_000_000, MaxFiles: 3, Buffer: 1 << 20}},
		{"buffer's size", Journald, config{"mode": "non-blocking", "max-buffer-size": "4m"}, Options{Buffer: 4 << 20}},
		{"none", None, nil, Options{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.driver, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			files := Options{MaxSize: got.MaxSize, MaxFiles: got.MaxFiles, Compress: got.Compress, Buffer: got.Buffer}
			if diff := cmp.Diff(tt.want, files, cmp.AllowUnexported(Options{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		driver string
		config config
		want   string
	}{
		{"splunk", nil, "no log driver named 'splunk'"},
		{JSONFile, config{"colour": "red"}, "unknown log opt 'colour' for json-file log driver: use compress, env, env-regex, labels, labels-regex, max-buffer-size, max-file, max-size, mode or tag"},
		{Local, config{"tag": "x"}, "unknown log opt 'tag' for local"},
		{Journald, config{"max-size": "1m"}, "unknown log opt 'max-size' for journald"},
		{None, config{"max-size": "1m"}, "unknown log opt 'max-size' for none"},
		{JSONFile, config{"max-size": "0"}, "invalid log opt max-size=0"},
		{JSONFile, config{"max-size": "-5"}, "invalid log opt max-size=-5"},
		{JSONFile, config{"max-size": "1mk"}, "invalid log opt max-size=1mk"},
		{JSONFile, config{"max-size": "99999999999999999p"}, "invalid log opt max-size"},
		{JSONFile, config{"max-file": "0"}, "invalid log opt max-file=0"},
		{JSONFile, config{"compress": "perhaps"}, "invalid log opt compress=perhaps"},
		{JSONFile, config{"compress": "true", "max-file": "1"}, "compress cannot be true"},
		{Local, config{"compress": "true", "max-size": "-1"}, "compress cannot be true"},
		{JSONFile, config{"mode": "fast"}, "logging mode not supported: fast"},
		{JSONFile, config{"max-buffer-size": "1m"}, "only supported with 'mode=non-blocking'"},
		{JSONFile, config{"mode": "non-blocking", "max-buffer-size": "2g"}, "invalid log opt max-buffer-size=2g"},
		{JSONFile, config{"labels-regex": "("}, "invalid log opt labels-regex=("},
		{JSONFile, config{"tag": "{{.Title}}"}, "{{.Title}} is not known: use {{.Command}}"},
		{JSONFile, config{"tag": "{{.Name"}, "has no }}"},
	} {
		if _, err := Parse(tt.driver, tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %v: error is %v, want %q", tt.driver, tt.config, err, tt.want)
		}
	}
}

var web = &Container{
	ID: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Name: "web", ImageID: "sha256:fedcba9876543210", ImageName: "nginx:1",
	Command: []string{"nginx", "-g"},
	Labels:  config{"com.example.team": "red", "tier": "front\nback", "CONTAINER_ID_FULL": "other", "1st": "x"},
	Env:     []string{"A=1", "B=2=3", "broken", "SECRET=x"},
}

func TestAttrs(t *testing.T) {
	for _, tt := range []struct {
		config config
		want   string
	}{
		{nil, ""},
		{config{"labels": "nosuch", "env": "nosuch"}, ""},
		{config{"labels": "tier,nosuch", "env": "B"}, `{"B":"2=3","tier":"front\nback"}`},
		{config{"labels-regex": "^com", "env-regex": "^(A|broken)$"}, `{"A":"1","com.example.team":"red"}`},
		{config{"tag": "{{.ImageName}}/{{ .Name }}/{{.ID}}-{{.ImageID}}"}, `{"tag":"nginx:1/web/0123456789ab-fedcba987654"}`},
		{config{"tag": "{{.DaemonName}} {{.Command}} {{.ImageFullID}}"}, `{"tag":"davit nginx -g sha256:fedcba9876543210"}`},
	} {
		o, err := Parse(JSONFile, tt.config)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := o.Attrs(web); err != nil || got != tt.want {
			t.Errorf("%v: %s, %v; want %s", tt.config, got, err, tt.want)
		}
	}
}

// What Docker and Podman have, and no label says who wrote an entry.
func TestFields(t *testing.T) {
	o, err := Parse(Journald, config{"labels-regex": ".", "env": "A"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"CONTAINER_ID=0123456789ab", "CONTAINER_ID_FULL=" + web.ID, "CONTAINER_NAME=web", "CONTAINER_TAG=0123456789ab",
		"IMAGE_NAME=nginx:1", "SYSLOG_IDENTIFIER=0123456789ab",
		"A=1", "COM_EXAMPLE_TEAM=red", "ST=x", "TIER=front\nback",
	}
	if diff := cmp.Diff(want, o.Fields(web)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o, err = Parse(Journald, config{"tag": "{{.Name}}"}); err != nil {
		t.Fatal(err)
	}
	if got := o.Fields(web); got[3] != "CONTAINER_TAG=web" || got[5] != "SYSLOG_IDENTIFIER=web" {
		t.Errorf("with a tag: %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(uint8(0), "max-size", "10m", "tag", "{{.Name}}")
	f.Add(uint8(1), "compress", "1", "max-file", "2")
	f.Add(uint8(2), "labels-regex", "^a", "env", "A,B")
	f.Add(uint8(0), "mode", "non-blocking", "max-buffer-size", "1.5 MiB")
	f.Fuzz(func(t *testing.T, driver uint8, k1, v1, k2, v2 string) {
		name := Drivers()[int(driver)%len(Drivers())]
		o, err := Parse(name, config{k1: v1, k2: v2})
		if err != nil {
			return
		}
		if o.MaxSize < 0 || o.MaxFiles < 0 || o.Buffer < 0 || o.Compress && o.MaxFiles < 2 {
			t.Errorf("%+v", o)
		}
		if _, err := o.Attrs(web); err != nil {
			t.Error(err)
		}
		for _, field := range o.Fields(web) {
			if key, _, ok := strings.Cut(field, "="); !ok || key == "" || key[0] < 'A' || key[0] > 'Z' {
				t.Errorf("field %q", field)
			}
		}
	})
}
