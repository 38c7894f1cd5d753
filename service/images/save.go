// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

func (s *Service) save(ctx context.Context, j *engine.Job, q davit.Save) (davit.Nothing, error) {
	if len(q.Images) == 0 {
		return davit.Nothing{}, invalid("cannot save images: none is named")
	}
	if q.Format != "" && q.Format != "docker" && q.Format != "oci" {
		return davit.Nothing{}, invalid("cannot save images in the format %q: choose docker or oci", q.Format)
	}
	saved, err := s.Store.Export(withReports(ctx, j), q)
	if err != nil {
		return davit.Nothing{}, err
	}
	for _, i := range saved {
		s.emit("save", &i, i.ID.String(), i.ID.String())
	}
	return davit.Nothing{}, nil
}
