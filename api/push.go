// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
)

// pushImage pushes a tag of a repository or, when none is given, all.
func pushImage(c *call) error {
	auth, err := c.auth()
	if err != nil {
		return err
	}
	p, err := c.platformObject()
	if err != nil {
		return err
	}
	named, err := reference.ParseNormalizedNamed(joinReference(c.name, c.form.Get("tag")))
	if err != nil {
		return invalid("invalid reference %q: %w", joinReference(c.name, c.form.Get("tag")), err)
	}
	tags := []string{reference.FamiliarString(named)}
	if reference.IsNameOnly(named) {
		if tags, err = tagsOf(c, named); err != nil {
			return err
		}
	}
	m := c.messages()
	begun := false
	begin := func() error {
		if begun {
			return nil
		}
		begun = true
		return m.status("The push refers to repository ["+named.Name()+"]", "")
	}
	for _, tag := range tags {
		if err := pushTag(m, davit.Push{Reference: tag, Platform: p, Auth: auth}, begin); err != nil {
			return m.fail(err)
		}
	}
	return nil
}

// tagsOf returns all tags of a repository that are here.
func tagsOf(c *call, named reference.Named) ([]string, error) {
	name := reference.FamiliarName(named)
	list, err := query(c, davit.Images{Filters: map[string][]string{"reference": {name}}})
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, i := range list {
		for _, t := range i.Tags {
			if repo, _, _ := strings.Cut(strings.TrimPrefix(t, name), ":"); repo == "" {
				tags = append(tags, t)
			}
		}
	}
	if len(tags) == 0 {
		return nil, davit.Errorf(davit.NoSuchImage, "an image does not exist locally with the name: %s", name)
	}
	return tags, nil
}

// pushTag pushes one tag, and tells what it means in the registry now: in words
// and, for programs, as the message aux.
func pushTag(m *messages, q davit.Push, begin func() error) error {
	d, err := watched(m, q, begin)
	if err != nil {
		return err
	}
	if err := begin(); err != nil {
		return nil //nolint:nilerr // the client has gone; the push is done
	}
	named, err := reference.ParseNormalizedNamed(q.Reference)
	if err != nil {
		return err
	}
	tag := tagOf(named)
	_ = m.pushed(tag, d) // to a client that may have gone
	return nil
}

func (m *messages) pushed(tag string, d davit.Descriptor) error {
	size := uint64(max(0, d.Size))
	if err := m.status(tag+": digest: "+d.Digest.String()+" size: "+strconv.FormatUint(size, 10), ""); err != nil {
		return err
	}
	type result struct {
		Tag, Digest string
		Size        uint64
	}
	return m.send(struct {
		Progress struct{} `json:"progressDetail"`
		Aux      result   `json:"aux"`
	}{Aux: result{tag, d.Digest.String(), size}})
}

func checkAuth(c *call) error {
	var a davit.RegistryAuth
	if err := c.body(&a, "email"); err != nil {
		return err
	}
	r, err := run(c, davit.Auth{Auth: a})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, registry.AuthResponse{Status: r.Status, IdentityToken: r.IdentityToken})
}

func searchImages(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	limit, err := c.number("limit", 0)
	if err != nil {
		return err
	}
	auth, err := c.auth()
	if err != nil {
		return err
	}
	list, err := run(c, davit.Search{Term: c.form.Get("term"), Limit: limit, Filters: filters, Auth: auth})
	if err != nil {
		return err
	}
	type result struct {
		Stars       int    `json:"star_count"`
		Official    bool   `json:"is_official"`
		Name        string `json:"name"`
		Automated   bool   `json:"is_automated"`
		Description string `json:"description"`
	}
	out := []result{}
	for _, r := range list {
		out = append(out, result{r.Stars, r.Official, r.Name, r.Automated, r.Description})
	}
	return c.reply(http.StatusOK, out)
}
