// SPDX-License-Identifier: Apache-2.0

// Package body turns what clients of the REST API send for a body into the
// engine's requests. What the engine has no word for is refused by name: no
// field is dropped in silence.
package body

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/wire"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// DecodeCreate reads what a create request has for a body. It refuses what the
// REST API does, in the same words. Other front doors take containers in this
// form too.
func DecodeCreate(name string, config []byte) (davit.Create, error) {
	var body container.CreateRequest
	if err := Decode(config, &body, nil); err != nil {
		return davit.Create{}, err
	}
	q, err := Create(body)
	q.Name = strings.TrimPrefix(name, "/")
	return q, err
}

// Legacy is the body of a create request with what clients before API 1.52
// sent too: the hardware address beside the configuration, not of an endpoint.
type Legacy struct {
	container.CreateRequest
	MacAddress network.HardwareAddr
}

// Request is the body in today's form.
func (l Legacy) Request() (container.CreateRequest, error) {
	body := l.CreateRequest
	if len(l.MacAddress) == 0 {
		return body, nil
	}
	mode := network.NetworkBridge
	if body.HostConfig != nil {
		mode = networkName(string(body.HostConfig.NetworkMode))
	}
	endpoints := map[string]*network.EndpointSettings{mode: {}}
	if cfg := body.NetworkingConfig; cfg != nil {
		for name, ep := range cfg.EndpointsConfig {
			endpoints[networkName(name)] = cmp.Or(ep.Copy(), &network.EndpointSettings{})
		}
	}
	main := endpoints[mode]
	if len(main.MacAddress) > 0 && !bytes.Equal(main.MacAddress, l.MacAddress) {
		return body, invalid("the container-wide MAC address (MacAddress) must match the endpoint-specific MAC address for the main network, or be left empty")
	}
	main.MacAddress = l.MacAddress
	body.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: endpoints}
	return body, nil
}

// Create translates the body of a create request. What the nouns of
// the engine have no word for is refused by name.
func Create(body container.CreateRequest) (davit.Create, error) {
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
	body.HostConfig = &host
	if err := refuseCreate(&body); err != nil {
		return q, err
	}
	mounts, err := mountRequests(host.Mounts)
	if err != nil {
		return q, err
	}
	q.Config = Config(body.Config)
	q.HostConfig = Host(&host)
	q.HostConfig.Mounts = mounts
	q.MAC, err = macAddress(body.NetworkingConfig, q.HostConfig.NetworkMode)
	return q, err
}

// Config translates the portable part of a configuration.
func Config(c *container.Config) davit.ContainerConfig {
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

// Host translates what depends on the host. Its mounts are left out: not all
// can be translated.
func Host(h *container.HostConfig) davit.HostConfig {
	out := davit.HostConfig{
		Binds: h.Binds, Tmpfs: h.Tmpfs, NetworkMode: networkName(string(h.NetworkMode)),
		PublishAllPorts: h.PublishAllPorts,
		RestartPolicy:   *restartPolicy(h.RestartPolicy),
		AutoRemove:      h.AutoRemove, Privileged: h.Privileged, ReadonlyRootfs: h.ReadonlyRootfs,
		CapAdd: h.CapAdd, CapDrop: h.CapDrop, SecurityOpt: h.SecurityOpt,
		DNSSearch: h.DNSSearch, DNSOptions: h.DNSOptions, ExtraHosts: h.ExtraHosts, GroupAdd: h.GroupAdd,
		ShmSize: h.ShmSize, OomScoreAdj: h.OomScoreAdj, Sysctls: h.Sysctls, Init: h.Init, ConsoleSize: h.ConsoleSize,
		LogConfig:   davit.LogConfig{Type: h.LogConfig.Type, Config: h.LogConfig.Config},
		Annotations: h.Annotations, VolumesFrom: h.VolumesFrom, VolumeDriver: h.VolumeDriver,
		PidMode: string(h.PidMode), IpcMode: string(h.IpcMode), UTSMode: string(h.UTSMode), CgroupnsMode: string(h.CgroupnsMode),
		UsernsMode: string(h.UsernsMode), MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths,
		StorageOpt: h.StorageOpt, Runtime: h.Runtime, Links: h.Links, ContainerIDFile: h.ContainerIDFile, Umask: h.Umask,
		Resources: resources(&h.Resources),
	}
	// What an inspect told, told again, asks for nothing.
	if slices.Equal(h.MaskedPaths, wire.MaskedPaths()) {
		out.MaskedPaths = nil
	}
	if slices.Equal(h.ReadonlyPaths, wire.ReadonlyPaths()) {
		out.ReadonlyPaths = nil
	}
	for _, a := range h.DNS {
		name := ""
		if a.IsValid() { // else its text is empty
			name = a.String()
		}
		out.DNS = append(out.DNS, name)
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

func resources(r *container.Resources) davit.Resources {
	out := davit.Resources{
		Memory: r.Memory, MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap, MemorySwappiness: r.MemorySwappiness,
		OomKillDisable: r.OomKillDisable, NanoCPUs: r.NanoCPUs, CPUShares: r.CPUShares, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		CPURealtimePeriod: r.CPURealtimePeriod, CPURealtimeRuntime: r.CPURealtimeRuntime,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems, PidsLimit: r.PidsLimit, CgroupParent: r.CgroupParent,
		BlkioWeight: r.BlkioWeight, BlkioDeviceReadBps: throttles(r.BlkioDeviceReadBps), BlkioDeviceWriteBps: throttles(r.BlkioDeviceWriteBps),
		BlkioDeviceReadIOps: throttles(r.BlkioDeviceReadIOps), BlkioDeviceWriteIOps: throttles(r.BlkioDeviceWriteIOps),
		DeviceCgroupRules: r.DeviceCgroupRules,
	}
	for _, d := range r.BlkioWeightDevice {
		if d != nil {
			out.BlkioWeightDevice = append(out.BlkioWeightDevice, davit.WeightDevice{Path: d.Path, Weight: d.Weight})
		}
	}
	for _, d := range r.Devices {
		out.Devices = append(out.Devices, davit.DeviceMapping(d))
	}
	for _, d := range r.DeviceRequests {
		out.DeviceRequests = append(out.DeviceRequests, davit.DeviceRequest(d))
	}
	for _, u := range r.Ulimits {
		if u != nil {
			out.Ulimits = append(out.Ulimits, davit.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
		}
	}
	return out
}

func throttles(devices []*blkiodev.ThrottleDevice) (out []davit.ThrottleDevice) {
	for _, d := range devices {
		if d != nil {
			out = append(out, davit.ThrottleDevice{Path: d.Path, Rate: d.Rate})
		}
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
		if field := misplaced(&m); field != "" {
			return nil, invalid("invalid mount config for type %q: field %s must not be specified", m.Type, field)
		}
		req := davit.MountRequest{
			Type: string(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, Consistency: string(m.Consistency),
		}
		if o := m.BindOptions; o != nil {
			req.Propagation, req.NonRecursive, req.CreateMountpoint = string(o.Propagation), o.NonRecursive, o.CreateMountpoint
			req.ReadOnlyNonRecursive, req.ReadOnlyForceRecursive = o.ReadOnlyNonRecursive, o.ReadOnlyForceRecursive
		}
		if o := m.VolumeOptions; o != nil {
			req.NoCopy, req.VolumeLabels, req.Subpath = o.NoCopy, o.Labels, o.Subpath
			if d := o.DriverConfig; d != nil {
				req.VolumeDriver, req.VolumeOptions = d.Name, d.Options
			}
		}
		if o := m.ImageOptions; o != nil {
			req.Subpath = o.Subpath
		}
		if o := m.TmpfsOptions; o != nil {
			req.TmpfsSize, req.TmpfsMode, req.TmpfsOptions = o.SizeBytes, uint32(o.Mode), o.Options
		}
		out = append(out, req)
	}
	return out, nil
}

// misplaced returns the options of another type of mount.
func misplaced(m *mount.Mount) string {
	switch {
	case m.BindOptions != nil && m.Type != mount.TypeBind:
		return "BindOptions"
	case m.VolumeOptions != nil && m.Type != mount.TypeVolume:
		return "VolumeOptions"
	case m.ImageOptions != nil && m.Type != mount.TypeImage:
		return "ImageOptions"
	case m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
		return "TmpfsOptions"
	case m.ClusterOptions != nil && m.Type != mount.TypeCluster:
		return "ClusterOptions"
	}
	return ""
}

// macAddress reads what a request says of its endpoint: the hardware address, in
// the one network that the container joins. The operational fields of an
// endpoint (EndpointID, IPAddress…) are answers, and mean nothing here.
func macAddress(cfg *network.NetworkingConfig, mode string) (string, error) {
	if cfg == nil {
		return "", nil
	}
	mac := ""
	for _, name := range sortedKeys(cfg.EndpointsConfig) {
		ep := cfg.EndpointsConfig[name]
		switch {
		case networkName(name) != mode:
			return "", unsupported("NetworkingConfig: a container can join one network for now: HostConfig.NetworkMode is %s, and it names %s", mode, name)
		case ep == nil || len(ep.MacAddress) == 0:
			continue
		case mode != network.NetworkBridge:
			return "", invalid("conflicting options: mac-address (MacAddress) and the network mode %s", mode)
		case len(ep.MacAddress) != 6 || ep.MacAddress[0]&1 != 0 || ep.MacAddress.String() == "00:00:00:00:00:00":
			return "", invalid("invalid MAC address (MacAddress): %s is not the address of one Ethernet interface, six octets of which the first is even", ep.MacAddress)
		}
		mac = ep.MacAddress.String()
	}
	return mac, nil
}
