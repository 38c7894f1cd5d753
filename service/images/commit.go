// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/request"
)

// places are where each container has something mounted that is no mount of
// its record.
func places(c *davit.Container) []string {
	out := []string{"/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/.dockerenv"}
	for _, m := range c.Mounts {
		out = append(out, m.Target)
	}
	return out
}

// Commit makes an image of a container. A container that runs is paused while
// its files are read, if that is asked for.
func (s *Service) Commit(ctx context.Context, j *engine.Job, q davit.ContainerCommit) (_ davit.Image, err error) {
	c, err := s.Find(q.Container)
	if err != nil {
		return davit.Image{}, err
	}
	if q.Pause && c.State.Status == davit.StatusRunning {
		thaw, err := s.pause(ctx, c.ID)
		if err != nil {
			return davit.Image{}, err
		}
		defer func() { err = errors.Join(err, thaw()) }()
	}
	config := c.Config
	if q.Config != nil {
		config = request.Merge(*q.Config, config)
	}
	img, err := s.Store.Commit(withReports(ctx, j), davit.Snapshot{
		Container: c.ID, Parent: c.ImageID, Leave: places(&c), Config: config, Changes: q.Changes,
		CreatedBy: strings.Join(slices.Concat([]string{c.Path}, c.Args), " "),
		Reference: q.Reference, Author: q.Author, Message: q.Message,
	})
	if err != nil {
		return davit.Image{}, err
	}
	name := ""
	if q.Reference != "" {
		name = familiar(q.Reference)
		s.emit("tag", &img, img.ID.String(), name)
	}
	s.Happened("commit", &c, map[string]string{"comment": q.Message, "imageID": img.ID.String(), "imageRef": name})
	return img, nil
}

// pause stops a container's processes; thaw lets them go on, unless the
// container has ended or somebody else was faster.
func (s *Service) pause(ctx context.Context, id string) (thaw func() error, err error) {
	_, err = engine.Do(ctx, s.Engine, davit.Pause{Container: id, Brief: true})
	switch davit.CodeOf(err) {
	case davit.ContainerNotRunning, davit.ContainerPaused: // nothing moves as it is
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := engine.Do(context.WithoutCancel(ctx), s.Engine, davit.Unpause{Container: id})
		switch davit.CodeOf(err) {
		case davit.ContainerNotRunning, davit.ContainerRunning, davit.NoSuchContainer:
			return nil
		}
		return err
	}, nil
}
