// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
)

// loaded reads a file with flags.
func loaded(t *testing.T, text string, flags ...string) (davit.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	line, err := parseFlags(append([]string{"--config-file", file}, flags...))
	if err != nil {
		return davit.Config{}, err
	}
	return line.load()
}

func TestConfigFile(t *testing.T) {
	c, err := loaded(t, `{"dns": ["192.0.2.1"], "idle-exit": "1h 30min", "icc": true, "mtu": 1400, "bip": "10.0.0.1/24",
		"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": -1}}, "log-opts": {"max-size": "1m"}}`,
		"--label", "a=1")
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(c.IdleExit) != 90*time.Minute || c.MTU != 1400 || c.Labels[0] != "a=1" || c.DNS[0] != "192.0.2.1" || c.BIP.String() != "10.0.0.1/24" || c.LogOpts["max-size"] != "1m" {
		t.Errorf("read was %+v", c)
	}
	if diff := cmp.Diff(map[string]davit.Ulimit{"nofile": {Name: "nofile", Soft: 1024, Hard: -1}}, c.DefaultUlimits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	c, err = loaded(t, `{}`, "--default-ulimit", "nofile=10:20", "--default-ulimit", "core=0", "--idle-exit", "10min")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]davit.Ulimit{"nofile": {Name: "nofile", Soft: 10, Hard: 20}, "core": {Name: "core"}}, c.DefaultUlimits); diff != "" || time.Duration(c.IdleExit) != 10*time.Minute {
		t.Errorf("idle-exit %v, limits (-want +got):\n%s", c.IdleExit, diff)
	}
}

// A reload may not switch on an exit after which nobody starts the daemon.
func TestReloadRefusesIdleExit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(file, []byte(`{"idle-exit": "1min"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags     []string
		activated bool
		want      string
	}{
		{nil, false, "systemd started"},
		{[]string{"-H", "unix:///run/x.sock"}, true, "unix:///run/x.sock exclude each other"},
		{[]string{"-H", "fd://"}, true, ""},
		{nil, true, ""},
	} {
		line, err := parseFlags(append([]string{"--config-file", file}, c.flags...))
		if err != nil {
			t.Fatal(err)
		}
		_, err = configuration{&daemon{line: line, activated: c.activated}}.Load()
		if c.want == "" && err != nil || c.want != "" && (davit.CodeOf(err) != davit.InvalidConfiguration || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestConfigFileErrorsSayWhere(t *testing.T) {
	for _, c := range []struct {
		text, want string
		flags      []string
	}{
		{"", "line 1: unexpected end of JSON input", nil},
		{"[]", "line 1: it must be an object", nil},
		{"{\n\"mtu\": 1,\n\"mtu\": 2}", "line 3: mtu is given twice", nil},
		{"{\n\"mtu\": 1.5}", "line 2: mtu is of type number, and must not be a number 1.5", nil},
		{"{\n\n\"icc\": 0}", "line 3: icc is of type boolean, and must not be a number", nil},
		{"{\"dns\": [1]}", "line 1: dns is of type string, and must not be a number", nil},
		{"{\"nosuch\": 1}", `there is no key "nosuch"`, nil},
		{"{\"MTU\": 1}", `there is no key "MTU"`, nil},
		{"{} {}", "line 1: invalid character '{' after top-level value", nil},
		{"{\"labels\": [\"a=b\"],\n\"log-level\": \"loud\"}", "line 2: invalid log-level \"loud\"", nil},
		{"{\n\"iptables\": false,\n\"icc\": false}", "icc=false needs iptables", nil},
		{"{\n\"mtu\": 1}", "mtu: given both as a flag and in", []string{"--mtu", "2"}},
		{"{\n\"default-ulimits\": {\"wings\": {\"Name\": \"wings\"}}}", "line 2: invalid default-ulimits: invalid ulimit type: wings: use one of as, core", nil},
		{"{\"default-ulimits\": {\"core\": {\"Name\": \"nofile\"}}}", "it must be the same", nil},
		{"{\"default-ulimits\": {\"core\": {\"Name\": \"core\", \"Soft\": 2, \"Hard\": 1}}}", "invalid default-ulimits: ulimit soft limit must be less than or equal to hard limit: 2 > 1", nil},
		{"{\"default-ulimits\": {\"core\": {\"Name\": \"core\", \"Sofd\": 2}}}", "unknown field \"Sofd\"", nil},
		{"{\"bip\": \"nonsense\"}", "line 1: bip", nil},
		{"{\n\"log-opts\": {\"max-size\": \"big\"}}", "line 2: invalid log-opts: invalid log opt max-size=big", nil},
		{"{}", "unknown log opt 'colour'", []string{"--log-opt", "colour=red"}},
		{"{}", "nofile=1024:4096", []string{"--default-ulimit", "nofile"}},
		{"{}", "invalid time span", []string{"--idle-exit", "soon"}},
	} {
		_, err := loaded(t, c.text, c.flags...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q %v: %v, want %q", c.text, c.flags, err, c.want)
		}
	}
}
