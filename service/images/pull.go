// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"fmt"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/opencontainers/go-digest"
)

// pullKey tells which pulls are the same work: not those with other
// credentials, who might not be allowed to see the result.
func pullKey(q davit.Pull) string {
	auth := ""
	if q.Auth != nil {
		auth = digest.FromString(fmt.Sprintf("%q", *q.Auth)).String()
	}
	return fmt.Sprintf("%s %v %s", q.Reference, q.Platform, auth)
}

func (s *Service) pull(ctx context.Context, j *engine.Job, q davit.Pull) (davit.Image, error) {
	ctx = withReports(ctx, j)
	got, err := s.Registry.Pull(ctx, q, s.Store.Blobs())
	if err != nil {
		return davit.Image{}, err
	}
	img, err := s.Store.Unpack(ctx, got)
	if err != nil {
		return davit.Image{}, err
	}
	s.emit("pull", &img, q.Reference, q.Reference)
	return img, nil
}
