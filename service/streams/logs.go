// SPDX-License-Identifier: Apache-2.0

package streams

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/containerlog/reader"
)

// Logs writes a container's log and, with Follow, what comes until it ends.
func (s *Streams) Logs(ctx context.Context, _ *engine.Job, q davit.Logs) (davit.Nothing, error) {
	rec, err := s.host.Find(q.Container)
	if err != nil {
		return davit.Nothing{}, err
	}
	if !q.Stdout && !q.Stderr {
		return davit.Nothing{}, davit.Errorf(davit.InvalidConfiguration, "Bad parameters: you must choose at least one stream")
	}
	if s.host.LogPath(&rec) == "" {
		return davit.Nothing{}, davit.Errorf(davit.NotSupported, "configured logging driver does not support reading: container %s keeps no log (--log-driver none)", rec.Name)
	}
	st, err := q.Open(rec.Config.Tty)
	if err != nil {
		return davit.Nothing{}, err
	}
	opts := reader.Options{
		Stdout: q.Stdout, Stderr: q.Stderr, Timestamps: q.Timestamps, Since: q.Since, Until: q.Until,
		Tail: q.Tail, Follow: q.Follow && rec.State.Running(),
	}
	if opts.Follow {
		ended := make(chan struct{})
		opts.Done = ended
		wctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			defer close(ended)
			_ = s.host.AwaitExit(wctx, rec.ID) // the reader's own context says why it ends
		}()
	}
	return davit.Nothing{}, s.readLog(ctx, &rec, opts, st)
}

func (s *Streams) readLog(ctx context.Context, rec *davit.Container, opts reader.Options, st davit.Streams) error {
	discard := func(w io.Writer) io.Writer {
		if w == nil {
			return io.Discard
		}
		return w
	}
	errs := discard(st.Stderr)
	if rec.Config.Tty {
		errs = discard(st.Stdout)
	}
	err := reader.Read(ctx, s.host.LogPath(rec), opts, discard(st.Stdout), errs)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has never been started
	}
	return err
}
