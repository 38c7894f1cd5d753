// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/opencontainers/go-digest"
)

// imageFilters are the filters of GET /images/json that this engine knows.
var imageFilters = map[string]func(*davit.Image, string) bool{
	"dangling": func(i *davit.Image, v string) bool { return (len(i.Tags) == 0) == (v == "true" || v == "1") },
	"label":    func(i *davit.Image, v string) bool { return matchLabel(i.Config.Labels, v) },
	"reference": func(i *davit.Image, v string) bool {
		return slices.ContainsFunc(slices.Concat(i.Tags, i.Digests), func(name string) bool { return matchReference(v, name) })
	},
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
	for key := range q.Filters {
		if imageFilters[key] == nil {
			return nil, invalid("invalid filter '%s'", key)
		}
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
		if !matchImage(&i, q.Filters) {
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

func matchImage(i *davit.Image, filters map[string][]string) bool {
	for key, values := range filters {
		if !slices.ContainsFunc(values, func(v string) bool { return imageFilters[key](i, v) }) {
			return false
		}
	}
	return true
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
		s.emit("import", img.ID.String(), q.Reference)
	}
	return img, err
}

func (s *Service) load(ctx context.Context, j *engine.Job, q davit.Load) ([]davit.Image, error) {
	images, err := s.Store.Load(withReports(ctx, j), q)
	for _, i := range images {
		s.emit("load", i.ID.String(), i.ID.String())
	}
	return images, err
}

func (s *Service) tag(_ context.Context, _ *engine.Job, q davit.Tag) (davit.Nothing, error) {
	if err := s.Store.Tag(q.Image, q.Reference); err != nil {
		return davit.Nothing{}, err
	}
	img, err := s.Store.Get(q.Image)
	s.emit("tag", img.ID.String(), q.Reference)
	return davit.Nothing{}, err
}

func (s *Service) remove(_ context.Context, _ *engine.Job, q davit.ImageDelete) ([]davit.ImageDeletion, error) {
	if err := s.checkRunning(q.Image); err != nil {
		return nil, err
	}
	done, err := s.Store.Remove(q.Image, q.Force, s.imageUser)
	for _, d := range done {
		if d.Untagged != "" {
			s.emit("untag", d.Untagged, d.Untagged)
		}
		if d.Deleted != "" {
			s.emit("delete", d.Deleted, d.Deleted)
		}
	}
	return done, err
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
		if c.ImageID == img.ID && c.State.Running() {
			return davit.Errorf(davit.ImageInUse, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s",
				davit.ShortID(img.ID.String()), davit.ShortID(c.ID))
		}
	}
	return nil
}

// imageUser returns the id of a container that was made from the image.
func (s *Service) imageUser(id digest.Digest) string {
	for _, c := range s.Containers() {
		if c.ImageID == id {
			return c.ID
		}
	}
	return ""
}
