// SPDX-License-Identifier: Apache-2.0

// Package wire puts the engine's nouns into the words of the Docker API.
package wire

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
)

// Summary is a line of docker ps.
func Summary(c *davit.ContainerInfo, now time.Time) container.Summary {
	out := container.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: ShownImage(c), ImageID: c.ImageID.String(),
		Command: commandLine(c.Path, c.Args), Created: c.Created.Unix(), Ports: portSummaries(c),
		Labels: OrEmptyMap(c.Config.Labels), State: container.ContainerState(c.State.Status),
		Status: Status(c.State, now), Mounts: mountPoints(c.Listed()),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: endpoints(c)},
		Health:          &container.HealthSummary{Status: container.HealthStatus(c.State.Health.String())},
	}
	if h := c.State.Health; h != nil {
		out.Health.FailingStreak = h.FailingStreak
	}
	out.SizeRw, out.SizeRootFs = max(c.SizeRw, 0), max(c.SizeRootFs, 0)
	out.HostConfig.NetworkMode = c.HostConfig.NetworkMode
	out.HostConfig.Annotations = c.HostConfig.Annotations
	return out
}

// ShownImage is the reference that the user gave, or the image's id when the
// image is gone or the reference has gone to another one.
func ShownImage(c *davit.ContainerInfo) string {
	if c.Image == nil {
		return c.ImageID.String()
	}
	ref := c.ImageRef
	hex := strings.TrimPrefix(ref, "sha256:")
	if hex != "" && strings.HasPrefix(c.ImageID.Encoded(), hex) {
		return ref
	}
	if names := Familiar(ref); slices.ContainsFunc(names, func(n string) bool {
		return slices.Contains(c.Image.Tags, n) || slices.Contains(c.Image.Digests, n)
	}) {
		return ref
	}
	return c.ImageID.String()
}

func commandLine(path string, args []string) string {
	words := []string{path}
	for _, a := range args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// Status says how a container is and since when, as docker ps shows it.
func Status(s davit.State, now time.Time) string {
	switch s.Status {
	case davit.StatusRunning:
		up := "Up " + units.HumanDuration(now.Sub(s.StartedAt))
		switch {
		case s.Health == nil:
			return up
		case s.Health.Status == davit.HealthStarting:
			return up + " (health: starting)"
		}
		return up + " (" + string(s.Health.Status) + ")"
	case davit.StatusPaused:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + " (Paused)"
	case davit.StatusRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
	case davit.StatusRemoving:
		return "Removal In Progress"
	case davit.StatusDead:
		return "Dead"
	case davit.StatusCreated:
		return "Created"
	case davit.StatusExited:
	}
	if s.FinishedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
}

// portSummaries lists the published ports, and those that are only exposed, of
// a container that runs.
func portSummaries(c *davit.ContainerInfo) []container.PortSummary {
	out := []container.PortSummary{}
	if !c.State.Running() {
		return out
	}
	published := map[string]bool{}
	for _, ep := range c.Endpoints {
		for _, p := range ep.Ports {
			published[fmt.Sprintf("%d/%s", p.ContainerPort, p.Proto)] = true
			out = append(out, container.PortSummary{IP: p.HostIP, PrivatePort: p.ContainerPort, PublicPort: p.HostPort, Type: p.Proto})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Config.ExposedPorts)) {
		if p, err := network.ParsePort(name); err == nil && !published[p.String()] {
			out = append(out, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
	}
	return out
}

func portMap(c *davit.ContainerInfo) network.PortMap {
	out := network.PortMap{}
	if !c.State.Running() {
		return out
	}
	for name := range c.Config.ExposedPorts {
		if p, err := network.ParsePort(name); err == nil {
			out[p] = nil
		}
	}
	for _, ep := range c.Endpoints {
		for _, m := range ep.Ports {
			if p, ok := network.PortFrom(m.ContainerPort, network.IPProtocol(m.Proto)); ok {
				out[p] = append(out[p], network.PortBinding{HostIP: m.HostIP, HostPort: fmt.Sprint(m.HostPort)})
			}
		}
	}
	return out
}

// endpoints are the container's networks, by name. A container that does not run
// is on its network without an address.
func endpoints(c *davit.ContainerInfo) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	if mode := c.HostConfig.NetworkMode; len(c.Endpoints) == 0 && mode != "" {
		out[mode] = &network.EndpointSettings{NetworkID: c.NetworkID, MacAddress: HardwareAddr(c.MAC)}
	}
	for _, ep := range c.Endpoints {
		s := &network.EndpointSettings{
			NetworkID: ep.NetworkID, EndpointID: ep.EndpointID, Gateway: ep.Gateway, IPAddress: ep.Address.Addr(),
			MacAddress: HardwareAddr(ep.MAC), Aliases: ep.Aliases, DNSNames: ep.Aliases,
		}
		if ep.Address.IsValid() {
			s.IPPrefixLen = ep.Address.Bits()
		}
		out[ep.NetworkName] = s
	}
	return out
}

// HardwareAddr parses an Ethernet address of the records, none for "".
func HardwareAddr(s string) network.HardwareAddr {
	mac, _ := net.ParseMAC(s) // none is an empty string on the wire
	return network.HardwareAddr(mac)
}

func mountPoints(mounts []davit.Mount) []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range mounts {
		out = append(out, container.MountPoint{
			Type: mount.Type(m.Type), Name: m.Name, Source: m.Source, Destination: m.Target, Driver: m.Driver,
			Mode: m.Mode, RW: m.ReadWrite, Propagation: mount.Propagation(m.Propagation),
		})
	}
	return out
}

// InspectReply is docker inspect's, with what older versions said too.
type InspectReply struct {
	container.InspectResponse
	NetworkSettings any
}

// legacyNetwork is the default network's endpoint as it stood beside the list
// of networks before API 1.52.
type legacyNetwork struct {
	Bridge              string
	EndpointID          string
	Gateway             string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	IPAddress           string
	IPPrefixLen         int
	IPv6Gateway         string
	MacAddress          string
	container.NetworkSettings
}

// Inspect is docker inspect's reply to a client of API 1.version; size adds
// the sizes.
func Inspect(c *davit.ContainerInfo, version int, size bool) InspectReply {
	out := InspectReply{InspectResponse: container.InspectResponse{
		ID: c.ID, Created: c.Created.Format(time.RFC3339Nano), Path: c.Path, Args: OrEmpty(c.Args),
		State: stateWire(c.State), Image: c.ImageID.String(), LogPath: c.LogPath, Name: "/" + c.Name,
		RestartCount: c.Restarts, Driver: "overlay", Platform: "linux", ExecIDs: c.ExecIDs,
		HostConfig: Host(&c.HostConfig), Mounts: mountPoints(c.Listed()), Config: Config(&c.Config),
		GraphDriver: graphDriver(c), AppArmorProfile: c.State.AppArmor,
	}}
	if dir := c.FilesDir; dir != "" {
		out.HostnamePath, out.HostsPath, out.ResolvConfPath = filepath.Join(dir, "hostname"), filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	}
	if size {
		out.SizeRw, out.SizeRootFs = &c.SizeRw, &c.SizeRootFs
	}
	settings := container.NetworkSettings{Ports: portMap(c), Networks: endpoints(c)}
	if c.State.Pid != 0 { // a way into its network, as Docker's files of namespaces are
		settings.SandboxID, settings.SandboxKey = c.ID, fmt.Sprintf("/proc/%d/ns/net", c.State.Pid)
	}
	out.NetworkSettings = settings
	if version < 52 {
		old := legacyNetwork{NetworkSettings: settings}
		if ep := settings.Networks[network.NetworkBridge]; ep != nil {
			old.EndpointID, old.IPPrefixLen, old.MacAddress = ep.EndpointID, ep.IPPrefixLen, ep.MacAddress.String()
			if ep.IPAddress.IsValid() {
				old.IPAddress = ep.IPAddress.String()
			}
			if ep.Gateway.IsValid() {
				old.Gateway = ep.Gateway.String()
			}
		}
		out.NetworkSettings = old
	}
	return out
}

// graphDriver tells where the files of a container are. What is mounted is
// seen only in its own mount namespace, through a process of it.
func graphDriver(c *davit.ContainerInfo) *storage.DriverData {
	data := map[string]string{"LowerDir": strings.Join(c.LowerDirs, ":"), "UpperDir": c.UpperDir, "WorkDir": c.WorkDir}
	if c.State.Pid != 0 {
		data["MergedDir"] = fmt.Sprintf("/proc/%d/root", c.State.Pid)
	}
	return &storage.DriverData{Name: "overlay", Data: data}
}

func stateWire(s davit.State) *container.State {
	return &container.State{
		Health: healthWire(s.Health),
		Status: container.ContainerState(s.Status), Running: s.Running(), Paused: s.Status == davit.StatusPaused,
		Restarting: s.Status == davit.StatusRestarting, OOMKilled: s.OOMKilled, Dead: s.Status == davit.StatusDead,
		Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error,
		StartedAt: s.StartedAt.Format(time.RFC3339Nano), FinishedAt: s.FinishedAt.Format(time.RFC3339Nano),
	}
}

func healthWire(h *davit.Health) *container.Health {
	if h == nil {
		return nil
	}
	out := &container.Health{Status: container.HealthStatus(h.Status), FailingStreak: h.FailingStreak, Log: []*container.HealthcheckResult{}}
	for _, p := range h.Log {
		out.Log = append(out.Log, &container.HealthcheckResult{Start: p.Start, End: p.End, ExitCode: p.ExitCode, Output: p.Output})
	}
	return out
}

// Config is a container's or an image's own configuration.
func Config(c *davit.ContainerConfig) *container.Config {
	out := &container.Config{
		Hostname: c.Hostname, Domainname: c.Domainname, User: c.User,
		AttachStdin: c.AttachStdin, AttachStdout: c.AttachStdout, AttachStderr: c.AttachStderr,
		Tty: c.Tty, OpenStdin: c.OpenStdin, StdinOnce: c.StdinOnce,
		Env: OrEmpty(c.Env), Cmd: c.Cmd, Entrypoint: c.Entrypoint, Image: c.Image, Volumes: c.Volumes,
		WorkingDir: c.WorkingDir, Labels: OrEmptyMap(c.Labels), StopSignal: c.StopSignal, StopTimeout: c.StopTimeout,
		Shell: c.Shell, OnBuild: c.OnBuild,
	}
	for name := range c.ExposedPorts {
		if p, err := network.ParsePort(name); err == nil {
			if out.ExposedPorts == nil {
				out.ExposedPorts = network.PortSet{}
			}
			out.ExposedPorts[p] = struct{}{}
		}
	}
	if h := c.Healthcheck; h != nil {
		out.Healthcheck = &container.HealthConfig{
			Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod,
			StartInterval: h.StartInterval, Retries: h.Retries,
		}
	}
	return out
}

// OrEmpty returns s, or an empty list for nil: clients iterate over JSON
// arrays, and some fail on null.
func OrEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// OrEmptyMap is OrEmpty for objects.
func OrEmptyMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// Addr parses an address of the records, the zero value for "".
func Addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s) // the zero value is what the wire has for none
	return a
}

// Familiar returns the names by which the records may hold a reference, as
// users write them.
func Familiar(ref string) []string {
	n, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil
	}
	return []string{reference.FamiliarString(n)}
}

// MaskedPaths are what a container's runtime hides unless told otherwise. A
// request that asks for just this asks for nothing.
func MaskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// ReadonlyPaths are what it makes read-only, likewise.
func ReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
