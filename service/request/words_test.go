// SPDX-License-Identifier: Apache-2.0

package request

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
)

// TestCheckRefusesWords gives what no kernel, image or host has.
func TestCheckRefusesWords(t *testing.T) {
	for _, tc := range []struct {
		name string
		give func(*davit.Container)
		want string // "" when it is taken
	}{
		{"a capability", func(r *davit.Container) { r.HostConfig.CapAdd = []string{"net_admin", "CAP_SYS_TIME", "all"} }, ""},
		{"no capability", func(r *davit.Container) { r.HostConfig.CapAdd = []string{"foo"} }, `invalid CapAdd: unknown capability: "CAP_FOO"`},
		{"an empty capability", func(r *davit.Container) { r.HostConfig.CapDrop = []string{""} }, `invalid CapDrop: unknown capability: "CAP_"`},
		{"no capability, privileged", func(r *davit.Container) { r.HostConfig.Privileged, r.HostConfig.CapDrop = true, []string{"x"} }, `"CAP_X"`},

		{"a long hostname", func(r *davit.Container) { r.Config.Hostname = strings.Repeat("a", 64) }, ""},
		{"a hostname of another alphabet", func(r *davit.Container) { r.Config.Hostname = "größe_1.example" }, ""},
		{"a longer hostname", func(r *davit.Container) { r.Config.Hostname = strings.Repeat("a", 65) }, "it has 65 bytes, and the most are 64"},
		{"two lines", func(r *davit.Container) { r.Config.Hostname = "a\n10.0.0.1 bank.example" }, `invalid hostname "a\n10.0.0.1 bank.example"`},
		{"two words", func(r *davit.Container) { r.Config.Hostname = "a b" }, "invalid hostname"},
		{"an escape", func(r *davit.Container) { r.Config.Hostname = "a\x1b[2J" }, "invalid hostname"},
		{"a comment", func(r *davit.Container) { r.Config.Hostname = "a#b" }, "invalid hostname"},
		{"no UTF-8", func(r *davit.Container) { r.Config.Hostname = "a\xff" }, "invalid hostname"},
		{"a long domain", func(r *davit.Container) { r.Config.Domainname = strings.Repeat("a", 65) }, "invalid domain name"},
		{"two domains", func(r *davit.Container) { r.Config.Domainname = "a\tb" }, "invalid domain name"},

		{"another host", func(r *davit.Container) { r.HostConfig.ExtraHosts = []string{"db:192.0.2.1"} }, ""},
		{"another host that is a comment", func(r *davit.Container) { r.HostConfig.ExtraHosts = []string{"#db:192.0.2.1"} }, "bad format for add-host"},
		{"another host with a bell", func(r *davit.Container) { r.HostConfig.ExtraHosts = []string{"d\ab:192.0.2.1"} }, "bad format for add-host"},

		{"groups", func(r *davit.Container) { r.HostConfig.GroupAdd = []string{"staff", "0", "2147483647"} }, ""},
		{"an empty group", func(r *davit.Container) { r.HostConfig.GroupAdd = []string{"staff", ""} }, `invalid GroupAdd: number 2 of 2, "", is not a group`},
		{"a negative group", func(r *davit.Container) { r.HostConfig.GroupAdd = []string{"-1"} }, "range 0-2147483647"},
		{"a group above all", func(r *davit.Container) { r.HostConfig.GroupAdd = []string{"99999999999999999999"} }, "range 0-2147483647"},

		{"ulimits", func(r *davit.Container) {
			r.HostConfig.Ulimits = []davit.Ulimit{{Name: "nofile", Soft: 1, Hard: -1}, {Name: "core", Soft: -1, Hard: -1}}
		}, ""},
		{"no ulimit", func(r *davit.Container) { r.HostConfig.Ulimits = []davit.Ulimit{{Name: "wings"}} }, "invalid ulimit type: wings"},
		{"a ulimit above its own", func(r *davit.Container) { r.HostConfig.Ulimits = []davit.Ulimit{{Name: "core", Soft: 2, Hard: 1}} }, "2 > 1"},
		{"a ulimit without end above its own", func(r *davit.Container) { r.HostConfig.Ulimits = []davit.Ulimit{{Name: "core", Soft: -1, Hard: 1}} }, "-1 > 1"},
		{"a negative ulimit", func(r *davit.Container) { r.HostConfig.Ulimits = []davit.Ulimit{{Name: "core", Soft: -2, Hard: 1}} }, "not negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &davit.Container{HostConfig: davit.HostConfig{NetworkMode: "bridge", LogConfig: davit.LogConfig{Type: "json-file"}}}
			tc.give(r)
			_, err := Check(r, able())
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (davit.CodeOf(err) != davit.InvalidConfiguration || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v, want it refused with %q", err, tc.want)
			}
		})
	}
}

func TestHostsFileNamesItself(t *testing.T) {
	on := []davit.Endpoint{{Address: netip.MustParsePrefix("172.17.0.2/16")}}
	for _, tc := range []struct {
		host, domain string
		endpoints    []davit.Endpoint
		want         string
	}{
		{"web", "", on, "172.17.0.2\tweb\n"},
		{"web", "example", on, "172.17.0.2\tweb.example web\n"},
		{"web.a", "example", on, "172.17.0.2\tweb.a.example web\n"},
		{"web.example", "", on, "172.17.0.2\tweb.example web\n"},
		{"web", "example", nil, "127.0.1.1\tweb.example web\n"},
	} {
		rec := &davit.Container{Config: davit.ContainerConfig{Hostname: tc.host, Domainname: tc.domain}, Endpoints: tc.endpoints}
		if got := string(HostsFile(rec)); !strings.HasSuffix(got, "\n"+tc.want) {
			t.Errorf("%s, %s: its file is\n%swant at its end\n%s", tc.host, tc.domain, got, tc.want)
		}
	}
}

func TestHostsFileOfTheHost(t *testing.T) {
	rec := &davit.Container{HostConfig: davit.HostConfig{ExtraHosts: []string{"db:192.0.2.1"}}}
	for host, want := range map[string]string{
		"":                      "192.0.2.1\tdb\n",
		"127.0.0.1 localhost":   "127.0.0.1 localhost\n192.0.2.1\tdb\n",
		"127.0.0.1 localhost\n": "127.0.0.1 localhost\n192.0.2.1\tdb\n",
	} {
		if got := string(WithExtraHosts([]byte(host), rec)); got != want {
			t.Errorf("%q becomes %q, want %q", host, got, want)
		}
	}
}
