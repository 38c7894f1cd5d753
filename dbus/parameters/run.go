// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/refusal"
)

// Run reads the properties of RunContainer, with systemd's names where it has
// them.
func Run(create *davit.Create, values map[string]godbus.Variant) error {
	cfg, host := &create.Config, &create.HostConfig
	var memory, tasks, cpu uint64
	var restart string
	var publish []string
	o := Of(values)
	Take(o, "Environment", &cfg.Env)
	Take(o, "User", &cfg.User)
	Take(o, "WorkingDirectory", &cfg.WorkingDir)
	Take(o, "Labels", &cfg.Labels)
	Take(o, "TTY", &cfg.Tty)
	Take(o, "Binds", &host.Binds)
	Take(o, "Privileged", &host.Privileged)
	Take(o, "Network", &host.NetworkMode)
	Take(o, "MemoryMax", &memory)
	Take(o, "TasksMax", &tasks)
	Take(o, "CPUQuotaPerSecUSec", &cpu)
	Take(o, "Restart", &restart)
	Take(o, "Publish", &publish)
	if err := o.Finish(); err != nil {
		return err
	}
	var err error
	if host.Memory, err = limit("MemoryMax", memory, 1); err != nil {
		return err
	}
	pids, err := limit("TasksMax", tasks, 1)
	if err != nil {
		return err
	}
	if pids != 0 {
		host.PidsLimit = &pids
	}
	if host.NanoCPUs, err = limit("CPUQuotaPerSecUSec", cpu, 1000); err != nil {
		return err
	}
	if host.RestartPolicy, err = restartPolicy(restart); err != nil {
		return err
	}
	return publishPorts(create, publish)
}

// limit converts a limit in systemd's form, where UINT64_MAX is none, to
// Docker's, where 0 is.
func limit(name string, v uint64, factor int64) (int64, error) {
	if v == math.MaxUint64 {
		return 0, nil
	}
	if v > uint64(math.MaxInt64/factor) {
		return 0, refusal.InvalidArgs("%s is too large: %d", name, v)
	}
	return int64(v) * factor, nil
}

// restartPolicy reads "always" or "on-failure:3".
func restartPolicy(s string) (davit.RestartPolicy, error) {
	name, count, counted := strings.Cut(s, ":")
	policy := davit.RestartPolicy{Name: name}
	if !counted {
		return policy, nil
	}
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil {
		return policy, refusal.InvalidArgs("Restart %q: the number of retries is not a number", s)
	}
	policy.MaximumRetryCount = int(n)
	return policy, nil
}

// publishPorts reads published ports in docker run's form,
// [[address:][port[-port]]:]port[/protocol].
func publishPorts(create *davit.Create, publish []string) error {
	for _, spec := range publish {
		port, binding, err := publishedPort(spec)
		if err != nil {
			return err
		}
		if create.HostConfig.PortBindings == nil {
			create.HostConfig.PortBindings = map[string][]davit.PortBinding{}
			create.Config.ExposedPorts = map[string]struct{}{}
		}
		create.Config.ExposedPorts[port] = struct{}{}
		create.HostConfig.PortBindings[port] = append(create.HostConfig.PortBindings[port], binding)
	}
	return nil
}

func publishedPort(spec string) (port string, b davit.PortBinding, err error) {
	wrong := refusal.InvalidArgs("Publish %q: not of the form [[ADDRESS:]PORT:]PORT[/PROTOCOL]", spec)
	rest, proto, ok := strings.Cut(spec, "/")
	if !ok {
		proto = "tcp"
	}
	host, port := "", rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		host, port = rest[:i], rest[i+1:]
	}
	b.HostPort = host
	if strings.Contains(host, ":") {
		var address string
		if address, b.HostPort, err = net.SplitHostPort(host); err != nil {
			return "", b, wrong
		}
		ip, err := netip.ParseAddr(address)
		if err != nil {
			return "", b, wrong
		}
		b.HostIP = ip.String()
	}
	if !isPort(port) || !slices.Contains([]string{"tcp", "udp", "sctp"}, proto) {
		return "", b, wrong
	}
	first, last, ranged := strings.Cut(b.HostPort, "-")
	if (b.HostPort != "" && !isPort(first)) || (ranged && !isPort(last)) {
		return "", b, wrong
	}
	return port + "/" + proto, b, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
