// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/filter"
	"github.com/distribution/reference"
)

func (s *Service) push(ctx context.Context, j *engine.Job, q davit.Push) (_ davit.Descriptor, err error) {
	named, err := reference.ParseNormalizedNamed(q.Reference)
	if err != nil {
		return davit.Descriptor{}, davit.Errorf(davit.InvalidName, "invalid reference %q: %w", q.Reference, err)
	}
	name := reference.FamiliarString(reference.TagNameOnly(named))
	o, err := s.Store.Original(ctx, name)
	if err != nil && davit.CodeOf(err) != davit.NoSuchImage {
		return davit.Descriptor{}, err
	}
	if err != nil || !slices.Contains(o.Image.Tags, name) { // the beginning of an id is no name
		if err == nil {
			err = o.Release()
		}
		return davit.Descriptor{}, davit.Errorf(davit.NoSuchImage, "an image does not exist locally with the tag: %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, o.Release()) }()
	if err := checkPlatform(&o.Image, q.Platform, name); err != nil {
		return davit.Descriptor{}, err
	}
	pushed, err := s.Registry.Push(withReports(ctx, j), q, o.Manifest, o.Blobs)
	if err != nil {
		return pushed, err
	}
	s.emit("push", &o.Image, name, name)
	err = s.Store.AddDigest(o.Image.ID, name, pushed)
	if davit.CodeOf(err) == davit.NoSuchImage {
		err = nil // it was removed meanwhile
	}
	return pushed, err
}

func checkPlatform(img *davit.Image, want davit.Platform, name string) error {
	differs := func(got, want string) bool { return want != "" && got != want }
	if differs(img.OS, want.OS) || differs(img.Architecture, want.Architecture) || differs(img.Variant, want.Variant) {
		return davit.Errorf(davit.NoSuchImage, "image %s is here, but not for the platform %s/%s", name, want.OS, want.Architecture)
	}
	return nil
}

func (s *Service) auth(ctx context.Context, _ *engine.Job, q davit.Auth) (davit.AuthResult, error) {
	return s.Registry.Auth(ctx, q.Auth)
}

// Bounds on the results of a search: Docker's.
const (
	defaultSearch = 25
	maxSearch     = 100
)

// searchFilters are those of GET /images/search.
func searchFilters() filter.Table[davit.SearchResult] {
	return filter.Table[davit.SearchResult]{
		"is-official":  func(r davit.SearchResult, v string) bool { return r.Official == filter.True(v) },
		"is-automated": func(r davit.SearchResult, v string) bool { return r.Automated == filter.True(v) },
		"stars": func(r davit.SearchResult, v string) bool {
			n, err := strconv.Atoi(v)
			return err == nil && r.Stars >= n
		},
	}
}

func (s *Service) search(ctx context.Context, _ *engine.Job, q davit.Search) ([]davit.SearchResult, error) {
	table := searchFilters()
	if err := table.Check(q.Filters); err != nil {
		return nil, err
	}
	for _, v := range q.Filters["stars"] {
		if n, err := strconv.Atoi(v); err != nil || n < 0 {
			return nil, invalid("invalid filter 'stars=%s': not a number of stars", v)
		}
	}
	if q.Term == "" {
		return nil, invalid("cannot search registries: no term is given")
	}
	if q.Limit == 0 {
		q.Limit = defaultSearch
	}
	if q.Limit < 0 || q.Limit > maxSearch {
		return nil, invalid("invalid limit %d: give one from 1 to %d", q.Limit, maxSearch)
	}
	found, err := s.Registry.Search(ctx, q)
	if err != nil {
		return nil, err
	}
	out := []davit.SearchResult{}
	for _, r := range found {
		if table.Match(r, q.Filters) && len(out) < q.Limit {
			out = append(out, r)
		}
	}
	return out, nil
}
