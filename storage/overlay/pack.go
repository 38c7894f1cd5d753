// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs"
)

// Pack writes a container's writable layer as the tar of an image's layer. What
// lies at the paths in leave, and is empty, is left out.
func (s *Store) Pack(ctx context.Context, containerID string, leave []string, w io.Writer) error {
	dir, err := s.containerDir(containerID)
	if err != nil {
		return err
	}
	if _, err := s.Rootfs(containerID); err != nil {
		return err
	}
	if err := tarfs.PackLayer(ctx, filepath.Join(dir, "diff"), leave, w); err != nil {
		return fmt.Errorf("cannot pack the changes of container %s: %w", davit.ShortID(containerID), err)
	}
	return nil
}
