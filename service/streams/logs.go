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
	"github.com/davit-engine/davit/internal/logconfig"
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
	if rec.HostConfig.LogConfig.Type == logconfig.None {
		return davit.Nothing{}, davit.Errorf(davit.NotSupported, "configured logging driver does not support reading: container %s keeps no log (--log-driver none)", rec.Name)
	}
	st, err := q.Open(rec.Config.Tty)
	if err != nil {
		return davit.Nothing{}, err
	}
	opts := reader.Options{
		Stdout: q.Stdout, Stderr: q.Stderr, Timestamps: q.Timestamps, Details: q.Details, Since: q.Since, Until: q.Until,
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
	switch rec.HostConfig.LogConfig.Type {
	case logconfig.None:
		return nil // docker attach --logs: there is nothing to begin with
	case logconfig.Journald:
		return reader.ReadJournal(ctx, journal(rec), opts, discard(st.Stdout), errs)
	case logconfig.Local:
		opts.Local = true
	}
	err := reader.Read(ctx, s.host.LogFile(rec), opts, discard(st.Stdout), errs)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has never been started
	}
	return err
}

// journal says which entries are a container's output. The daemon's own records
// of it have its id, too, and anybody may write an entry that does: that it came
// from a holder, of root's, is what journald saw.
func journal(rec *davit.Container) reader.Journal {
	return reader.Journal{Command: "journalctl", Match: []string{
		"CONTAINER_ID_FULL=" + rec.ID, "_TRANSPORT=journal", "_UID=0", "_COMM=davit-holder",
	}}
}
