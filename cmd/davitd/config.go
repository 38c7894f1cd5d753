// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/logconfig"
	"github.com/davit-engine/davit/registry"
	"github.com/davit-engine/davit/service/access"
	"github.com/davit-engine/davit/service/request"
	"github.com/spf13/pflag"
)

const defaultConfigFile = "/etc/davit/daemon.json"

// commandLine is what the flags say.
type commandLine struct {
	set         *pflag.FlagSet
	config      davit.Config // defaults overridden by flags
	configFile  string
	bip, ip     string
	logOpts     map[string]string
	showVersion bool
	validate    bool
}

// parseFlags reads the arguments (without the program's name). Its errors
// name the flag or the argument.
func parseFlags(args []string) (*commandLine, error) {
	l := &commandLine{set: pflag.NewFlagSet("davitd", pflag.ContinueOnError), config: davit.DefaultConfig()}
	f, c := l.set, &l.config
	f.SetOutput(io.Discard) // the caller prints errors, and usage only for --help
	f.SortFlags = true
	f.StringArrayVarP(&c.Hosts, "host", "H", nil, "socket to make when systemd passes none (unix:///path); may be repeated")
	f.StringVar(&c.DataRoot, "data-root", c.DataRoot, "directory of all that is kept")
	f.StringVar(&c.ExecRoot, "exec-root", c.ExecRoot, "directory of what lives as long as the host is up")
	f.StringVarP(&c.Pidfile, "pidfile", "p", "", "file to write the daemon's pid to (none)")
	f.StringVar(&l.configFile, "config-file", defaultConfigFile, "configuration file")
	f.StringVarP(&c.LogLevel, "log-level", "l", c.LogLevel, "debug, info, warn or error")
	f.BoolVarP(&c.Debug, "debug", "D", false, "the same as --log-level=debug")
	f.StringVarP(&c.Group, "group", "G", c.Group, "group that owns the sockets of --host, and whose members may manage")
	f.StringVar(&c.Authorization, "authorization", c.Authorization, "who may do what: auto (polkit, without it as group), group (members all but what equals root), docker (members everything)")
	f.StringArrayVar(&c.BindAllow, "bind-allow", nil, "directory of the host that members may mount, with all below it; may be repeated")
	f.StringVar(&c.Launcher, "launcher", c.Launcher, "how monitors are started: auto, systemd or direct")
	f.StringVarP(&c.StorageDriver, "storage-driver", "s", c.StorageDriver, "overlay")
	f.StringVarP(&c.Bridge, "bridge", "b", "", "link of the default network (davit0); none for no networking")
	f.StringVar(&l.bip, "bip", "", "address and prefix length of the default network's link (CIDR)")
	f.IntVar(&c.MTU, "mtu", 0, "MTU of the default network (that of the default route's link)")
	f.StringVar(&l.ip, "ip", "", "default address of published ports (0.0.0.0)")
	f.BoolVar(&c.IPTables, "iptables", c.IPTables, "program the firewall")
	f.BoolVar(&c.IPMasq, "ip-masq", c.IPMasq, "masquerade what containers send outside")
	f.BoolVar(&c.IPForward, "ip-forward", c.IPForward, "switch on net.ipv4.ip_forward")
	f.BoolVar(&c.ICC, "icc", c.ICC, "let containers of the default network talk to each other")
	f.StringArrayVar(&c.DNS, "dns", nil, "name server of containers; may be repeated")
	f.StringArrayVar(&c.DNSSearch, "dns-search", nil, "search domain of containers; may be repeated")
	f.StringArrayVar(&c.DNSOptions, "dns-opt", nil, "resolver option of containers; may be repeated")
	f.StringArrayVar(&c.Labels, "label", nil, "key=value label of the daemon; may be repeated")
	f.StringArrayVar(&c.InsecureRegistries, "insecure-registry", nil, "registry (host[:port] or CIDR) that may be spoken to without TLS; may be repeated")
	f.StringVar(&c.CertsDir, "certs-dir", c.CertsDir, "directory of the registries' certificates")
	f.StringArrayVar(&c.CDISpecDirs, "cdi-spec-dir", c.CDISpecDirs, "directory of CDI specifications; may be repeated")
	f.StringVar(&c.LogDriver, "log-driver", c.LogDriver, "default log driver of containers: "+strings.Join(logconfig.Drivers(), ", ")+"; auto is journald where systemd starts them and there is a journal, else json-file")
	f.StringToStringVar(&l.logOpts, "log-opt", nil, "default log option, key=value; may be repeated")
	f.BoolVar(&c.Init, "init", c.Init, "run containers that do not say otherwise below an init, which forwards signals and reaps processes")
	f.StringVar(&c.InitPath, "init-path", c.InitPath, "the init, a static program; by default davit-init beside davitd or in its libexec directory")
	f.BoolVar(&c.FavorDynmods, "cgroup-favor-dynmods", c.FavorDynmods, "remount cgroup2 with favordynmods: faster starts, for the whole host")
	f.Var(ulimits{&c.DefaultUlimits}, "default-ulimit", "limit of containers that do not give it, name=soft[:hard]; may be repeated")
	f.TextVar(&c.IdleExit, "idle-exit", davit.Span(0), "exit after this time without work, such as 10min; 0: stay. For a daemon that systemd starts by its socket")
	f.IntVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout, "seconds that running jobs get at the end")
	f.StringVar(&c.TLSCACert, "tlscacert", "", "CA of the clients of an api-tls socket")
	f.StringVar(&c.TLSCert, "tlscert", "", "certificate of an api-tls socket")
	f.StringVar(&c.TLSKey, "tlskey", "", "key of an api-tls socket")
	f.BoolVarP(&l.showVersion, "version", "v", false, "print the version and exit")
	f.BoolVar(&l.validate, "validate", false, "check the configuration and exit")
	if err := f.Parse(args); err != nil {
		return l, err
	}
	if f.NArg() > 0 {
		return l, fmt.Errorf("unexpected argument %q: davitd takes only flags (see davitd --help)", f.Arg(0))
	}
	return l, l.finish()
}

// finish parses the flags whose values are more than text.
func (l *commandLine) finish() (err error) {
	if l.bip != "" {
		if l.config.BIP, err = netip.ParsePrefix(l.bip); err != nil {
			return fmt.Errorf("invalid --bip %q: it must be an address with a prefix length, such as 172.20.0.1/16", l.bip)
		}
	}
	if l.ip != "" {
		if l.config.IP, err = netip.ParseAddr(l.ip); err != nil {
			return fmt.Errorf("invalid --ip %q: it must be an address", l.ip)
		}
	}
	if len(l.logOpts) > 0 {
		l.config.LogOpts = l.logOpts
	}
	return nil
}

// fileKeys maps a flag to its key in the file, where they differ: what can be
// repeated is plural there, as in dockerd's.
var fileKeys = map[string]string{
	"cdi-spec-dir": "cdi-spec-dirs", "host": "hosts", "default-ulimit": "default-ulimits", "dns-opt": "dns-opts", "label": "labels", "insecure-registry": "insecure-registries", "log-opt": "log-opts",
}

// load reads the file over the defaults, and the flags over both. A key that
// both give is an error: one of the two would be silently lost. It may be
// called again, for a reload.
func (l *commandLine) load() (davit.Config, error) {
	c := l.config
	if err := validate(&c); err != nil {
		return c, err
	}
	file, err := readConfigFile(l.configFile)
	if errors.Is(err, os.ErrNotExist) && !l.set.Changed("config-file") {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	var both []string
	l.set.Visit(func(f *pflag.Flag) {
		key := f.Name
		if k, ok := fileKeys[key]; ok {
			key = k
		}
		if file.has(key) {
			both = append(both, key)
		}
	})
	if len(both) > 0 {
		slices.Sort(both)
		return c, fmt.Errorf("%s: given both as a flag and in %s: remove one of the two", strings.Join(both, ", "), l.configFile)
	}
	return file.over(c)
}

// validate refuses what cannot work together, before anything is touched.
func validate(c *davit.Config) error {
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("invalid log-level %q: use debug, info, warn or error", c.LogLevel)
	}
	switch c.Launcher {
	case "auto", "systemd", "direct":
	default:
		return fmt.Errorf("invalid launcher %q: use auto, systemd or direct", c.Launcher)
	}
	if err := access.CheckMode(c.Authorization); err != nil {
		return err
	}
	for _, dir := range c.BindAllow {
		if err := access.CheckBindAllow(dir); err != nil {
			return fmt.Errorf("invalid bind-allow %q: %w", dir, err)
		}
	}
	if c.StorageDriver != "overlay" && c.StorageDriver != "overlay2" {
		return fmt.Errorf("invalid storage-driver %q: use overlay", c.StorageDriver)
	}
	for name, dir := range map[string]string{"data-root": c.DataRoot, "exec-root": c.ExecRoot} {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("invalid %s %q: it must be an absolute path", name, dir)
		}
	}
	switch {
	case c.Bridge != "" && len(c.Bridge) > 15:
		return fmt.Errorf("invalid bridge %q: the name of a link has at most 15 characters", c.Bridge)
	case c.Bridge == "none" && c.BIP.IsValid():
		return errors.New("bip and bridge=none exclude each other: remove one of the two")
	case !c.IPTables && !c.ICC:
		return errors.New("icc=false needs iptables: remove iptables=false or icc=false")
	case c.BIP.IsValid() && !c.BIP.Addr().Is4():
		return fmt.Errorf("invalid bip %s: it must be an IPv4 address", c.BIP)
	case c.IP.IsValid() && !c.IP.Is4():
		return fmt.Errorf("invalid ip %s: it must be an IPv4 address", c.IP)
	case c.ShutdownTimeout < 0:
		return fmt.Errorf("invalid shutdown-timeout %d: it must not be negative", c.ShutdownTimeout)
	case c.LogDriver != logconfig.Auto && !slices.Contains(logconfig.Drivers(), c.LogDriver):
		return fmt.Errorf("invalid log-driver %q: use auto, %s", c.LogDriver, strings.Join(logconfig.Drivers(), ", "))
	}
	for _, h := range c.Hosts {
		path, unix := strings.CutPrefix(h, "unix://")
		if (!unix || !filepath.IsAbs(path)) && h != "fd://" {
			return fmt.Errorf("invalid host %q: use unix:///path; TCP is served only with client certificates, on the api-tls socket of systemd", h)
		}
	}
	for _, l := range c.Labels {
		if k, _, ok := strings.Cut(l, "="); !ok || k == "" {
			return fmt.Errorf("invalid label %q: it must be key=value", l)
		}
	}
	for name, u := range c.DefaultUlimits {
		if err := checkUlimit(name, u); err != nil {
			return err
		}
	}
	if err := registry.CheckInsecure(c.InsecureRegistries); err != nil {
		return err
	}
	for _, ns := range c.DNS {
		if _, err := netip.ParseAddr(ns); err != nil {
			return fmt.Errorf("invalid dns %q: it must be an address", ns)
		}
	}
	if err := request.CheckLog(davit.LogConfig{Type: c.LogDriver, Config: c.LogOpts}); err != nil {
		return fmt.Errorf("invalid log-opts: %w", err)
	}
	return nil
}
