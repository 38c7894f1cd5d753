// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/wire"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

func createContainer(c *call) error {
	var body container.CreateRequest
	if err := c.body(&body); err != nil {
		return err
	}
	q, err := createRequest(body)
	if err != nil {
		return err
	}
	q.Name = strings.TrimPrefix(c.form.Get("name"), "/")
	if q.Platform, err = platform(c.form.Get("platform")); err != nil {
		return err
	}
	out, err := run(c, q)
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, container.CreateResponse{ID: out.ID, Warnings: wire.OrEmpty(out.Warnings)})
}

// DecodeCreate reads what a create request has for a body. It refuses what the
// REST API does, in the same words. Other front doors take containers in this
// form too.
func DecodeCreate(name string, config []byte) (davit.Create, error) {
	var body container.CreateRequest
	if err := decode(config, &body, nil); err != nil {
		return davit.Create{}, err
	}
	q, err := createRequest(body)
	q.Name = strings.TrimPrefix(name, "/")
	return q, err
}

// createRequest translates the body of a create request. What the nouns of
// the engine have no word for is refused by name.
func createRequest(body container.CreateRequest) (davit.Create, error) {
	var q davit.Create
	if body.Config == nil {
		return q, invalid("config cannot be empty in order to create a container")
	}
	host := container.HostConfig{}
	if body.HostConfig != nil {
		host = *body.HostConfig
	}
	if err := container.ValidateRestartPolicy(host.RestartPolicy); err != nil {
		return q, invalid("%w", err)
	}
	for _, refused := range [][]refusal{refusedConfig(body.Config), refusedHost(&host), refusedResources(&host.Resources)} {
		for _, f := range refused {
			if f.set {
				return q, unsupported("%s is not supported yet", f.field)
			}
		}
	}
	mounts, err := mountRequests(host.Mounts)
	if err != nil {
		return q, err
	}
	q.Config = configNoun(body.Config)
	q.HostConfig = hostNoun(&host)
	q.HostConfig.Mounts = mounts
	q.Aliases, err = aliases(body.NetworkingConfig, q.HostConfig.NetworkMode)
	return q, err
}

// refusal is a field that the engine has no word for, and whether the request
// says more there than its default.
type refusal struct {
	field string
	set   bool
}

func refusedConfig(c *container.Config) []refusal {
	return []refusal{
		{"ArgsEscaped", c.ArgsEscaped},
		{"NetworkDisabled", c.NetworkDisabled},
	}
}

// refusedHost checks the host's part. ContainerIDFile is not in it: it is the
// client that writes the file.
func refusedHost(h *container.HostConfig) []refusal {
	return []refusal{
		{"HostConfig.VolumeDriver", h.VolumeDriver != "" && h.VolumeDriver != "local"},
		{"HostConfig.VolumesFrom", len(h.VolumesFrom) > 0},
		{"HostConfig.CgroupnsMode " + string(h.CgroupnsMode), !h.CgroupnsMode.IsEmpty() && !h.CgroupnsMode.IsPrivate()},
		{"HostConfig.IpcMode " + string(h.IpcMode), !h.IpcMode.IsEmpty() && !h.IpcMode.IsPrivate()},
		{"HostConfig.Cgroup", h.Cgroup != ""},
		{"HostConfig.Links", len(h.Links) > 0},
		{"HostConfig.PidMode " + string(h.PidMode), h.PidMode != ""},
		{"HostConfig.UTSMode " + string(h.UTSMode), h.UTSMode != ""},
		// There is no remapping of users to be exempt from.
		{"HostConfig.UsernsMode " + string(h.UsernsMode), h.UsernsMode != "" && !h.UsernsMode.IsHost()},
		{"HostConfig.NetworkMode " + string(h.NetworkMode), h.NetworkMode.IsContainer()},
		{"HostConfig.StorageOpt", len(h.StorageOpt) > 0},
		{"HostConfig.Runtime " + h.Runtime, h.Runtime != "" && h.Runtime != "runc"},
		{"HostConfig.Umask", h.Umask != nil},
		{"HostConfig.Isolation " + string(h.Isolation), !h.Isolation.IsDefault()},
		{"HostConfig.MaskedPaths", h.MaskedPaths != nil && !slices.Equal(h.MaskedPaths, wire.MaskedPaths())},
		{"HostConfig.ReadonlyPaths", h.ReadonlyPaths != nil && !slices.Equal(h.ReadonlyPaths, wire.ReadonlyPaths())},
	}
}

func refusedResources(r *container.Resources) []refusal {
	return []refusal{
		{"HostConfig.CgroupParent", r.CgroupParent != ""},
		{"HostConfig.BlkioWeight", r.BlkioWeight != 0},
		{"HostConfig.BlkioWeightDevice", len(r.BlkioWeightDevice) > 0},
		{"HostConfig.BlkioDeviceReadBps", len(r.BlkioDeviceReadBps) > 0},
		{"HostConfig.BlkioDeviceWriteBps", len(r.BlkioDeviceWriteBps) > 0},
		{"HostConfig.BlkioDeviceReadIOps", len(r.BlkioDeviceReadIOps) > 0},
		{"HostConfig.BlkioDeviceWriteIOps", len(r.BlkioDeviceWriteIOps) > 0},
		{"HostConfig.CpuRealtimePeriod", r.CPURealtimePeriod != 0},
		{"HostConfig.CpuRealtimeRuntime", r.CPURealtimeRuntime != 0},
		{"HostConfig.CpusetMems", r.CpusetMems != ""},
		{"HostConfig.Devices", len(r.Devices) > 0},
		{"HostConfig.DeviceCgroupRules", len(r.DeviceCgroupRules) > 0},
		{"HostConfig.DeviceRequests", len(r.DeviceRequests) > 0},
		{"HostConfig.MemoryReservation", r.MemoryReservation != 0},
		// -1 is what the docker CLI sends for "not given".
		{"HostConfig.MemorySwappiness", r.MemorySwappiness != nil && *r.MemorySwappiness != -1},
		{"HostConfig.OomKillDisable", r.OomKillDisable != nil && *r.OomKillDisable},
		{"HostConfig.CpuCount", r.CPUCount != 0},
		{"HostConfig.CpuPercent", r.CPUPercent != 0},
		{"HostConfig.IOMaximumIOps", r.IOMaximumIOps != 0},
		{"HostConfig.IOMaximumBandwidth", r.IOMaximumBandwidth != 0},
	}
}

func configNoun(c *container.Config) davit.ContainerConfig {
	out := davit.ContainerConfig{
		Hostname: c.Hostname, Domainname: c.Domainname, User: c.User,
		AttachStdin: c.AttachStdin, AttachStdout: c.AttachStdout, AttachStderr: c.AttachStderr,
		Tty: c.Tty, OpenStdin: c.OpenStdin, StdinOnce: c.StdinOnce,
		Env: c.Env, Cmd: c.Cmd, Entrypoint: c.Entrypoint, Image: c.Image, Volumes: c.Volumes,
		WorkingDir: c.WorkingDir, Labels: c.Labels, StopSignal: c.StopSignal, StopTimeout: c.StopTimeout,
		Shell: c.Shell, OnBuild: c.OnBuild,
	}
	if len(c.ExposedPorts) > 0 {
		out.ExposedPorts = map[string]struct{}{}
		for p := range c.ExposedPorts {
			out.ExposedPorts[p.String()] = struct{}{}
		}
	}
	if h := c.Healthcheck; h != nil {
		out.Healthcheck = &davit.Healthcheck{
			Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod,
			StartInterval: h.StartInterval, Retries: h.Retries,
		}
	}
	return out
}

func hostNoun(h *container.HostConfig) davit.HostConfig {
	out := davit.HostConfig{
		Binds: h.Binds, Tmpfs: h.Tmpfs, NetworkMode: networkName(string(h.NetworkMode)),
		PublishAllPorts: h.PublishAllPorts,
		RestartPolicy:   davit.RestartPolicy{Name: string(h.RestartPolicy.Name), MaximumRetryCount: h.RestartPolicy.MaximumRetryCount},
		AutoRemove:      h.AutoRemove, Privileged: h.Privileged, ReadonlyRootfs: h.ReadonlyRootfs,
		CapAdd: h.CapAdd, CapDrop: h.CapDrop, SecurityOpt: h.SecurityOpt,
		DNSSearch: h.DNSSearch, DNSOptions: h.DNSOptions, ExtraHosts: h.ExtraHosts, GroupAdd: h.GroupAdd,
		ShmSize: h.ShmSize, Memory: h.Memory, MemorySwap: h.MemorySwap, NanoCPUs: h.NanoCPUs,
		CPUShares: h.CPUShares, CPUPeriod: h.CPUPeriod, CPUQuota: h.CPUQuota, CpusetCpus: h.CpusetCpus,
		OomScoreAdj: h.OomScoreAdj, Sysctls: h.Sysctls, Init: h.Init != nil && *h.Init, ConsoleSize: h.ConsoleSize,
		LogConfig:   davit.LogConfig{Type: h.LogConfig.Type, Config: h.LogConfig.Config},
		Annotations: h.Annotations,
	}
	if h.PidsLimit != nil {
		out.PidsLimit = *h.PidsLimit
	}
	for _, a := range h.DNS {
		out.DNS = append(out.DNS, a.String())
	}
	for _, u := range h.Ulimits {
		out.Ulimits = append(out.Ulimits, davit.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	if len(h.PortBindings) > 0 {
		out.PortBindings = map[string][]davit.PortBinding{}
	}
	for port, bindings := range h.PortBindings {
		list := []davit.PortBinding{}
		for _, b := range bindings {
			pb := davit.PortBinding{HostPort: b.HostPort}
			if b.HostIP.IsValid() {
				pb.HostIP = b.HostIP.String()
			}
			list = append(list, pb)
		}
		out.PortBindings[port.String()] = list
	}
	return out
}

// networkName resolves the alias that clients send for the default network.
func networkName(name string) string {
	if name == "" || name == network.NetworkDefault {
		return network.NetworkBridge
	}
	return name
}

// mountRequests translates --mount.
func mountRequests(mounts []mount.Mount) (out []davit.MountRequest, err error) {
	for _, m := range mounts {
		if !slices.Contains([]mount.Type{mount.TypeBind, mount.TypeVolume, mount.TypeTmpfs}, m.Type) {
			return nil, unsupported("HostConfig.Mounts: type %q is not supported yet", m.Type)
		}
		for _, f := range refusedMount(&m) {
			if f.set {
				return nil, unsupported("HostConfig.Mounts: %s of %s is not supported yet", f.field, m.Target)
			}
		}
		req := davit.MountRequest{Type: string(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		if o := m.BindOptions; o != nil {
			req.Propagation = string(o.Propagation)
		}
		if o := m.VolumeOptions; o != nil {
			req.NoCopy, req.VolumeLabels = o.NoCopy, o.Labels
		}
		if o := m.TmpfsOptions; o != nil {
			req.TmpfsSize, req.TmpfsMode = o.SizeBytes, uint32(o.Mode)
		}
		out = append(out, req)
	}
	return out, nil
}

// refusedMount checks the options of one mount: those that are not carried,
// and those of another type. Consistency has no effect outside Docker Desktop.
func refusedMount(m *mount.Mount) []refusal {
	bind, vol, tmp := m.BindOptions, m.VolumeOptions, m.TmpfsOptions
	return []refusal{
		{"BindOptions", bind != nil && m.Type != mount.TypeBind},
		{"BindOptions.NonRecursive", bind != nil && bind.NonRecursive},
		{"BindOptions.CreateMountpoint", bind != nil && bind.CreateMountpoint},
		{"BindOptions.ReadOnlyNonRecursive", bind != nil && bind.ReadOnlyNonRecursive},
		{"BindOptions.ReadOnlyForceRecursive", bind != nil && bind.ReadOnlyForceRecursive},
		{"VolumeOptions", vol != nil && m.Type != mount.TypeVolume},
		{"VolumeOptions.Subpath", vol != nil && vol.Subpath != ""},
		{"VolumeOptions.DriverConfig", vol != nil && vol.DriverConfig != nil &&
			(vol.DriverConfig.Name != "" && vol.DriverConfig.Name != "local" || len(vol.DriverConfig.Options) > 0)},
		{"TmpfsOptions", tmp != nil && m.Type != mount.TypeTmpfs},
		{"TmpfsOptions.Options", tmp != nil && len(tmp.Options) > 0},
		{"ImageOptions", m.ImageOptions != nil},
		{"ClusterOptions", m.ClusterOptions != nil},
	}
}

// aliases reads what a request says of its endpoints: names, for the one
// network that the container joins. The operational fields of an endpoint
// (EndpointID, IPAddress…) are answers, not questions, and mean nothing here.
func aliases(cfg *network.NetworkingConfig, mode string) (out []string, err error) {
	if cfg == nil {
		return nil, nil
	}
	for _, name := range sortedKeys(cfg.EndpointsConfig) {
		ep := cfg.EndpointsConfig[name]
		if networkName(name) != mode {
			return nil, unsupported("NetworkingConfig: a container can join one network for now, %s or %s", mode, name)
		}
		if ep == nil {
			continue
		}
		for _, f := range []refusal{
			{"IPAMConfig", ep.IPAMConfig != nil && !reflect.ValueOf(*ep.IPAMConfig).IsZero()},
			{"Links", len(ep.Links) > 0},
			{"DriverOpts", len(ep.DriverOpts) > 0},
			{"GwPriority", ep.GwPriority != 0},
			{"MacAddress", len(ep.MacAddress) > 0},
		} {
			if f.set {
				return nil, unsupported("NetworkingConfig.EndpointsConfig.%s.%s is not supported yet", name, f.field)
			}
		}
		out = append(out, ep.Aliases...)
	}
	return out, nil
}

// architectures are uname(2)'s names of what Go calls otherwise.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386", "i686": "386"}

// platform parses os, os/arch, os/arch/variant or arch.
func platform(s string) (davit.Platform, error) {
	if s == "" {
		return davit.Platform{}, nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return davit.Platform{}, invalid("invalid platform %q: want os/arch or os/arch/variant", s)
	}
	if len(parts) == 1 && parts[0] != "linux" {
		parts = []string{"linux", parts[0]}
	}
	p := davit.Platform{OS: parts[0], Architecture: runtime.GOARCH}
	if len(parts) > 1 {
		p.Architecture = parts[1]
		if a, ok := architectures[p.Architecture]; ok {
			p.Architecture = a
		}
	}
	if len(parts) > 2 {
		p.Variant = parts[2]
	}
	return p, nil
}
