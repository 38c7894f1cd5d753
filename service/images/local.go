// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/filter"
	"github.com/opencontainers/go-digest"
)

// filters are those of GET /images/json. What a value of them stands for is
// looked up before any image is compared with it.
func (s *Service) filters(given map[string][]string) (filter.Table[*davit.Image], error) {
	times := map[string]time.Time{}
	older := func(i *davit.Image, v string) bool { return i.Created.Before(times[v]) }
	table := filter.Table[*davit.Image]{
		"dangling": func(i *davit.Image, v string) bool { return (len(i.Tags) == 0) == filter.True(v) },
		"label":    func(i *davit.Image, v string) bool { return filter.Label(i.Config.Labels, v) },
		"reference": func(i *davit.Image, v string) bool {
			return slices.ContainsFunc(slices.Concat(i.Tags, i.Digests), func(name string) bool { return matchReference(v, name) })
		},
		"before": older, "until": older,
		"since": func(i *davit.Image, v string) bool { return i.Created.After(times[v]) },
	}
	if err := table.Check(given); err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(given["before"], given["since"]) {
		img, err := s.Store.Get(name)
		if err != nil {
			return nil, err
		}
		times[name] = img.Created
	}
	for _, v := range given["until"] {
		t, err := filter.Moment(v, time.Now())
		if err != nil {
			return nil, err
		}
		times[v] = t
	}
	return table, nil
}

// matchReference matches a pattern with a familiar name, with or without its
// tag or digest.
func matchReference(pattern, name string) bool {
	repo, _, _ := strings.Cut(name, "@")
	if at := strings.LastIndex(repo, ":"); at > strings.LastIndex(repo, "/") {
		repo = repo[:at]
	}
	for _, candidate := range []string{name, repo} {
		if ok, err := path.Match(pattern, candidate); err == nil && ok {
			return true
		}
	}
	return false
}

func (s *Service) list(_ context.Context, _ *engine.Job, q davit.Images) ([]davit.ImageSummary, error) {
	table, err := s.filters(q.Filters)
	if err != nil {
		return nil, err
	}
	images, err := s.Store.List()
	if err != nil {
		return nil, err
	}
	used := map[digest.Digest]int{}
	for _, c := range s.Containers() {
		used[c.ImageID]++
	}
	out := []davit.ImageSummary{}
	for _, i := range images {
		if !table.Match(&i, q.Filters) {
			continue
		}
		out = append(out, davit.ImageSummary{
			ID: i.ID, Parent: i.Parent, Tags: i.Tags, Digests: i.Digests, Created: i.Created, Size: i.Size,
			Labels: i.Config.Labels, Containers: used[i.ID],
		})
	}
	slices.SortFunc(out, func(a, b davit.ImageSummary) int { return b.Created.Compare(a.Created) })
	return out, nil
}

func (s *Service) inspect(_ context.Context, _ *engine.Job, q davit.ImageInspect) (davit.Image, error) {
	return s.Store.Get(q.Image)
}

func (s *Service) history(_ context.Context, _ *engine.Job, q davit.History) ([]davit.HistoryEntry, error) {
	img, err := s.Store.Get(q.Image)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(img.History)
	slices.Reverse(out)
	return out, nil
}

func (s *Service) importImage(ctx context.Context, j *engine.Job, q davit.Import) (davit.Image, error) {
	img, err := s.Store.Import(withReports(ctx, j), q)
	if err == nil {
		if q.Reference != "" {
			s.emit("tag", &img, img.ID.String(), familiar(q.Reference))
		}
		s.emit("import", &img, img.ID.String(), img.ID.String())
	}
	return img, err
}

func (s *Service) load(ctx context.Context, j *engine.Job, q davit.Load) ([]davit.Image, error) {
	images, err := s.Store.Load(withReports(ctx, j), q)
	for _, i := range images {
		s.emit("load", &i, i.ID.String(), i.ID.String())
	}
	return images, err
}

func (s *Service) tag(_ context.Context, _ *engine.Job, q davit.Tag) (davit.Nothing, error) {
	if err := s.Store.Tag(q.Image, q.Reference); err != nil {
		return davit.Nothing{}, err
	}
	img, err := s.Store.Get(q.Image)
	if err == nil {
		s.emit("tag", &img, img.ID.String(), familiar(q.Reference))
	}
	return davit.Nothing{}, err
}

func (s *Service) remove(_ context.Context, _ *engine.Job, q davit.ImageDelete) ([]davit.ImageDeletion, error) {
	if err := s.checkRunning(q.Image); err != nil {
		return nil, err
	}
	img, _ := s.Store.Get(q.Image) // the removal says that there is none
	done, err := s.Store.Remove(q.Image, q.Force, s.imageUser)
	s.told(&img, done)
	return done, err
}

// told publishes what a removal of an image did.
func (s *Service) told(img *davit.Image, done []davit.ImageDeletion) {
	for _, d := range done {
		if d.Untagged != "" {
			s.emit("untag", img, img.ID.String(), d.Untagged)
		}
		if d.Deleted == img.ID.String() { // the other ones are its layers
			s.emit("delete", img, d.Deleted, d.Deleted)
		}
	}
}

// checkRunning refuses to remove the last name of an image, or the image by
// its id, while a container of it runs: force does not help against that.
func (s *Service) checkRunning(ref string) error {
	img, err := s.Store.Get(ref)
	if err != nil {
		return err
	}
	named := slices.Contains(img.Tags, ref) || slices.Contains(img.Tags, ref+":latest")
	if named && len(img.Tags) > 1 {
		return nil
	}
	for _, c := range s.Containers() {
		if uses(&c, img.ID) && c.State.Running() {
			return davit.Errorf(davit.ImageInUse, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s",
				davit.ShortID(img.ID.String()), davit.ShortID(c.ID))
		}
	}
	return nil
}

// uses tells whether a container was made from an image, or mounts it.
func uses(c *davit.Container, id digest.Digest) bool {
	return c.ImageID == id || slices.ContainsFunc(c.Mounts, func(m davit.Mount) bool { return m.Type == "image" && m.Source == id.String() })
}

// imageUser returns the id of a container that was made from the image, or mounts it.
func (s *Service) imageUser(id digest.Digest) string {
	for _, c := range s.Containers() {
		if uses(&c, id) {
			return c.ID
		}
	}
	return ""
}
