// SPDX-License-Identifier: Apache-2.0

package system

import (
	"context"
	"errors"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/opencontainers/go-digest"
)

// Pruner removes what nothing uses and the filters mean. When it fails, or ctx
// ends, it tells what it had done.
type Pruner func(ctx context.Context, filters map[string][]string) (davit.Pruned, error)

// prune has the owner of a class remove what nothing uses.
func (s *System) prune(ctx context.Context, _ *engine.Job, q davit.Prune) (davit.Pruned, error) {
	p := s.Pruners[q.Class]
	if p == nil {
		return davit.Pruned{}, davit.Errorf(davit.InvalidConfiguration, "cannot prune %q: the class is one of container, image, network, volume", q.Class)
	}
	return p(ctx, q.Filters)
}

// diskUsage says what is on the disk.
func (s *System) diskUsage(ctx context.Context, _ *engine.Job, _ davit.DiskUsage) (davit.DiskUsageInfo, error) {
	var u davit.DiskUsageInfo
	var errs [4]error
	u.LayersSize, errs[0] = s.Disk.Layers()
	u.Images, errs[1] = s.Disk.Images(ctx)
	u.Containers, errs[2] = s.Disk.Containers(ctx)
	u.Volumes, errs[3] = s.Disk.Volumes(ctx)
	return u, errors.Join(errs[:]...)
}

// cancel ends a job, for all who wait for it. What the daemon itself follows is
// nobody's to end: the bus would tell of no event any more.
func (s *System) cancel(_ context.Context, _ *engine.Job, q davit.JobCancel) (davit.Nothing, error) {
	if j, err := s.Engine.Job(q.ID); err == nil && j.Snapshot().Class == engine.Follow && j.Caller().Inside() {
		return davit.Nothing{}, engine.ErrNotCancellable
	}
	return davit.Nothing{}, s.Engine.Cancel(q.ID) //nolint:contextcheck // the job has a context of its own
}

// Shared tells of each image how many of its bytes other images have too: the
// layers that they begin with in common. History says how large each layer is.
func Shared(images []davit.Image) map[digest.Digest]int64 {
	users, sizes := map[string]int{}, map[string]int64{} // of a layer over those below it
	chains := map[digest.Digest][]string{}
	for _, img := range images {
		chain := ""
		steps := slices.DeleteFunc(slices.Clone(img.History), func(h davit.HistoryEntry) bool { return h.EmptyLayer })
		for i, layer := range img.Layers {
			chain += " " + layer.String()
			users[chain]++
			if i < len(steps) {
				sizes[chain] = steps[i].Size
			}
			chains[img.ID] = append(chains[img.ID], chain)
		}
	}
	out := map[digest.Digest]int64{}
	for id, own := range chains {
		for _, chain := range own {
			if users[chain] > 1 {
				out[id] += sizes[chain]
			}
		}
	}
	return out
}
