// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"net/netip"
	"reflect"
	"strings"
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
	Group              string            `json:"group,omitempty"`    // owner of a unix socket that --host makes
	Launcher           string            `json:"launcher,omitempty"` // auto, systemd, direct
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
	CertsDir           string            `json:"certs-dir,omitempty"` // certs.d layout
	LogDriver          string            `json:"log-driver,omitempty"`
	LogOpts            map[string]string `json:"log-opts,omitempty"`
	FavorDynmods       bool              `json:"cgroup-favor-dynmods"`
	ShutdownTimeout    int               `json:"shutdown-timeout,omitempty"` // seconds that running jobs get
	TLSCACert          string            `json:"tlscacert,omitempty"`
	TLSCert            string            `json:"tlscert,omitempty"`
	TLSKey             string            `json:"tlskey,omitempty"`
}

// DefaultConfig returns the configuration of a daemon with no flags and no file.
func DefaultConfig() Config {
	return Config{
		DataRoot: "/var/lib/davit", ExecRoot: "/run/davit", LogLevel: "info", Group: "davit",
		Launcher: "auto", StorageDriver: "overlay", IPTables: true, IPMasq: true, IPForward: true, ICC: true,
		LogDriver: "json-file", FavorDynmods: true, ShutdownTimeout: 5, CertsDir: "/etc/davit/certs.d",
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
