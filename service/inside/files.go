// SPDX-License-Identifier: Apache-2.0

package inside

import (
	"context"
	"path"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// notFound puts the container's name to a missing path, in Docker's words.
func notFound(err error, name, ref string) error {
	if davit.CodeOf(err) != davit.NoSuchFile {
		return err
	}
	return davit.Errorf(davit.NoSuchFile, "Could not find the file %s in container %s", name, ref)
}

// StatPath describes a path of a container.
func (i *Inside) StatPath(ctx context.Context, _ *engine.Job, q davit.ContainerStatPath) (st davit.FileStat, err error) {
	err = i.Host.InRoot(ctx, q.Container, func(root string) (err error) {
		st, err = i.Files.Stat(root, q.Path)
		return notFound(err, q.Path, q.Container)
	})
	return st, err
}

// CopyOut writes a tar of a path of a container.
func (i *Inside) CopyOut(ctx context.Context, _ *engine.Job, q davit.ContainerCopy) (davit.Nothing, error) {
	rec, err := i.Host.Find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	return davit.Nothing{}, i.Host.InRoot(ctx, rec.ID, func(root string) error {
		st, err := i.Files.Stat(root, q.Path)
		if err != nil {
			return notFound(err, q.Path, q.Container)
		}
		w, err := q.Open(st)
		if err != nil {
			return err
		}
		i.Host.Happened("archive-path", &rec)
		return i.Files.Copy(ctx, root, q.Path, w)
	})
}

// InMount tells whether a path is in something that the container mounts.
func InMount(rec *davit.Container, name string) bool { return mountOf(rec, name) != nil }

// mountOf returns the mount of a container that a path is in, nil when it is in
// the root: of those below one another the deepest.
func mountOf(rec *davit.Container, name string) (found *davit.Mount) {
	name = path.Clean("/" + name)
	for i := range rec.Mounts {
		m := &rec.Mounts[i]
		target := path.Clean("/" + m.Target)
		if (name == target || strings.HasPrefix(name, target+"/")) && (found == nil || len(target) > len(path.Clean("/"+found.Target))) {
			found = m
		}
	}
	return found
}

// writable refuses, in Docker's words, the directories that the container could
// not write to either. Links have been followed.
func writable(rec *davit.Container, dir string) error {
	switch m := mountOf(rec, dir); {
	case m != nil && !m.ReadWrite:
		return davit.Errorf(davit.AccessDenied, "mounted volume is marked read-only")
	case m == nil && rec.HostConfig.ReadonlyRootfs:
		return davit.Errorf(davit.AccessDenied, "container rootfs is marked read-only")
	}
	return nil
}

// CopyIn unpacks a tar in a directory of a container.
func (i *Inside) CopyIn(ctx context.Context, _ *engine.Job, q davit.ContainerExtract) (davit.Nothing, error) {
	rec, err := i.Host.Find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	q.Check, q.Owner = func(dir string) error { return writable(&rec, dir) }, ""
	if q.CopyUIDGID {
		q.Owner = rec.Config.User
	}
	return davit.Nothing{}, i.Host.InRoot(ctx, rec.ID, func(root string) error {
		if err := i.Files.Extract(ctx, root, q.Path, q); err != nil {
			return notFound(err, q.Path, q.Container)
		}
		i.Host.Happened("extract-to-dir", &rec)
		return nil
	})
}
