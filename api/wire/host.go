// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"cmp"
	"io/fs"

	"github.com/davit-engine/davit"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// Host is a record's host configuration with Docker's defaults where the
// record has none.
func Host(h *davit.HostConfig) *container.HostConfig {
	out := &container.HostConfig{
		Binds: h.Binds, Tmpfs: h.Tmpfs, NetworkMode: container.NetworkMode(h.NetworkMode), PublishAllPorts: h.PublishAllPorts,
		PortBindings: network.PortMap{},
		RestartPolicy: container.RestartPolicy{
			Name: container.RestartPolicyMode(h.RestartPolicy.Name), MaximumRetryCount: h.RestartPolicy.MaximumRetryCount,
		},
		AutoRemove: h.AutoRemove, Privileged: h.Privileged, ReadonlyRootfs: h.ReadonlyRootfs,
		CapAdd: h.CapAdd, CapDrop: h.CapDrop, SecurityOpt: h.SecurityOpt, CgroupnsMode: container.CgroupnsMode(h.CgroupnsMode),
		IpcMode: container.IpcMode(h.IpcMode), PidMode: container.PidMode(h.PidMode), UTSMode: container.UTSMode(h.UTSMode),
		UsernsMode: container.UsernsMode(h.UsernsMode), VolumesFrom: h.VolumesFrom, VolumeDriver: h.VolumeDriver,
		StorageOpt: h.StorageOpt, Links: h.Links, ContainerIDFile: h.ContainerIDFile, Umask: h.Umask, Init: h.Init,
		DNSSearch: OrEmpty(h.DNSSearch), DNSOptions: OrEmpty(h.DNSOptions),
		ExtraHosts: h.ExtraHosts, GroupAdd: h.GroupAdd, ShmSize: h.ShmSize, Sysctls: h.Sysctls, Runtime: cmp.Or(h.Runtime, "runc"),
		OomScoreAdj: h.OomScoreAdj, ConsoleSize: h.ConsoleSize, Annotations: h.Annotations,
		LogConfig: container.LogConfig{Type: h.LogConfig.Type, Config: OrEmptyMap(h.LogConfig.Config)},
		Mounts:    mountsWire(h.Mounts), MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths, Resources: resources(&h.Resources),
	}
	if h.CgroupnsMode == "" {
		out.CgroupnsMode = container.CgroupnsModePrivate
	}
	if h.IpcMode == "" {
		out.IpcMode = container.IPCModePrivate
	}
	if h.MaskedPaths == nil && !h.Privileged {
		out.MaskedPaths = MaskedPaths()
	}
	if h.ReadonlyPaths == nil && !h.Privileged {
		out.ReadonlyPaths = ReadonlyPaths()
	}
	if h.ShmSize == 0 {
		out.ShmSize = 64 << 20
	}
	if h.LogConfig.Type == "" {
		out.LogConfig.Type = "json-file"
	}
	if h.RestartPolicy.Name == "" {
		out.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	for _, s := range h.DNS {
		out.DNS = append(out.DNS, Addr(s))
	}
	out.DNS = OrEmpty(out.DNS)
	for name, bindings := range h.PortBindings {
		p, err := network.ParsePort(name)
		if err != nil {
			continue // the record was made of a parsed one
		}
		list := []network.PortBinding{}
		for _, b := range bindings {
			list = append(list, network.PortBinding{HostIP: Addr(b.HostIP), HostPort: b.HostPort})
		}
		out.PortBindings[p] = list
	}
	return out
}

func resources(r *davit.Resources) container.Resources {
	out := container.Resources{
		Memory: r.Memory, MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap, MemorySwappiness: r.MemorySwappiness,
		OomKillDisable: r.OomKillDisable, NanoCPUs: r.NanoCPUs, CPUShares: r.CPUShares, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		CPURealtimePeriod: r.CPURealtimePeriod, CPURealtimeRuntime: r.CPURealtimeRuntime,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems, PidsLimit: r.PidsLimit, CgroupParent: r.CgroupParent,
		BlkioWeight: r.BlkioWeight, BlkioDeviceReadBps: throttles(r.BlkioDeviceReadBps), BlkioDeviceWriteBps: throttles(r.BlkioDeviceWriteBps),
		BlkioDeviceReadIOps: throttles(r.BlkioDeviceReadIOps), BlkioDeviceWriteIOps: throttles(r.BlkioDeviceWriteIOps),
		DeviceCgroupRules: r.DeviceCgroupRules,
	}
	for _, d := range r.BlkioWeightDevice {
		out.BlkioWeightDevice = append(out.BlkioWeightDevice, &blkiodev.WeightDevice{Path: d.Path, Weight: d.Weight})
	}
	for _, d := range r.Devices {
		out.Devices = append(out.Devices, container.DeviceMapping(d))
	}
	for _, d := range r.DeviceRequests {
		out.DeviceRequests = append(out.DeviceRequests, container.DeviceRequest(d))
	}
	for _, u := range r.Ulimits {
		out.Ulimits = append(out.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return out
}

func throttles(devices []davit.ThrottleDevice) (out []*blkiodev.ThrottleDevice) {
	for _, d := range devices {
		out = append(out, &blkiodev.ThrottleDevice{Path: d.Path, Rate: d.Rate})
	}
	return out
}

func mountsWire(mounts []davit.MountRequest) (out []mount.Mount) {
	for i := range mounts {
		m := &mounts[i]
		w := mount.Mount{
			Type: mount.Type(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
			Consistency: mount.Consistency(m.Consistency),
		}
		bind := mount.BindOptions{
			Propagation: mount.Propagation(m.Propagation), NonRecursive: m.NonRecursive, CreateMountpoint: m.CreateMountpoint,
			ReadOnlyNonRecursive: m.ReadOnlyNonRecursive, ReadOnlyForceRecursive: m.ReadOnlyForceRecursive,
		}
		if bind != (mount.BindOptions{}) {
			w.BindOptions = &bind
		}
		switch w.Type {
		case mount.TypeVolume:
			w.VolumeOptions = volumeOptions(m)
		case mount.TypeImage:
			if m.Subpath != "" {
				w.ImageOptions = &mount.ImageOptions{Subpath: m.Subpath}
			}
		}
		if m.TmpfsSize != 0 || m.TmpfsMode != 0 || len(m.TmpfsOptions) > 0 {
			w.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.TmpfsSize, Mode: fs.FileMode(m.TmpfsMode), Options: m.TmpfsOptions}
		}
		out = append(out, w)
	}
	return out
}

// volumeOptions returns nil for a volume of which nothing special was asked.
func volumeOptions(m *davit.MountRequest) *mount.VolumeOptions {
	o := &mount.VolumeOptions{NoCopy: m.NoCopy, Labels: m.VolumeLabels, Subpath: m.Subpath}
	if m.VolumeDriver != "" || len(m.VolumeOptions) > 0 {
		o.DriverConfig = &mount.Driver{Name: m.VolumeDriver, Options: m.VolumeOptions}
	}
	if !o.NoCopy && len(o.Labels) == 0 && o.Subpath == "" && o.DriverConfig == nil {
		return nil
	}
	return o
}
