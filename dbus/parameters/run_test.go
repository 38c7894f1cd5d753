// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-engine/davit"
)

func TestPublishPorts(t *testing.T) {
	tests := []struct {
		in   string
		port string
		want davit.PortBinding
	}{
		{"80", "80/tcp", davit.PortBinding{}},
		{"8080:80", "80/tcp", davit.PortBinding{HostPort: "8080"}},
		{"127.0.0.1::53/udp", "53/udp", davit.PortBinding{HostIP: "127.0.0.1"}},
		{"127.0.0.1:5353:53/udp", "53/udp", davit.PortBinding{HostIP: "127.0.0.1", HostPort: "5353"}},
		{"[::1]:8080:80", "80/tcp", davit.PortBinding{HostIP: "::1", HostPort: "8080"}},
		{"8080:80/sctp", "80/sctp", davit.PortBinding{HostPort: "8080"}},
		{"8000-8010:80", "80/tcp", davit.PortBinding{HostPort: "8000-8010"}},
		{in: ""},
		{in: ":"},
		{in: "0"},
		{in: "80:"},
		{in: "x:80"},
		{in: "80/dccp"},
		{in: "1:2:3"},
		{in: "70000"},
		{in: "localhost:1:80"},
		{in: "::1:80:80"},
		{in: "8000-:80"},
		{in: "80-90"},
	}
	for _, tt := range tests {
		var c davit.Create
		err := publishPorts(&c, []string{tt.in})
		if tt.port == "" {
			if err == nil {
				t.Errorf("%q is accepted: %v", tt.in, c.HostConfig.PortBindings)
			}
			continue
		}
		want := map[string][]davit.PortBinding{tt.port: {tt.want}}
		if d := cmp.Diff(want, c.HostConfig.PortBindings); err != nil || d != "" {
			t.Errorf("%q: %v\n%s", tt.in, err, d)
		}
		if got := slices.Collect(maps.Keys(c.Config.ExposedPorts)); !slices.Equal(got, []string{tt.port}) {
			t.Errorf("%q exposes %v", tt.in, got)
		}
	}
}
