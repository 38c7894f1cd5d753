// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/davit-engine/davit/internal/logconfig"
)

// Journal says whose entries of the journal are a container's log.
type Journal struct {
	Command string // journalctl(1)
	// Match are FIELD=value that all entries have, and nobody else's: fields that
	// begin with an underscore are journald's own word.
	Match []string
}

// outputFields are those that a record is made of.
const outputFields = "MESSAGE,PRIORITY,SYSLOG_TIMESTAMP,CONTAINER_PARTIAL_MESSAGE,CONTAINER_LOG_EPOCH,CONTAINER_LOG_ORDINAL"

// ReadJournal is [Read] for a log in the journal. It runs journalctl, and
// leaves none behind. What closes opts.Done sees to it that journald has stored
// the last entry before.
func ReadJournal(ctx context.Context, j Journal, opts Options, stdout, stderr io.Writer) (err error) {
	r := &journalReading{journal: j, opts: opts, out: sink{opts: opts, stdout: stdout, stderr: stderr}}
	defer func() { err = first(err, r.out.flush()) }()
	if opts.To != "" {
		if n, err := fmt.Sscanf(opts.To, "journal %s %d", &r.epoch, &r.last); n != 2 || err != nil {
			return fmt.Errorf("cannot read the journal to the place %q, which is none", opts.To)
		}
	}
	tail := "--lines=" + strconv.Itoa(opts.Tail)
	switch {
	case opts.Tail < 0:
		tail = "--no-tail"
	case opts.Tail == 0 && !opts.Follow:
		return nil
	case opts.Tail == 0:
		tail, r.mute = "--lines=1", true // to know where the journal ends
	}
	if err := r.run(ctx, tail, r.since()); err != nil || r.out.past || !opts.Follow {
		return err
	}
	r.mute = false
	return r.follow(ctx)
}

// journalReading is one ReadJournal.
type journalReading struct {
	journal Journal
	opts    Options
	out     sink
	cursor  string // of the latest entry
	mute    bool   // entries are only counted
	epoch   string // of the run whose entries end with the last; "": all are to be read
	last    uint64
}

// since keeps journalctl from reading what is too old. An entry reaches the
// journal after the time that it carries, so none is missed; give looks again.
// A number of lines would be counted from there, and not from the end.
func (r *journalReading) since() string {
	if r.opts.Since.IsZero() || r.opts.Tail >= 0 {
		return ""
	}
	us := r.opts.Since.UnixMicro()
	return fmt.Sprintf("--since=@%d.%06d", us/1e6, us%1e6)
}

// after goes on behind the latest entry.
func (r *journalReading) after() string {
	if r.cursor == "" {
		return "" // there was none: all is new
	}
	return "--after-cursor=" + r.cursor
}

// follow gives what comes. The end is not taken from journalctl that follows:
// nothing tells when that has printed the last entry.
func (r *journalReading) follow(ctx context.Context) error {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	var until <-chan time.Time
	if !r.opts.Until.IsZero() {
		timer := time.NewTimer(time.Until(r.opts.Until))
		defer timer.Stop()
		until = timer.C
	}
	result := make(chan error, 1)
	go func() { result <- r.run(following, "--follow", "--no-tail", r.after()) }()
	select {
	case err := <-result:
		if err == nil && !r.out.past {
			err = fmt.Errorf("cannot read the journal: %s ended while it was to follow", r.journal.Command)
		}
		return err
	case <-r.opts.Done:
	case <-until:
	}
	cancel()
	if err := <-result; ctx.Err() != nil || r.out.err != nil || r.out.past {
		return err
	}
	return r.run(ctx, "--no-tail", r.after())
}

// run gives what one journalctl prints, to its end or ctx's.
func (r *journalReading) run(ctx context.Context, options ...string) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	args := []string{"--quiet", "--no-pager", "--all", "--output=export"}
	if !r.opts.Details {
		args = append(args, "--output-fields="+outputFields)
	}
	args = append(args, slices.DeleteFunc(options, func(s string) bool { return s == "" })...)
	c := exec.CommandContext(running, r.journal.Command, append(args, r.journal.Match...)...)
	complaint := &start{most: 4096}
	c.Stderr = complaint
	c.WaitDelay = time.Second // what it left behind may hold its output open
	c.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	out, err := c.StdoutPipe()
	if err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	// journalctl is killed then, but may not end at once, as in a file system that
	// does not answer.
	stop := context.AfterFunc(running, func() { out.Close() })
	defer stop()
	readErr := r.entries(ctx, out)
	cancel() // before it has printed all: nobody wants more
	waitErr := c.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.out.err != nil:
		return r.out.err
	case r.out.past:
		return nil
	case readErr != nil:
		return fmt.Errorf("cannot read the journal: %w", readErr)
	case waitErr != nil && len(complaint.text) > 0:
		return fmt.Errorf("cannot read the journal: %s", bytes.TrimSpace(complaint.text))
	}
	return nil // without any journal, it fails and says nothing
}

// start keeps the first bytes of what is written to it.
type start struct {
	text []byte
	most int
}

// Write never fails: who writes is not to end for it.
func (s *start) Write(p []byte) (int, error) {
	s.text = append(s.text, p[:min(len(p), s.most-len(s.text))]...)
	return len(p), nil
}

// entries gives the entries until the end of in.
func (r *journalReading) entries(ctx context.Context, in io.Reader) error {
	x := exported{bufio.NewReaderSize(in, 64<<10)}
	for ctx.Err() == nil {
		if x.in.Buffered() == 0 && r.out.flush() != nil { // it may take long until there is more
			return nil //nolint:nilerr // run returns it
		}
		var e journalEntry
		switch err := x.next(e.field); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		r.cursor = e.cursor
		if r.epoch != "" && e.epoch == r.epoch && e.number > r.last {
			r.out.past = true
			return nil
		}
		if e.ordinal && !r.mute {
			r.give(&e)
		}
		if r.out.err != nil || r.out.past {
			return nil //nolint:nilerr // as above
		}
	}
	return nil
}

// journalEntry is an entry on its way to a record.
type journalEntry struct {
	cursor  string
	text    []byte
	stderr  bool
	partial bool
	ordinal bool // it is output: the log counts its entries
	epoch   string
	number  uint64
	stamp   time.Time
	arrived int64 // microseconds; when there is no stamp
	attrs   map[string]string
}

func (e *journalEntry) field(name string, value []byte) {
	switch name {
	case "__CURSOR":
		e.cursor = string(value)
	case "__REALTIME_TIMESTAMP":
		e.arrived, _ = strconv.ParseInt(string(value), 10, 64) // 0 is as good as any
	case "MESSAGE":
		e.text = append(e.text[:0], value...)
	case "PRIORITY":
		e.stderr = len(value) == 1 && value[0] == '3'
	case "CONTAINER_PARTIAL_MESSAGE":
		e.partial = string(value) == "true"
	case "CONTAINER_LOG_ORDINAL":
		e.ordinal = true
		e.number, _ = strconv.ParseUint(string(value), 10, 64) // 0 is before all
	case "CONTAINER_LOG_EPOCH":
		e.epoch = string(value)
	case "SYSLOG_TIMESTAMP":
		if at, err := time.Parse(time.RFC3339Nano, string(value)); err == nil {
			e.stamp = at
		}
	default:
		if !logconfig.IsAttribute(name) {
			return
		}
		if e.attrs == nil {
			e.attrs = make(map[string]string)
		}
		e.attrs[name] = string(value)
	}
}

func (r *journalReading) give(e *journalEntry) {
	rec := record{text: e.text, stream: "stdout", time: e.stamp, attrs: e.attrs}
	if e.stderr {
		rec.stream = "stderr"
	}
	if e.stamp.IsZero() {
		rec.time = time.UnixMicro(e.arrived)
	}
	if !e.partial {
		rec.text = append(rec.text, '\n')
	}
	r.out.give(&rec)
}
