// SPDX-License-Identifier: Apache-2.0

// Package service decides: it holds the handlers of all jobs and the state
// of the engine, and makes the host follow through its drivers. It declares
// here what it needs of them.
package service

import (
	"context"
	"io"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/volumes"
)

// Runtime runs processes in containers. Each container has a monitor, a
// process of its own that outlives the daemon.
//
// Create launches the monitor of l.Container and has it create the container:
// afterwards its namespaces, root file system and cgroup exist and its first
// process waits. When Create fails, nothing of the container is left and the
// error says why in the words of runc (callers show them, and the docker CLI
// makes its exit codes 126 and 127 of them); an error that is the command's
// own fault has code StartFailed. Adopt connects to a monitor that a
// predecessor launched: os.ErrNotExist when there is none and no record of an
// exit either. Forget removes what the runtime still keeps of a container
// whose monitor has gone; it is idempotent.
type Runtime interface {
	Create(ctx context.Context, l davit.Launch) (davit.Process, error)
	Adopt(ctx context.Context, c *davit.Container) (davit.Process, error)
	// Known lists the ids of which the runtime keeps anything: live monitors
	// and unread exits.
	Known() ([]string, error)
	Forget(id string) error
	// Top runs the host's ps with args over the container's processes.
	Top(ctx context.Context, id string, args []string) (davit.ProcessTable, error)
	// Name says how monitors are launched: "systemd" or "direct".
	Name() string
}

// Meter is a [Runtime] that can tell what its containers use, and whose a
// process is.
type Meter interface {
	// Stats fails with ContainerNotRunning when the container has no process.
	// What the host cannot tell is zero.
	Stats(ctx context.Context, id string) (davit.ContainerStats, error)
	// Owner returns the id of the container that a process of the host is in;
	// os.ErrNotExist when it is in none, or there is no such process.
	Owner(pid int) (string, error)
}

// UnitNamer is a [Runtime] whose monitors are units: Unit is the name of the
// one that a start of c makes, and "" when it makes none.
type UnitNamer interface {
	Unit(c *davit.Container) string
}

// Network makes the default network. Init is idempotent, and a driver's first
// act: it makes the link and the rules anew or takes over those of a
// predecessor, claims the addresses and ports of live, and removes whatever
// else a predecessor left.
//
// Allocate reserves an address and the ports; ports are proved free by binding
// them, and the bound sockets are returned to be kept by the monitor. Attach
// puts the endpoint's link into the network namespace and publishes its ports;
// Detach undoes both; it needs no namespace and is idempotent. Release gives
// back what Allocate reserved. All undo themselves when they fail.
type Network interface {
	Init(ctx context.Context, live []davit.Endpoint) (davit.Network, error)
	Allocate(ctx context.Context, containerID string, ports []davit.PortRequest) (davit.Endpoint, []*os.File, error)
	Attach(ctx context.Context, ep davit.Endpoint, netns *os.File) error
	Detach(ctx context.Context, ep davit.Endpoint) error
	Release(ep davit.Endpoint)
	// Reapply programs the links and rules of the live endpoints again.
	Reapply(ctx context.Context, live []davit.Endpoint) error
	// Backend names the firewall in use.
	Backend() string
}

// Resolver says what a container's generated files hold.
type Resolver interface {
	// ResolvConf is resolv.conf(5) of a container on the default network: the
	// host's servers without loopback ones (systemd-resolved's stub is replaced
	// by its upstreams), overridden by what is given.
	ResolvConf(servers, search, options []string) ([]byte, error)
	// HostFiles are hosts(5) and resolv.conf(5) as the host has them, empty where
	// it has none: those of a container in the host's network.
	HostFiles() (hosts, resolv []byte, err error)
}

// State is the database of records. Put is durable when it returns. The name
// of a container is unique: PutContainer of another id with the same name
// fails with NameConflict and changes nothing.
type State interface {
	Containers() ([]*davit.Container, error)
	PutContainer(c *davit.Container) error
	DeleteContainer(id string) error
	Networks() ([]davit.Network, error)
	PutNetwork(n davit.Network) error
	// EngineID is a random identity made when the database was.
	EngineID() (string, error)
	Close() error
}

// RootfsStore keeps the writable layers of containers over image layers.
type RootfsStore interface {
	// Create makes the writable layer of a container, and keeps the layers of the
	// image and of those that the container mounts until Remove, which is
	// idempotent.
	Create(containerID string, image davit.Image, mounted ...davit.Image) error
	Remove(containerID string) error
	// Rootfs says how to mount it.
	Rootfs(containerID string) (davit.Rootfs, error)
	// Mount mounts the root of a container that does not run in the daemon's
	// own mount namespace, for copying; release unmounts it.
	// In it are the binds and volumes of with. It must not be mounted by a
	// monitor at the same time.
	Mount(containerID string, with ...davit.Mount) (dir string, release func() error, err error)
	// Usage returns the bytes of the writable layer.
	Usage(containerID string) (int64, error)
	// Changes lists what the writable layer has of its own, in the order of the
	// paths: a directory that is new or removed with all in it, a file that was
	// changed together with its directory. What only makes place for mounts on
	// the paths in mounts is not told.
	Changes(containerID string, mounts []string) ([]davit.FileChange, error)
	// Keep removes every layer of a container that is not in ids.
	Keep(ids []string) error
}

// VolumeStore keeps the local volumes.
type VolumeStore = volumes.Store

// Files reads and writes trees of containers without leaving them, whatever
// symbolic links they hold. root is a directory, or /proc/PID/root.
type Files interface {
	Stat(root, path string) (davit.FileStat, error)
	Copy(ctx context.Context, root, path string, w io.Writer) error
	// Pack writes a tar of all that is in root, with names that begin below it.
	Pack(ctx context.Context, root string, w io.Writer) error
	// Read returns the content of a regular file, symbolic links followed;
	// NoSuchFile when there is none, InvalidConfiguration when it is something
	// else or has more than limit bytes.
	Read(root, path string, limit int64) ([]byte, error)
	// Extract unpacks req.Source in the directory path. What req.Check refuses, it
	// gives back as it is, and has written nothing.
	Extract(ctx context.Context, root, path string, req davit.ContainerExtract) error
	// CopyUp copies the content of path under root to the empty directory dst,
	// with owner and mode: how a new volume takes an image's content. Without the
	// path there is nothing to copy; InvalidConfiguration when it is a file.
	CopyUp(root, path, dst string) error
}

// Door is a front door: it turns a protocol's calls into jobs.
type Door interface {
	// Serve serves until ctx ends; it then stops accepting, ends its
	// connections and returns nil. ready is called when it listens.
	Serve(ctx context.Context, ready func()) error
}

// Gate holds requests back until the daemon is ready for them.
type Gate interface{ Open() }
