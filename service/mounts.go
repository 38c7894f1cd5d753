// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/request"
	"github.com/davit-engine/davit/service/volumes"
)

// lookup finds what mounts are made of.
func (s *Service) lookup() request.Lookup {
	return request.Lookup{Container: s.findRecord, Image: s.Images.Get, Missing: s.missing}
}

// mountedImages returns the images that are mounted.
func (s *Service) mountedImages(mounts []davit.Mount) (out []davit.Image, err error) {
	for _, m := range mounts {
		if m.Type != "image" {
			continue
		}
		img, err := s.Images.Get(m.Source)
		if err != nil {
			return nil, invalid("cannot mount image %s at %s: %w", m.Source, m.Target, err)
		}
		out = append(out, img)
	}
	return out, nil
}

// pinMounts gives the containers whose volumes are to be taken their ids.
func (s *Service) pinMounts(h davit.HostConfig) davit.HostConfig {
	h.VolumesFrom = slices.Clone(h.VolumesFrom)
	for i, spec := range h.VolumesFrom {
		ref, mode, err := request.SplitFrom(spec)
		if err != nil {
			continue // the job refuses it
		}
		if c, err := s.find(ref); err == nil {
			h.VolumesFrom[i] = c.id
			if mode != "" {
				h.VolumesFrom[i] += ":" + mode
			}
		}
	}
	return h
}

// makeVolumes makes the volumes that do not exist yet, and gives empty ones the
// image's content.
func (s *Service) makeVolumes(ctx context.Context, j *engine.Job, c *container) error {
	var fill []davit.Mount
	for i := range c.rec.Mounts {
		m := &c.rec.Mounts[i]
		if m.Type != "volume" {
			continue
		}
		if err := s.makeVolume(ctx, j, c.id, m); err != nil {
			return err
		}
		if !m.CopyUp || len(m.VolumeOptions) > 0 { // one with options is mounted, and filled, by the monitor
			continue
		}
		empty, err := s.Volumes.Empty(m.Name)
		if err != nil {
			return err
		}
		if empty {
			fill = append(fill, *m)
		}
	}
	if len(fill) == 0 {
		return nil
	}
	return j.Step(ctx, "fill volumes", func(context.Context) error { return s.fillVolumes(c.id, fill) }, nil)
}

// makeVolume makes the volume of a mount, unless there is one of the name.
func (s *Service) makeVolume(ctx context.Context, j *engine.Job, user string, m *davit.Mount) error {
	v := davit.Volume{Name: m.Name, Driver: m.Driver, Created: time.Now().UTC(), Labels: m.VolumeLabels, Options: m.VolumeOptions}
	if v.Name == "" {
		v.Name, v.Anonymous = volumes.NewName(), true
	}
	s.keeper.Claim(v.Name, user)
	_, err := s.Volumes.Get(v.Name)
	fresh := davit.CodeOf(err) == davit.NoSuchVolume
	if err != nil && !fresh {
		return err
	}
	var undo func(context.Context) error
	if fresh {
		undo = func(context.Context) error {
			err := s.Volumes.Remove(v.Name)
			if code := davit.CodeOf(err); err != nil && (code == davit.VolumeInUse || code == davit.NoSuchVolume) {
				return nil // somebody else has come to use it, or removed it
			}
			return err
		}
	}
	err = j.Step(ctx, "make volume "+v.Name, func(context.Context) error {
		made, err := s.Volumes.Create(v)
		m.Name, m.Source, m.VolumeOptions, m.VolumeLabels = made.Name, made.Mountpoint, made.Options, nil
		return err
	}, undo)
	if err == nil && fresh {
		s.events.Emit(volumes.Created(v.Name))
	}
	return err
}

func (s *Service) fillVolumes(id string, fill []davit.Mount) error {
	dir, release, err := s.Rootfs.Mount(id)
	if err != nil {
		return err
	}
	s.filling.Lock() // two containers may be made with one volume
	defer s.filling.Unlock()
	for _, m := range fill {
		if cerr := s.Files.CopyUp(dir, m.Target, m.Source); cerr != nil {
			return joinRelease(cerr, release)
		}
	}
	return release()
}

func joinRelease(err error, release func() error) error { return errors.Join(err, release()) }
