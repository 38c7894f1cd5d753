// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/wire"
	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
)

// ping answers without a job: that the daemon answers at all is the answer.
func ping(c *call) error {
	h := c.w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", "1")
	h.Set("Swarm", "inactive")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", "2")
	c.begin(http.StatusOK)
	_, _ = c.w.Write([]byte("OK")) // nothing is sent for HEAD, and nobody to tell
	return nil
}

func getVersion(c *call) error {
	v, err := query(c, davit.Version{})
	if err != nil {
		return err
	}
	out := system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Davit"}, Version: v.Version,
		APIVersion: v.APIVersion, MinAPIVersion: v.MinAPIVersion, Os: v.OS, Arch: v.Arch,
		GitCommit: v.Commit, GoVersion: v.GoVersion, KernelVersion: v.KernelVersion,
		Components: []system.ComponentVersion{{Name: "Engine", Version: v.Version, Details: map[string]string{
			"ApiVersion": v.APIVersion, "MinAPIVersion": v.MinAPIVersion, "Os": v.OS, "Arch": v.Arch,
			"GitCommit": v.Commit, "GoVersion": v.GoVersion, "KernelVersion": v.KernelVersion,
			"BuildTime": "", "Experimental": "false",
		}}},
	}
	for _, name := range slices.Sorted(maps.Keys(v.Components)) {
		out.Components = append(out.Components, system.ComponentVersion{
			Name: name, Version: v.Components[name], Details: map[string]string{},
		})
	}
	return c.reply(http.StatusOK, out)
}

func getInfo(c *call) error {
	i, err := query(c, davit.Info{})
	if err != nil {
		return err
	}
	out := system.Info{
		ID: i.ID, Name: i.Name, Containers: i.Containers, ContainersRunning: i.Running,
		ContainersPaused: i.Paused, ContainersStopped: i.Stopped, Images: i.Images,
		Driver: i.StorageDriver, DriverStatus: [][2]string{},
		Plugins: system.PluginsInfo{
			Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: wire.OrEmpty(i.LogDrivers),
		},
		MemoryLimit: i.Cgroups.Memory, SwapLimit: i.Cgroups.Swap, CPUCfsPeriod: i.Cgroups.CPUQuota, CPUCfsQuota: i.Cgroups.CPUQuota,
		CPUShares: i.Cgroups.CPUShares, CPUSet: i.Cgroups.Cpuset, PidsLimit: i.Cgroups.Pids, OomKillDisable: i.Cgroups.OomKillDisable,
		IPv4Forwarding: i.IPForwarding,
		Debug:          i.Debug, NFd: i.FDs, NGoroutines: i.Goroutines, NEventsListener: i.EventsListeners,
		SystemTime: i.Time.Format(time.RFC3339Nano), LoggingDriver: i.LogDriver,
		CgroupDriver: i.CgroupDriver, CgroupVersion: i.CgroupVersion, KernelVersion: i.KernelVersion,
		OperatingSystem: i.OperatingSystem, OSVersion: i.OSVersion, OSType: i.OSType, Architecture: i.Architecture,
		IndexServerAddress: "https://index.docker.io/v1/", RegistryConfig: registryConfig(i.InsecureRegistries),
		NCPU: i.NCPU, MemTotal: i.MemTotal, DockerRootDir: i.DataRoot, Labels: wire.OrEmpty(i.Labels),
		ServerVersion: davit.Release, DefaultRuntime: "runc",
		Runtimes:           map[string]system.RuntimeWithStatus{"runc": {Runtime: system.Runtime{Path: "davit-monitor"}}},
		Swarm:              swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		LiveRestoreEnabled: true, // containers always outlive the daemon
		ContainerdCommit:   system.Commit{ID: "N/A"}, RuncCommit: system.Commit{ID: "N/A"}, InitCommit: system.Commit{ID: "N/A"}, InitBinary: "docker-init",
		SecurityOptions: wire.OrEmpty(i.SecurityOptions), DefaultAddressPools: addressPools(i.DefaultAddressPools),
		CDISpecDirs: wire.OrEmpty(i.CDISpecDirs), Warnings: wire.OrEmpty(i.Warnings),
	}
	if i.StorageStatus != "" {
		out.DriverStatus = append(out.DriverStatus, [2]string{"Status", i.StorageStatus})
	}
	if i.FirewallBackend != "" {
		out.FirewallBackend = &system.FirewallInfo{Driver: i.FirewallBackend}
	}
	return c.reply(http.StatusOK, out)
}

func registryConfig(insecure []string) *registry.ServiceConfig {
	cfg := &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{},
		IndexConfigs:          map[string]*registry.IndexInfo{"docker.io": {Name: "docker.io", Mirrors: []string{}, Secure: true, Official: true}},
		Mirrors:               []string{},
	}
	for _, name := range insecure {
		if p, err := netip.ParsePrefix(name); err == nil {
			cfg.InsecureRegistryCIDRs = append(cfg.InsecureRegistryCIDRs, p)
			continue
		}
		cfg.IndexConfigs[name] = &registry.IndexInfo{Name: name, Mirrors: []string{}}
	}
	return cfg
}

// addressPools turns prefixes, one network each, into Docker's pools.
func addressPools(prefixes []string) (out []system.NetworkAddressPool) {
	for _, s := range prefixes {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, system.NetworkAddressPool{Base: p, Size: p.Bits()})
		}
	}
	return out
}

// legacyEvent has the fields that events carried beside their actor before
// API 1.52.
type legacyEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

func getEvents(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	q := davit.Events{Filters: filters}
	if q.Since, err = c.moment("since"); err != nil {
		return err
	}
	if q.Until, err = c.moment("until"); err != nil {
		return err
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && q.Until.Before(q.Since) {
		return invalid("until cannot be before since")
	}
	mediaType, prefix := eventFormat(c)
	out := c.chunked()
	wait := c.awaitJob(q)
	// The client waits for the header before it does what it wants to hear of.
	q.Ready = func() {
		wait()
		out.begin(mediaType)
	}
	q.Emit = func(e davit.Event) error {
		b, err := json.Marshal(eventMessage(e, c.version))
		if err != nil {
			return err
		}
		_, err = out.Write(append(append([]byte(prefix), b...), '\n'))
		return err
	}
	ctx, cancel := c.server.calls.follow(c.r.Context())
	defer cancel()
	_, err = follow(ctx, c, q)
	return err
}

// eventFormat negotiates the framing of events (API 1.52).
func eventFormat(c *call) (mediaType, prefix string) {
	accept := strings.Join(c.r.Header.Values("Accept"), ",")
	switch {
	case c.version < 52:
		return types.MediaTypeJSON, ""
	case c.version >= 53 && strings.Contains(accept, types.MediaTypeJSONLines):
		return types.MediaTypeJSONLines, ""
	case strings.Contains(accept, types.MediaTypeNDJSON):
		return types.MediaTypeNDJSON, ""
	case strings.Contains(accept, types.MediaTypeJSONSequence):
		return types.MediaTypeJSONSequence, "\x1e" // RFC 7464, 2.2
	}
	return types.MediaTypeJSON, ""
}

func eventMessage(e davit.Event, v version) any {
	m := events.Message{
		Type: events.Type(e.Type), Action: events.Action(e.Action), Scope: "local",
		Actor: events.Actor{ID: e.ActorID, Attributes: wire.OrEmptyMap(e.Attributes)},
		Time:  e.Time.Unix(), TimeNano: e.Time.UnixNano(),
	}
	if v >= 52 {
		return m
	}
	old := legacyEvent{Message: m}
	switch m.Type {
	case events.ContainerEventType:
		old.Status, old.ID, old.From = e.Action, e.ActorID, e.Attributes["image"]
	case events.ImageEventType:
		old.Status, old.ID = e.Action, e.ActorID
	}
	return old
}
