// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/volumes"
)

// makeVolumes makes the volumes that do not exist yet, and gives new ones the
// image's content.
func (s *Service) makeVolumes(ctx context.Context, j *engine.Job, c *container) error {
	var fill []davit.Mount
	for i := range c.rec.Mounts {
		m := &c.rec.Mounts[i]
		if m.Type != "volume" {
			continue
		}
		v := davit.Volume{Name: m.Name, Driver: "local", Created: time.Now().UTC()}
		if v.Name == "" {
			v.Name, v.Anonymous = volumes.NewName(), true
		}
		s.keeper.Claim(v.Name, c.id)
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
			m.Name, m.Source = made.Name, made.Mountpoint
			return err
		}, undo)
		if err != nil {
			return err
		}
		if fresh {
			s.events.Emit(volumes.Created(v.Name))
		}
		if fresh && m.CopyUp {
			fill = append(fill, *m)
		}
	}
	if len(fill) == 0 {
		return nil
	}
	return j.Step(ctx, "fill volumes", func(context.Context) error { return s.fillVolumes(c.id, fill) }, nil)
}

func (s *Service) fillVolumes(id string, fill []davit.Mount) error {
	dir, release, err := s.Rootfs.Mount(id)
	if err != nil {
		return err
	}
	for _, m := range fill {
		if cerr := s.Files.CopyUp(dir, m.Target, m.Source); cerr != nil {
			return joinRelease(cerr, release)
		}
	}
	return release()
}

func joinRelease(err error, release func() error) error { return errors.Join(err, release()) }
