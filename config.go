// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Config is the daemon's configuration: flags over the file over the
// defaults. The JSON keys are the flags' names, as in dockerd's daemon.json.
type Config struct {
	Hosts              []string          `json:"hosts,omitempty"`
	DataRoot           string            `json:"data-root,omitempty"`
	ExecRoot           string            `json:"exec-root,omitempty"`
	Pidfile            string            `json:"pidfile,omitempty"` // "" writes none
	LogLevel           string            `json:"log-level,omitempty"`
	Debug              bool              `json:"debug,omitempty"`
	Group              string            `json:"group,omitempty"`         // owner of a unix socket that --host makes; its members may manage
	Authorization      string            `json:"authorization,omitempty"` // auto, group, docker
	BindAllow          []string          `json:"bind-allow,omitempty"`    // directories that need no run-privileged to mount
	Launcher           string            `json:"launcher,omitempty"`      // auto, systemd, direct
	StorageDriver      string            `json:"storage-driver,omitempty"`
	Bridge             string            `json:"bridge,omitempty"` // "" is davit0, "none" disables networking
	BIP                netip.Prefix      `json:"bip,omitzero"`
	MTU                int               `json:"mtu,omitempty"`
	IP                 netip.Addr        `json:"ip,omitzero"`
	IPTables           bool              `json:"iptables"`
	IPMasq             bool              `json:"ip-masq"`
	IPForward          bool              `json:"ip-forward"`
	ICC                bool              `json:"icc"`
	DNS                []string          `json:"dns,omitempty"`
	DNSSearch          []string          `json:"dns-search,omitempty"`
	DNSOptions         []string          `json:"dns-opts,omitempty"`
	Labels             []string          `json:"labels,omitempty"`
	InsecureRegistries []string          `json:"insecure-registries,omitempty"`
	CertsDir           string            `json:"certs-dir,omitempty"`     // certs.d layout
	CDISpecDirs        []string          `json:"cdi-spec-dirs,omitempty"` // of CDI specifications, the last have precedence
	LogDriver          string            `json:"log-driver,omitempty"`
	LogOpts            map[string]string `json:"log-opts,omitempty"`
	Init               bool              `json:"init,omitempty"`      // of containers that do not say
	InitPath           string            `json:"init-path,omitempty"` // "" is the engine's own
	FavorDynmods       bool              `json:"cgroup-favor-dynmods"`
	DefaultUlimits     map[string]Ulimit `json:"default-ulimits,omitempty"`  // by name, of containers that do not give them
	ShutdownTimeout    int               `json:"shutdown-timeout,omitempty"` // seconds that running jobs get
	IdleExit           Span              `json:"idle-exit,omitzero"`         // 0: the daemon stays
	TLSCACert          string            `json:"tlscacert,omitempty"`
	TLSCert            string            `json:"tlscert,omitempty"`
	TLSKey             string            `json:"tlskey,omitempty"`
}

// Span is a time span that is written as systemd does, "10min" or "1h 30min"
// (systemd.time(7)); Go's "1h30m" is read too.
type Span time.Duration

// spanUnits are those of systemd.time(7) that a daemon's timeouts need.
var spanUnits = map[string]time.Duration{
	"us": time.Microsecond, "usec": time.Microsecond, "ms": time.Millisecond, "msec": time.Millisecond,
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
}

// UnmarshalText reads a span. A number without a unit is of seconds.
func (s *Span) UnmarshalText(text []byte) error {
	rest, total := strings.TrimSpace(string(text)), time.Duration(0)
	bad := fmt.Errorf("invalid time span %q: write it as 90s, 10min or \"1h 30min\"; 0 is none", text)
	if rest == "" {
		return bad
	}
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		rest = strings.TrimLeft(rest[digits:], " ")
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		unit, ok := spanUnits[rest[:letters]]
		rest = strings.TrimLeft(rest[letters:], " ")
		if err != nil || !ok || n > int64((math.MaxInt64-total)/unit) {
			return bad
		}
		total += time.Duration(n) * unit
	}
	*s = Span(total)
	return nil
}

// MarshalText writes the span as a whole number of its largest unit.
func (s Span) MarshalText() ([]byte, error) {
	d := time.Duration(s)
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if d%u.unit == 0 && d != 0 {
			return []byte(strconv.FormatInt(int64(d/u.unit), 10) + u.name), nil
		}
	}
	return []byte(strconv.FormatInt(d.Microseconds(), 10) + "us"), nil
}

// String is the text of MarshalText.
func (s Span) String() string {
	text, _ := s.MarshalText() // it never fails
	return string(text)
}

// DefaultConfig returns the configuration of a daemon with no flags and no file.
func DefaultConfig() Config {
	return Config{
		DataRoot: "/var/lib/davit", ExecRoot: "/run/davit", LogLevel: "info", Group: "davit", Authorization: "auto",
		Launcher: "auto", StorageDriver: "overlay", IPTables: true, IPMasq: true, IPForward: true, ICC: true,
		LogDriver: "json-file", FavorDynmods: true, ShutdownTimeout: 5, CertsDir: "/etc/davit/certs.d",
		CDISpecDirs: []string{"/etc/cdi", "/var/run/cdi"},
	}
}

// EffectiveLogLevel is LogLevel, or "debug" with Debug.
func (c *Config) EffectiveLogLevel() string {
	if c.Debug {
		return "debug"
	}
	return c.LogLevel
}

// ConfigDiff returns the keys in which two configurations differ, as they are
// called in the file.
func ConfigDiff(a, b Config) []string {
	var out []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for f := range va.Type().Fields() {
		if !reflect.DeepEqual(va.FieldByIndex(f.Index).Interface(), vb.FieldByIndex(f.Index).Interface()) {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			out = append(out, key)
		}
	}
	return out
}
