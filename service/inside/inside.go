// SPDX-License-Identifier: Apache-2.0

// Package inside looks into containers: what they use, what they changed, what
// their files say.
package inside

import (
	"cmp"
	"context"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/osrelease"
)

// Host is what the handlers need of the rest of the engine.
type Host interface {
	Find(ref string) (davit.Container, error)
	// InRoot calls f with a directory that is the container's root as its
	// processes see it, BareRoot with one in which nothing is mounted.
	InRoot(ctx context.Context, ref string, f func(root string) error) error
	BareRoot(ctx context.Context, ref string, f func(root string) error) error
	// OpenRoot opens the root of a container that runs.
	OpenRoot(ref string) (*os.File, error)
	// Process returns the process of a container that runs.
	Process(id string) (davit.Process, error)
	// Happened publishes an event of a container.
	Happened(action string, rec *davit.Container)
}

// Rootfs is what is needed of the writable layers.
type Rootfs interface {
	Create(containerID string, image davit.Image, mounted ...davit.Image) error
	Remove(containerID string) error
	Mount(containerID string, with ...davit.Mount) (dir string, release func() error, err error)
	Changes(containerID string, mounts []string) ([]davit.FileChange, error)
}

// Files is what is needed of the driver that reads trees.
type Files interface {
	Pack(ctx context.Context, root string, w io.Writer) error
	Read(root, path string, limit int64) ([]byte, error)
	Stat(root, path string) (davit.FileStat, error)
	Copy(ctx context.Context, root, path string, w io.Writer) error
	Extract(ctx context.Context, root, path string, req davit.ContainerExtract) error
}

// Options configure the handlers.
type Options struct {
	Host   Host
	Rootfs Rootfs
	Files  Files
	Image  func(ref string) (davit.Image, error)
	// Stats reads what a container uses; nil when nothing can.
	Stats func(ctx context.Context, id string) (davit.ContainerStats, error)
	// Top runs the host's ps with args over a container's processes.
	Top   func(ctx context.Context, id string, args []string) (davit.ProcessTable, error)
	NewID func() string
	// Memory is the host's, in bytes: what a container without a limit may use.
	Memory int64
}

// Inside has the handlers. Who registers them says what their callers need.
type Inside struct{ Options }

// New returns the handlers.
func New(o Options) *Inside { return &Inside{o} }

// kernelPlaces are where each container has something mounted that is no mount
// of its record.
var kernelPlaces = []string{"/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}

// Changes lists what a container changed in its image's files.
func (i *Inside) Changes(_ context.Context, _ *engine.Job, q davit.ContainerChanges) ([]davit.FileChange, error) {
	rec, err := i.Host.Find(q.Container)
	if err != nil {
		return nil, err
	}
	places := slices.Clone(kernelPlaces)
	for _, m := range rec.Mounts {
		places = append(places, path.Clean(m.Target))
	}
	return i.Rootfs.Changes(rec.ID, places)
}

// Export writes a container's files as a tar.
func (i *Inside) Export(ctx context.Context, _ *engine.Job, q davit.Export) (davit.Nothing, error) {
	rec, err := i.Host.Find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	return davit.Nothing{}, i.Host.BareRoot(ctx, rec.ID, func(root string) error {
		w, err := q.Open()
		if err != nil {
			return err
		}
		i.Host.Happened("export", &rec)
		return i.Files.Pack(ctx, root, w)
	})
}

// RootDirectory opens the root of a container that runs.
func (i *Inside) RootDirectory(_ context.Context, _ *engine.Job, q davit.RootDirectory) (*os.File, error) {
	return i.Host.OpenRoot(q.Container)
}

// releaseLimit is far more than any os-release has, in bytes.
const releaseLimit = 64 << 10

// OSRelease reads os-release(5).
func (i *Inside) OSRelease(ctx context.Context, _ *engine.Job, q davit.OSRelease) (out map[string]string, err error) {
	read := func(root string) error {
		out, err = i.readRelease(root, cmp.Or(q.Container, q.Image))
		return err
	}
	switch {
	case (q.Container == "") == (q.Image == ""):
		return nil, davit.Errorf(davit.InvalidConfiguration, "cannot read os-release: name a container, or an image")
	case q.Container != "":
		err = i.Host.InRoot(ctx, q.Container, read)
	default:
		err = i.inImage(q.Image, read)
	}
	return out, err
}

func (i *Inside) readRelease(root, of string) (map[string]string, error) {
	for _, name := range osrelease.Paths {
		text, err := i.Files.Read(root, name, releaseLimit)
		if err == nil {
			return osrelease.Parse(text), nil
		}
		if davit.CodeOf(err) != davit.NoSuchFile {
			return nil, err
		}
	}
	return nil, davit.Errorf(davit.NoSuchFile, "%s has no /etc/os-release", of)
}

// inImage calls f with the root of an image, which is that of a container that
// nobody else knows of: one that a crash leaves is removed at the next start.
func (i *Inside) inImage(ref string, f func(root string) error) error {
	img, err := i.Image(ref)
	if err != nil {
		return err
	}
	id := i.NewID()
	if err := i.Rootfs.Create(id, img); err != nil {
		return err
	}
	root, release, err := i.Rootfs.Mount(id)
	if err != nil {
		return cmp.Or(err, i.Rootfs.Remove(id))
	}
	err = f(root)
	rerr := release()
	return cmp.Or(err, rerr, i.Rootfs.Remove(id))
}

// leastInterval is the least time between two measurements that somebody may
// ask for: each reads some twenty files, and who may look may look often.
const leastInterval = 100 * time.Millisecond

// Stats follows what a container uses until it is removed.
func (i *Inside) Stats(ctx context.Context, _ *engine.Job, q davit.Stats) (davit.Nothing, error) {
	if q.Interval != 0 && q.Interval < leastInterval {
		return davit.Nothing{}, davit.Errorf(davit.InvalidConfiguration, "invalid interval %v: give at least %v", q.Interval, leastInterval)
	}
	if i.Options.Stats == nil {
		return davit.Nothing{}, davit.Errorf(davit.NotSupported, "this runtime cannot tell what containers use")
	}
	rec, err := i.Host.Find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	tick := time.NewTicker(cmp.Or(q.Interval, time.Second))
	defer tick.Stop()
	for {
		st, err := i.measure(ctx, &rec)
		if err == nil {
			err = q.Emit(st)
		}
		if err != nil || q.Once {
			return davit.Nothing{}, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return davit.Nothing{}, ctx.Err()
		}
		if rec, err = i.Host.Find(rec.ID); err != nil {
			if davit.CodeOf(err) == davit.NoSuchContainer {
				err = nil
			}
			return davit.Nothing{}, err
		}
	}
}

// measure reads what a container uses.
func (i *Inside) measure(ctx context.Context, rec *davit.Container) (davit.ContainerStats, error) {
	none := davit.ContainerStats{ID: rec.ID, Name: rec.Name}
	if !rec.State.Running() {
		return none, nil
	}
	st, err := i.Options.Stats(ctx, rec.ID)
	switch {
	case err == nil:
	case davit.CodeOf(err) == davit.ContainerNotRunning:
		return none, nil // it has just ended, or is about to run again
	default:
		return none, err
	}
	st.ID, st.Name = rec.ID, rec.Name
	if i.Memory > 0 {
		st.Memory.Limit = min(st.Memory.Limit, uint64(i.Memory))
	}
	if rec.HostConfig.NetworkMode == "host" {
		maps.DeleteFunc(st.Networks, func(string, davit.LinkStats) bool { return true }) // the host's own
	}
	return st, nil
}

// Top lists the container's processes.
func (i *Inside) Top(ctx context.Context, _ *engine.Job, q davit.Top) (davit.ProcessTable, error) {
	rec, err := i.Host.Find(q.Container)
	if err != nil {
		return davit.ProcessTable{}, err
	}
	if rec.State.Status == davit.StatusRestarting {
		return davit.ProcessTable{}, davit.Errorf(davit.ContainerBusy, "Container %s is restarting, wait until the container is running", rec.Name)
	}
	if _, err := i.Host.Process(rec.ID); err != nil {
		return davit.ProcessTable{}, err
	}
	args := q.Args
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	table, err := i.Options.Top(ctx, rec.ID, args)
	if err == nil {
		i.Host.Happened("top", &rec)
	}
	return table, err
}
