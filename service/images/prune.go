// SPDX-License-Identifier: Apache-2.0

package images

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/filter"
)

// pruneFilters are those of POST /images/prune. What until says was checked
// before.
func pruneFilters(now time.Time) filter.Table[*davit.Image] {
	return filter.Table[*davit.Image]{
		"dangling": func(i *davit.Image, v string) bool { return !filter.True(v) || len(i.Tags) == 0 },
		"until": func(i *davit.Image, v string) bool {
			t, err := filter.Moment(v, now)
			return err == nil && i.Created.Before(t)
		},
		"label":  func(i *davit.Image, v string) bool { return filter.Label(i.Config.Labels, v) },
		"label!": func(i *davit.Image, v string) bool { return !filter.Label(i.Config.Labels, v) },
	}
}

// Prune removes the images that no container was made from: those without a
// tag or, with the filter dangling=false, all; of them those that all filters
// mean. When it fails, or ctx ends, it tells what it had done.
func (s *Service) Prune(ctx context.Context, filters map[string][]string) (davit.Pruned, error) {
	var done davit.Pruned
	now := time.Now()
	table := pruneFilters(now)
	if err := table.Check(filters); err != nil {
		return done, err
	}
	if len(filters["until"]) > 1 {
		return done, invalid("invalid filter 'until': more than one is given")
	}
	for _, v := range filters["until"] {
		if _, err := filter.Moment(v, now); err != nil {
			return done, err
		}
	}
	images, err := s.Store.List()
	if err != nil {
		return done, err
	}
	before, err := s.Store.Size()
	if err != nil {
		return done, err
	}
	dangling := filters["dangling"] == nil
	for _, i := range images {
		if (dangling && len(i.Tags) > 0) || !table.Match(&i, filters) || s.imageUser(i.ID) != "" {
			continue
		}
		if err = ctx.Err(); err != nil {
			break
		}
		if now, gerr := s.Store.Get(i.ID.String()); dangling && gerr == nil && len(now.Tags) > 0 {
			continue // it was given a name while others were removed, which may take long
		}
		gone, rerr := s.removeUnused(&i)
		done.Images = append(done.Images, gone...)
		err = errors.Join(err, rerr)
	}
	after, serr := s.Store.Size()
	done.Reclaimed = max(0, before-after)
	s.Emit(davit.Event{Type: "image", Action: "prune", Attributes: map[string]string{"reclaimed": strconv.FormatInt(done.Reclaimed, 10)}})
	return done, cmp.Or(err, serr)
}

// removeUnused removes an image with all its names. It stops at a container
// that was made of it meanwhile.
func (s *Service) removeUnused(i *davit.Image) (done []davit.ImageDeletion, err error) {
	for _, name := range slices.Concat(i.Tags, i.Digests, []string{i.ID.String()}) {
		gone, err := s.Store.Remove(name, false, s.imageUser)
		if code := davit.CodeOf(err); err != nil && (code == davit.NoSuchImage || code == davit.ImageInUse) {
			continue // the name went with another, or the image is in use now
		}
		s.told(i, gone)
		done = append(done, gone...)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
