// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/body"
	"github.com/davit-engine/davit/api/wire"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
)

// imageSummary is a line of docker images, with what older versions said too.
type imageSummary struct {
	image.Summary
	VirtualSize int64 `json:",omitempty"` // before API 1.44
}

func listImages(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	list, err := query(c, davit.Images{All: c.flag("all"), Filters: filters})
	if err != nil {
		return err
	}
	out := []imageSummary{}
	for _, i := range list {
		s := imageSummary{Summary: imageWire(i)}
		if c.version < 44 {
			s.VirtualSize = i.Size
		}
		if c.version < 43 && len(i.Tags) == 0 && len(i.Digests) == 0 {
			s.RepoTags, s.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
		out = append(out, s)
	}
	return c.reply(http.StatusOK, out)
}

func imageWire(i davit.ImageSummary) image.Summary {
	return image.Summary{
		ID: i.ID.String(), ParentID: i.Parent.String(), RepoTags: wire.OrEmpty(i.Tags), RepoDigests: wire.OrEmpty(i.Digests),
		Created: i.Created.Unix(), Size: i.Size, SharedSize: -1, Labels: i.Labels, Containers: int64(i.Containers),
	}
}

// imageInspect is docker image inspect's reply, with what older versions said
// too.
type imageInspect struct {
	image.InspectResponse
	Parent      *string `json:",omitempty"` // before API 1.52
	VirtualSize int64   `json:",omitempty"` // before API 1.44
	// Before API 1.45: the container that the last layer was made in, which
	// nobody knows of an image that was pulled, and its configuration.
	// docker-compose 1.29 fails without it, and reads in it what volumes the image
	// has, to keep them: so it says what Config says.
	Container       *string           `json:",omitempty"`
	ContainerConfig *container.Config `json:",omitempty"`
	Config          any
}

// imageConfig is an image's own configuration, without what is only a
// container's.
type imageConfig struct {
	User         string                  `json:",omitempty"`
	ExposedPorts map[string]struct{}     `json:",omitempty"`
	Env          []string                `json:",omitempty"`
	Entrypoint   []string                `json:",omitempty"`
	Cmd          []string                `json:",omitempty"`
	Volumes      map[string]struct{}     `json:",omitempty"`
	WorkingDir   string                  `json:",omitempty"`
	Labels       map[string]string       `json:",omitempty"`
	StopSignal   string                  `json:",omitempty"`
	Healthcheck  *container.HealthConfig `json:",omitempty"`
	OnBuild      []string                `json:",omitempty"`
	Shell        []string                `json:",omitempty"`
}

func inspectImage(c *call) error {
	for _, name := range []string{"platform", "manifests"} {
		if c.form.Get(name) != "" && (name == "platform" || c.flag(name)) {
			return unsupported("inspecting an image with %s is not supported yet", name)
		}
	}
	i, err := query(c, davit.ImageInspect{Image: c.name})
	if err != nil {
		return err
	}
	out := imageInspect{InspectResponse: image.InspectResponse{
		ID: i.ID.String(), RepoTags: wire.OrEmpty(i.Tags), RepoDigests: wire.OrEmpty(i.Digests), Comment: i.Comment, Author: i.Author,
		Architecture: i.Architecture, Variant: i.Variant, Os: i.OS, Size: i.Size, RootFS: image.RootFS{Type: "layers"},
	}}
	if !i.Created.IsZero() {
		out.Created = i.Created.Format(time.RFC3339Nano)
	}
	for _, l := range i.Layers {
		out.RootFS.Layers = append(out.RootFS.Layers, l.String())
	}
	cfg := wire.Config(&i.Config)
	out.Config = imageConfig{
		User: cfg.User, ExposedPorts: i.Config.ExposedPorts, Env: cfg.Env, Entrypoint: cfg.Entrypoint, Cmd: cfg.Cmd,
		Volumes: cfg.Volumes, WorkingDir: cfg.WorkingDir, Labels: cfg.Labels, StopSignal: cfg.StopSignal,
		Healthcheck: cfg.Healthcheck, OnBuild: cfg.OnBuild, Shell: cfg.Shell,
	}
	if c.version < 52 {
		parent := i.Parent.String()
		out.Parent, out.Config = &parent, cfg
	}
	if c.version < 45 {
		out.Container, out.ContainerConfig = new(string), cfg
	}
	if c.version < 44 {
		out.VirtualSize = i.Size
	}
	return c.reply(http.StatusOK, out)
}

func history(c *call) error {
	if c.form.Get("platform") != "" {
		return unsupported("the history of one platform is not supported yet")
	}
	steps, err := query(c, davit.History{Image: c.name})
	if err != nil {
		return err
	}
	i, err := query(c, davit.ImageInspect{Image: c.name})
	if err != nil {
		return err
	}
	out := []image.HistoryResponseItem{}
	for n, s := range steps {
		item := image.HistoryResponseItem{ID: "<missing>", Created: s.Created.Unix(), CreatedBy: s.CreatedBy, Comment: s.Comment, Size: s.Size}
		if n == 0 {
			item.ID, item.Tags = i.ID.String(), i.Tags
		}
		out = append(out, item)
	}
	return c.reply(http.StatusOK, out)
}

func tagImage(c *call) error {
	_, err := run(c, davit.Tag{Image: c.name, Reference: joinReference(c.form.Get("repo"), c.form.Get("tag"))})
	return c.replyEmpty(http.StatusCreated, err)
}

func deleteImage(c *call) error {
	if c.form.Has("platforms") {
		return unsupported("removing single platforms of an image is not supported yet")
	}
	list, err := run(c, davit.ImageDelete{Image: c.name, Force: c.flag("force"), NoPrune: c.flag("noprune")})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, deletions(list))
}

func deletions(list []davit.ImageDeletion) []image.DeleteResponse {
	out := []image.DeleteResponse{}
	for _, d := range list {
		out = append(out, image.DeleteResponse{Deleted: d.Deleted, Untagged: d.Untagged})
	}
	return out
}

func pruneImages(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	done, err := run(c, davit.Prune{Class: "image", Filters: filters})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, image.PruneReport{ImagesDeleted: deletions(done.Images), SpaceReclaimed: uint64(max(0, done.Reclaimed))})
}

// joinReference makes one reference of a name and a tag or digest.
func joinReference(name, tag string) string {
	switch {
	case tag == "":
		return name
	case strings.Contains(tag, ":"):
		return name + "@" + tag
	}
	return name + ":" + tag
}

// createImage pulls, or imports, an image.
func createImage(c *call) error {
	p, err := body.Platform(c.form.Get("platform"))
	if err != nil {
		return err
	}
	switch from, src := c.form.Get("fromImage"), c.form.Get("fromSrc"); {
	case from != "":
		return pullImage(c, joinReference(from, c.form.Get("tag")), p)
	case src == "-":
		return importImage(c, p)
	case src != "":
		return unsupported("importing from a URL is not supported yet: download %s and import the file", src)
	}
	return invalid("neither fromImage nor fromSrc is given")
}

// auth decodes the credentials for a registry; nil is none.
func (c *call) auth() (*davit.RegistryAuth, error) {
	s := strings.TrimRight(c.r.Header.Get("X-Registry-Auth"), "=")
	if s == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, invalid("invalid X-Registry-Auth header: %w", err)
	}
	var a davit.RegistryAuth
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, invalid("invalid X-Registry-Auth header: not a JSON object of strings")
	}
	if a == (davit.RegistryAuth{}) {
		return nil, nil
	}
	return &a, nil
}

func pullImage(c *call, ref string, p davit.Platform) error {
	auth, err := c.auth()
	if err != nil {
		return err
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return invalid("invalid reference %q: %w", ref, err)
	}
	// What the name meant before tells whether the pull brought anything new.
	before, berr := query(c, davit.ImageInspect{Image: ref})
	m := c.messages()
	begun := false
	img, err := watched(m, davit.Pull{Reference: ref, Platform: p, Auth: auth}, func() error {
		if begun {
			return nil
		}
		begun = true
		return m.status("Pulling from "+reference.Path(named), tagOf(named))
	})
	if err != nil {
		return m.fail(err)
	}
	name := reference.FamiliarString(named)
	lines := []string{"Status: Downloaded newer image for " + name}
	if berr == nil && before.ID == img.ID {
		lines = []string{"Status: Image is up to date for " + name}
	}
	if d := repoDigest(img, named); d != "" {
		lines = slices.Insert(lines, 0, "Digest: "+d)
	}
	if !begun {
		_ = m.status("Pulling from "+reference.Path(named), tagOf(named)) // the next one fails too
	}
	for _, line := range lines {
		if err := m.status(line, ""); err != nil {
			return err
		}
	}
	return nil
}

func tagOf(n reference.Named) string {
	switch r := n.(type) {
	case reference.Digested:
		return r.Digest().String()
	case reference.Tagged:
		return r.Tag()
	}
	return ""
}

// repoDigest returns the digest by which the image's repository knows it.
func repoDigest(img davit.Image, n reference.Named) string {
	prefix := reference.FamiliarName(n) + "@"
	for _, d := range slices.Backward(img.Digests) {
		if rest, ok := strings.CutPrefix(d, prefix); ok {
			return rest
		}
	}
	return ""
}

func importImage(c *call, p davit.Platform) error {
	m := c.messages()
	body, err := m.source()
	if err != nil {
		return err
	}
	img, err := watched(m, davit.Import{
		Source: body, Reference: joinReference(c.form.Get("repo"), c.form.Get("tag")), Message: c.form.Get("message"),
		Platform: p, Changes: c.form["changes"],
	}, begunAlready)
	m.finish()
	if err != nil {
		return m.fail(err)
	}
	return m.status(img.ID.String(), "")
}

func begunAlready() error { return nil }

func loadImages(c *call) error {
	if c.form.Get("platform") != "" {
		return unsupported("loading one platform of an image is not supported yet")
	}
	m := c.messages()
	body, err := m.source()
	if err != nil {
		return err
	}
	m.mute = c.flag("quiet")
	images, err := watched(m, davit.Load{Source: body, Quiet: m.mute}, begunAlready)
	m.finish()
	if err != nil {
		return m.fail(err)
	}
	m.begin("application/json")
	for _, img := range images {
		lines := []string{"Loaded image ID: " + img.ID.String() + "\n"}
		if len(img.Tags) > 0 {
			lines = nil
		}
		for _, t := range img.Tags {
			lines = append(lines, "Loaded image: "+t+"\n")
		}
		for _, line := range lines {
			if err := m.send(map[string]string{"stream": line}); err != nil {
				return err
			}
		}
	}
	return nil
}

// saveImages sends an archive of images. When it fails halfway the connection
// is cut, so that the client does not take the rest for the whole.
func saveImages(c *call) error {
	p, err := c.platformObject()
	if err != nil {
		return err
	}
	q := davit.Save{Images: c.form["names"], Platform: p}
	if c.name != "" {
		q.Images = []string{c.name}
	}
	wait := c.awaitJob(q)
	q.Open = func() (io.Writer, error) {
		wait()
		c.w.Header().Set("Content-Type", "application/x-tar")
		c.begin(http.StatusOK)
		return c.w, nil
	}
	_, err = follow(c.r.Context(), c, q)
	if err != nil && c.status != 0 {
		panic(http.ErrAbortHandler)
	}
	return err
}

// platformObject reads the parameter platform of requests that have it as a
// JSON object, as OCI's descriptors do.
func (c *call) platformObject() (davit.Platform, error) {
	values := c.form["platform"]
	if len(values) > 1 {
		return davit.Platform{}, unsupported("several platforms of an image are not supported yet")
	}
	if len(values) == 0 || !strings.HasPrefix(values[0], "{") {
		return body.Platform(c.form.Get("platform"))
	}
	var p struct{ OS, Architecture, Variant string }
	if err := json.Unmarshal([]byte(values[0]), &p); err != nil {
		return davit.Platform{}, invalid("invalid platform %q: want a JSON object with os and architecture", values[0])
	}
	return davit.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}, nil
}
