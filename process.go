// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"context"
	"os"
	"time"
)

// Process is a container's process, seen through its monitor. All methods may
// be called from any goroutine; they fail with an error that wraps
// [os.ErrClosed] when the monitor has gone. The service declares what it
// needs of a runtime; this is here because a runtime returns it.
type Process interface {
	// Pid is of the container's current first process, in the host's
	// namespace; 0 when there is none.
	Pid() int
	// Netns returns a new descriptor of the container's network namespace,
	// which the caller closes.
	Netns(ctx context.Context) (*os.File, error)
	// Start lets the created container's first process execute its program.
	// The monitor keeps duplicates of hold; the caller closes its own.
	Start(ctx context.Context, hold []*os.File) error
	// Signal sends a signal to the first process. stop says that the restart
	// policy no longer applies.
	Signal(ctx context.Context, signal int, stop bool) error
	// Resize sets the size of the terminal; without one it does nothing.
	Resize(ctx context.Context, rows, columns uint) error
	// Attach copies between the container's streams and s until the
	// container's output has ended, ctx is done, or the bytes detach are read
	// from s.Stdin. Before Start it misses nothing once s.Attached was called.
	Attach(ctx context.Context, s Streams, detach []byte) error
	// Exec runs a further process in the container.
	Exec(ctx context.Context, x Exec) (ExecProcess, error)
	// Updates delivers every change of state, the current one first, to one
	// receiver. It is closed after the final exit, or when the monitor is lost.
	Updates() <-chan Update
}

// Freezer is a [Process] that can be paused: Freeze stops all processes of the
// container where they are, or lets them go on, and returns when that is so; the
// updates tell of it. It is idempotent. A signal that is to stop the container,
// and KILL, let it go on too.
type Freezer interface {
	Freeze(ctx context.Context, frozen bool) error
}

// Updater is a [Process] whose limits can be changed while it runs. Update
// gives it those in r, of which zero is no limit, and the restart policy unless
// that is nil: all or nothing. It is idempotent, and costs little when there is
// nothing to change; it fails with NotSupported for what the host cannot limit.
type Updater interface {
	Update(ctx context.Context, r Resources, policy *RestartPolicy) error
}

// RootOpener is a [Process] whose root can be opened without what is mounted in
// it (O_PATH of open(2)). The caller closes it.
type RootOpener interface {
	OpenRoot(ctx context.Context) (*os.File, error)
}

// ExecProcess is the process of an exec session.
type ExecProcess interface {
	Pid() int
	// Signal sends a signal to the process.
	Signal(ctx context.Context, signal int) error
	// Resize is like that of [Process].
	Resize(ctx context.Context, rows, columns uint) error
	// Attach is like that of [Process]. It is called at most once; without it
	// the output is discarded.
	Attach(ctx context.Context, s Streams, detach []byte) error
	// Wait returns when the process has ended.
	Wait(ctx context.Context) (Exit, error)
}

// Update is a change of a container's state, as its monitor tells it.
type Update struct {
	Status    Status // created, running, paused, restarting, exited, dead (the monitor is lost)
	Pid       int
	StartedAt time.Time
	Exit      Exit // valid for restarting, exited and dead
	Restarts  int
	AppArmor  string  // as in [State]
	Health    *Health // nil without a healthcheck
	Probe     *Probe  // of the healthcheck, that has just begun or ended; nil in all other updates
	// OOM says that the kernel has just killed a process of the running container for
	// want of memory, or is about to. One that ends the container may be told by
	// Exit alone.
	OOM bool
}
