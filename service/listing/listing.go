// SPDX-License-Identifier: Apache-2.0

// Package listing answers which containers there are, and what is known of them.
package listing

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/opencontainers/go-digest"
)

// Host is what is needed of the rest of the engine.
type Host interface {
	Find(ref string) (davit.Container, error)
	// Records returns the records of all containers, in no order.
	Records() []davit.Container
	// FilesDir is where a container's hostname, hosts and resolv.conf are, LogPath
	// where its log is.
	FilesDir(rec *davit.Container) string
	LogPath(rec *davit.Container) string
	// Networks returns those there are.
	Networks() []davit.Network
	// Sessions lists the exec sessions of a container that have not ended.
	Sessions(id string) []string
}

// Images is what is needed of the image store.
type Images interface {
	Get(ref string) (davit.Image, error)
	List() ([]davit.Image, error)
}

// Rootfs is what is needed of the writable layers.
type Rootfs interface {
	Rootfs(containerID string) (davit.Rootfs, error)
	Usage(containerID string) (int64, error)
}

// Options configure the handlers.
type Options struct {
	Host   Host
	Images Images
	Rootfs Rootfs
	// Owner finds the container that a process of the host is in; nil when
	// nothing can.
	Owner func(pid int) (string, error)
}

// Lister has the handlers. Who registers them says what their callers need.
type Lister struct{ Options }

// New returns the handlers.
func New(o Options) *Lister { return &Lister{o} }

// List gives the containers that match, newest first.
func (s *Lister) List(_ context.Context, _ *engine.Job, q davit.Containers) ([]davit.ContainerInfo, error) {
	match, err := s.matcher(q.Filters)
	if err != nil {
		return nil, err
	}
	all := q.All || q.Limit > 0 || len(q.Filters["status"]) > 0
	var recs []davit.Container
	for _, rec := range s.Host.Records() {
		if (all || rec.State.Running()) && match(&rec) {
			recs = append(recs, rec)
		}
	}
	slices.SortFunc(recs, func(a, b davit.Container) int { return b.Created.Compare(a.Created) })
	if q.Limit > 0 && len(recs) > q.Limit {
		recs = recs[:q.Limit]
	}
	images, err := s.imagesByID(recs)
	if err != nil {
		return nil, err
	}
	networks := s.Host.Networks()
	out := make([]davit.ContainerInfo, 0, len(recs))
	for _, rec := range recs {
		info := davit.ContainerInfo{Container: rec, Image: images[rec.ImageID], SizeRw: -1, SizeRootFs: -1, NetworkID: networkOf(&rec, networks)}
		if q.Size {
			err := s.measure(&info)
			if err != nil && s.gone(rec.ID) {
				continue
			}
			if err != nil {
				return nil, err
			}
		}
		out = append(out, info)
	}
	return out, nil
}

// imagesByID returns the images that the containers were made from, as far as
// they are still there.
func (s *Lister) imagesByID(recs []davit.Container) (map[digest.Digest]*davit.Image, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	images, err := s.Images.List()
	if err != nil {
		return nil, err
	}
	out := make(map[digest.Digest]*davit.Image, len(images))
	for i := range images {
		out[images[i].ID] = &images[i]
	}
	return out, nil
}

// Inspect gives all that is known of a container.
func (s *Lister) Inspect(_ context.Context, _ *engine.Job, q davit.ContainerInspect) (davit.ContainerInfo, error) {
	rec, err := s.Host.Find(q.Container)
	if err != nil {
		return davit.ContainerInfo{}, err
	}
	info := davit.ContainerInfo{
		Container: rec, LogPath: s.Host.LogPath(&rec), FilesDir: s.Host.FilesDir(&rec), ExecIDs: s.Host.Sessions(rec.ID), SizeRw: -1, SizeRootFs: -1,
		NetworkID: networkOf(&rec, s.Host.Networks()),
	}
	if img, err := s.Images.Get(rec.ImageID.String()); err == nil {
		info.Image = &img
	}
	if root, err := s.Rootfs.Rootfs(rec.ID); err == nil {
		info.UpperDir, info.LowerDirs, info.WorkDir = root.Upper, root.Lower, root.Work
	}
	if q.Size {
		err := s.measure(&info)
		if err != nil && s.gone(rec.ID) {
			err = davit.Errorf(davit.NoSuchContainer, "No such container: %s", q.Container)
		}
		return info, err
	}
	return info, nil
}

// networkOf returns the id of the network that a container is on, or was on when it
// ran last.
func networkOf(rec *davit.Container, networks []davit.Network) string {
	i := slices.IndexFunc(networks, func(n davit.Network) bool { return n.Name == rec.HostConfig.NetworkMode })
	if i < 0 || rec.State.StartedAt.IsZero() {
		return ""
	}
	return networks[i].ID
}

// gone tells whether a container has been removed, or is about to: its files go
// before it does.
func (s *Lister) gone(id string) bool {
	rec, err := s.Host.Find(id)
	return davit.CodeOf(err) == davit.NoSuchContainer || err == nil && rec.State.Status == davit.StatusRemoving
}

// measure fills in the sizes of a container's writable layer and root.
func (s *Lister) measure(info *davit.ContainerInfo) error {
	n, err := s.Rootfs.Usage(info.ID)
	if err != nil {
		return err
	}
	info.SizeRw, info.SizeRootFs = n, n
	if img, err := s.Images.Get(info.ImageID.String()); err == nil {
		info.SizeRootFs += img.Size
	}
	return nil
}

// ByPID finds the container that a process of the host is in.
func (s *Lister) ByPID(ctx context.Context, j *engine.Job, q davit.ContainerByPID) (davit.ContainerInfo, error) {
	if s.Owner == nil {
		return davit.ContainerInfo{}, davit.Errorf(davit.NotSupported, "this runtime cannot tell whose a process is")
	}
	if q.PID < 1 {
		return davit.ContainerInfo{}, davit.Errorf(davit.InvalidConfiguration, "invalid process id %d: it must be positive", q.PID)
	}
	id, err := s.Owner(q.PID)
	if errors.Is(err, os.ErrNotExist) {
		return davit.ContainerInfo{}, davit.Errorf(davit.NoSuchContainer, "no container has process %d", q.PID)
	}
	if err != nil {
		return davit.ContainerInfo{}, err
	}
	return s.Inspect(ctx, j, davit.ContainerInspect{Container: id})
}
