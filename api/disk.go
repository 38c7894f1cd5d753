// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/wire"
	"github.com/davit-engine/davit/engine"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// diskUsage is the reply of GET /system/df: the first part until API 1.52, the
// second from then on.
type diskUsage struct {
	LayersSize int64                `json:",omitempty"`
	Images     []image.Summary      `json:",omitzero"`
	Containers []container.Summary  `json:",omitzero"`
	Volumes    []volume.Volume      `json:",omitzero"`
	BuildCache *[]build.CacheRecord `json:",omitempty"`
	system.DiskUsage
}

// Classes of things on the disk, as the parameter type names them.
var diskClasses = []string{"container", "image", "volume", "build-cache"}

func getDiskUsage(c *call) error {
	wanted := c.form["type"]
	for _, w := range wanted {
		if !slices.Contains(diskClasses, w) {
			return invalid("unknown object type: %s", w)
		}
	}
	u, err := query(c, davit.DiskUsage{})
	if err != nil {
		return err
	}
	wants := func(class string) bool { return len(wanted) == 0 || slices.Contains(wanted, class) }
	verbose := c.flag("verbose")
	old, now := c.version < 52 || c.version == 52 && !verbose, c.version >= 52
	var out diskUsage
	if wants("image") {
		du, items := imagesUsage(&u)
		if old {
			out.LayersSize, out.Images = u.LayersSize, items
		}
		if now {
			out.ImageUsage = du
		}
		if verbose {
			du.Items = items
		}
	}
	if wants("container") {
		du, items := containersUsage(&u)
		if old {
			out.Containers = items
		}
		if now {
			out.ContainerUsage = du
		}
		if verbose {
			du.Items = items
		}
	}
	if wants("volume") {
		du, items := volumesUsage(&u)
		if old {
			out.Volumes = items
		}
		if now {
			out.VolumeUsage = du
		}
		if verbose {
			du.Items = items
		}
	}
	if wants("build-cache") { // there is none: Davit does not build
		if old {
			out.BuildCache = &[]build.CacheRecord{}
		}
		if now {
			out.BuildCacheUsage = &build.DiskUsage{}
		}
	}
	return c.reply(http.StatusOK, out)
}

func imagesUsage(u *davit.DiskUsageInfo) (*image.DiskUsage, []image.Summary) {
	du, items := &image.DiskUsage{TotalSize: u.LayersSize, TotalCount: int64(len(u.Images))}, []image.Summary{}
	var used int64 // by containers, as far as no other image has it too
	for _, i := range u.Images {
		s := imageWire(i)
		s.SharedSize = i.SharedSize
		items = append(items, s)
		if i.Containers > 0 {
			du.ActiveCount++
			used += i.Size - max(0, i.SharedSize)
		}
	}
	du.Reclaimable = max(0, du.TotalSize-used)
	return du, items
}

func containersUsage(u *davit.DiskUsageInfo) (*container.DiskUsage, []container.Summary) {
	du, items, now := &container.DiskUsage{TotalCount: int64(len(u.Containers))}, []container.Summary{}, time.Now()
	for i := range u.Containers {
		info := &u.Containers[i]
		items = append(items, wire.Summary(info, now))
		du.TotalSize += info.SizeRw
		if info.State.Running() {
			du.ActiveCount++
		} else {
			du.Reclaimable += info.SizeRw
		}
	}
	return du, items
}

func volumesUsage(u *davit.DiskUsageInfo) (*volume.DiskUsage, []volume.Volume) {
	du, items := &volume.DiskUsage{TotalCount: int64(len(u.Volumes))}, []volume.Volume{}
	for _, v := range u.Volumes {
		w := volumeWire(v.Volume)
		w.UsageData = &volume.UsageData{Size: v.Size, RefCount: int64(v.RefCount)}
		items = append(items, w)
		du.TotalSize += max(0, v.Size)
		if v.RefCount > 0 {
			du.ActiveCount++
		} else {
			du.Reclaimable += max(0, v.Size)
		}
	}
	return du, items
}

// prune removes what nothing uses.
func (c *call) prune(class string) (davit.Pruned, error) {
	filters, err := c.filters()
	if err != nil {
		return davit.Pruned{}, err
	}
	if class == "volume" && c.version < 42 && filters["all"] == nil { // named ones went too, then
		if filters == nil {
			filters = map[string][]string{}
		}
		filters["all"] = []string{"true"}
	}
	return run(c, davit.Prune{Class: class, Filters: filters})
}

func pruneContainers(c *call) error {
	done, err := c.prune("container")
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, container.PruneReport{ContainersDeleted: done.Containers, SpaceReclaimed: uint64(max(0, done.Reclaimed))})
}

func pruneVolumes(c *call) error {
	done, err := c.prune("volume")
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, volume.PruneReport{VolumesDeleted: done.Volumes, SpaceReclaimed: uint64(max(0, done.Reclaimed))})
}

func pruneNetworks(c *call) error {
	done, err := c.prune("network")
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, network.PruneReport{NetworksDeleted: done.Networks})
}

// pruneBuildCache answers truly: there is none. docker system prune asks it
// after all others.
func pruneBuildCache(c *call) error {
	if err := c.server.eng.Authorize(c.r.Context(), engine.Access{Action: davit.ActionPrune}); err != nil {
		return err
	}
	return c.reply(http.StatusOK, build.CachePruneReport{CachesDeleted: []string{}})
}
