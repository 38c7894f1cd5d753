// SPDX-License-Identifier: Apache-2.0

// Package streams connects callers to what containers write and read: by an
// attachment, or from the log.
package streams

import (
	"context"
	"errors"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/containerlog/reader"
	"github.com/davit-engine/davit/service/request"
)

// Host is what is needed of the rest of the engine.
type Host interface {
	Find(ref string) (davit.Container, error)
	// Process returns the process of a container that runs.
	Process(id string) (davit.Process, error)
	// Queue is where those wait who attach to a container that does not run.
	Queue(id string) (*Queue, error)
	// AwaitExit returns when the container does not run, AwaitRemoval when
	// there is none, or ctx has ended.
	AwaitExit(ctx context.Context, id string) error
	AwaitRemoval(ctx context.Context, id string) error
	// LogFile is where the log of a container is; "" when it keeps none in a file.
	LogFile(rec *davit.Container) string
	// Happened publishes an event of a container.
	Happened(action string, rec *davit.Container)
}

// Streams has the handlers. Who registers them says what their callers need.
type Streams struct{ host Host }

// New returns the handlers.
func New(host Host) *Streams { return &Streams{host} }

// Attach connects a caller to a container's streams. A container that does
// not run yet is waited for: docker run attaches before it starts.
func (s *Streams) Attach(ctx context.Context, _ *engine.Job, q davit.Attach) (davit.Nothing, error) {
	rec, err := s.host.Find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	keys, err := request.DetachKeys(q.DetachKeys)
	if err != nil {
		return davit.Nothing{}, err
	}
	switch rec.State.Status {
	case davit.StatusPaused:
		return davit.Nothing{}, davit.Errorf(davit.ContainerPaused, "container %s is paused, unpause the container before attach", rec.Name)
	case davit.StatusRestarting:
		return davit.Nothing{}, davit.Errorf(davit.ContainerBusy, "Container %s is restarting, wait until the container is running", rec.Name)
	}
	var proc davit.Process
	var turn *Turn
	if q.Stream {
		queue, err := s.host.Queue(rec.ID)
		if err != nil {
			return davit.Nothing{}, err
		}
		turn = queue.Join(ctx) // first: no start comes between
		defer queue.Leave(turn)
		if proc, err = s.host.Process(rec.ID); err == nil {
			queue.Leave(turn)
			turn = nil
		}
	}
	st, err := q.Open(rec.Config.Tty)
	if err != nil {
		return davit.Nothing{}, err
	}
	st = st.Only(q.Stdin && rec.Config.OpenStdin, q.Stdout, q.Stderr)
	begins := reader.Options{Stdout: true, Stderr: true, Tail: -1}
	switch {
	case !q.Logs:
	case proc != nil: // up to where the streams begin
		st.Log = func(place string) error {
			begins.To = place
			return s.readLog(ctx, &rec, begins, st)
		}
	default:
		if err := s.readLog(ctx, &rec, begins, st); err != nil {
			return davit.Nothing{}, err
		}
	}
	if !q.Stream {
		return davit.Nothing{}, nil
	}
	s.host.Happened("attach", &rec)
	if turn != nil {
		if proc, err = s.await(ctx, turn, rec.ID); err != nil || proc == nil {
			return davit.Nothing{}, err
		}
		st.Attached = turn.settle
	}
	if !rec.Config.Tty && q.DetachKeys == "" {
		keys = nil
	}
	st.Detached = func() { s.host.Happened("detach", &rec) }
	if err := proc.Attach(ctx, st, keys); err != nil && !errors.Is(err, os.ErrClosed) {
		return davit.Nothing{}, err
	}
	return davit.Nothing{}, nil
}

// await returns the process once there is one; nil when the container was
// removed instead.
func (s *Streams) await(ctx context.Context, turn *Turn, id string) (davit.Process, error) {
	gone := make(chan struct{})
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if s.host.AwaitRemoval(wctx, id) == nil {
			close(gone)
		}
	}()
	select {
	case proc := <-turn.proc:
		return proc, nil
	case <-gone:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
