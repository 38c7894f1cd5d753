// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/json"
	"time"

	"github.com/davit-engine/davit"
	"github.com/opencontainers/go-digest"
)

// Limits on what is read into memory. Real manifests have a few kilobytes,
// configs with long histories a few hundred.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxLayers   = 500 // as many as one mount can name
)

// configFile is an image's config: OCI image-spec config.md, and what Docker's
// has beside it (moby/docker-image-spec), which [davit.ContainerConfig] knows.
type configFile struct {
	Created      *time.Time            `json:"created,omitempty"`
	Author       string                `json:"author,omitempty"`
	Comment      string                `json:"comment,omitempty"`
	Architecture string                `json:"architecture"`
	Variant      string                `json:"variant,omitempty"`
	OS           string                `json:"os"`
	Config       davit.ContainerConfig `json:"config"`
	RootFS       rootFS                `json:"rootfs"`
	History      []historyEntry        `json:"history,omitempty"`
}

type rootFS struct {
	Type    string          `json:"type"`
	DiffIDs []digest.Digest `json:"diff_ids"`
}

type historyEntry struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// parseConfig makes an image of its config. Sizes and the manifest are left
// for the caller.
func parseConfig(data []byte) (davit.Image, error) {
	var c configFile
	if err := json.Unmarshal(data, &c); err != nil {
		return davit.Image{}, davit.Errorf(davit.InvalidArchive, "the image's config is not valid: %w", err)
	}
	if c.RootFS.Type != "layers" {
		return davit.Image{}, davit.Errorf(davit.InvalidArchive, "the image's config has no root file system: it is not a container image")
	}
	if len(c.RootFS.DiffIDs) > maxLayers {
		return davit.Image{}, davit.Errorf(davit.InvalidArchive, "the image has %d layers, over the limit of %d", len(c.RootFS.DiffIDs), maxLayers)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return davit.Image{}, davit.Errorf(davit.InvalidArchive, "the image's config names a layer %q, which is no sha256 digest", d)
		}
	}
	img := davit.Image{
		ID: digest.FromBytes(data), Author: c.Author, Comment: c.Comment,
		Architecture: c.Architecture, Variant: c.Variant, OS: c.OS, Config: portable(c.Config),
		Layers: c.RootFS.DiffIDs,
	}
	if c.Created != nil {
		img.Created = *c.Created
	}
	for _, h := range c.History {
		e := davit.HistoryEntry{CreatedBy: h.CreatedBy, Author: h.Author, Comment: h.Comment, EmptyLayer: h.EmptyLayer}
		if h.Created != nil {
			e.Created = *h.Created
		}
		img.History = append(img.History, e)
	}
	return img, nil
}

// portable drops what old versions of Docker copied into an image from the
// container that it was made in.
func portable(c davit.ContainerConfig) davit.ContainerConfig {
	c.Hostname, c.Domainname, c.Image = "", "", ""
	c.AttachStdin, c.AttachStdout, c.AttachStderr = false, false, false
	c.Tty, c.OpenStdin, c.StdinOnce = false, false, false
	return c
}

// setSizes notes the sizes of an image's layers, lowest first.
func setSizes(img *davit.Image, sizes []int64) {
	img.Size = 0
	for _, n := range sizes {
		img.Size += n
	}
	for i := range img.History {
		if !img.History[i].EmptyLayer && len(sizes) > 0 {
			img.History[i].Size, sizes = sizes[0], sizes[1:]
		}
	}
}
