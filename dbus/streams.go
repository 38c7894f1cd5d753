// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/lent"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/descriptor"
)

// Bounds of the streams that are open at one time: of all users together, and
// of one who is not root.
const (
	streamLimit     = 256
	userStreamLimit = 64
)

// stream is what a follow job reads from and writes to, and whose other ends
// the caller gets. It lasts until the job ends, which it also does when nobody
// has any of the other ends: not when the caller leaves the bus, who may have
// passed them on.
type stream struct {
	c       *call
	ours    []*os.File
	theirs  map[string]*os.File
	opened  chan struct{} // closed when the job has taken its ends
	open    sync.Once
	release func()
	left    func() // called, if set, when the callers' ends are gone
}

// newStream begins a stream for the caller.
func newStream(c *call) (*stream, error) {
	release := c.userStreams.Take(c.caller.UID)
	if release == nil {
		return nil, refusal.New(refusal.NameLimitsExceeded, "too many streams are open already: at most %d, and %d of one user", streamLimit, userStreamLimit)
	}
	end := c.begin()
	return &stream{c: c, theirs: map[string]*os.File{}, opened: make(chan struct{}), release: func() {
		release()
		end()
	}}, nil
}

// add makes a pair of ends: ours is returned, theirs has the name.
func (st *stream) add(name string, pair func() (ours, theirs *os.File, err error)) (*os.File, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	st.ours, st.theirs[name] = append(st.ours, ours), theirs
	return ours, nil
}

func output() (ours, theirs *os.File, err error) { return descriptor.Pipe(true) }

func input() (ours, theirs *os.File, err error) { return descriptor.Pipe(false) }

// begin says that the job has taken its ends. It may be called more than once.
func (st *stream) begin() { st.open.Do(func() { close(st.opened) }) }

// abandon gives everything back before there is a job.
func (st *stream) abandon() {
	for _, f := range st.ours {
		_ = f.Close() // nothing was read or written
	}
	for _, f := range st.theirs {
		_ = f.Close()
	}
	st.release()
}

// start submits the follow job, and keeps the stream until it has ended. It
// returns once the job has taken its ends, or has ended without an error; with
// prompt once the job runs: some have no way of saying so.
func (st *stream) start(q engine.Request, prompt bool) (*engine.Job, error) {
	s := st.c.session
	ctx, cancel := context.WithCancel(s.ctx) // the stream outlives the call
	j, err := st.c.submitWith(ctx, q)
	if err != nil {
		cancel()
		st.abandon()
		return nil, err
	}
	stop, err := st.watch(cancel)
	if err != nil {
		cancel()
	}
	s.streams.Go(func() {
		defer st.release()
		defer cancel()
		<-j.Ending()
		stop()
		for _, f := range st.ours {
			_ = f.Close() // ends a Read or Write that waits for the caller
		}
		<-j.Done()
	})
	for _, f := range st.theirs {
		st.c.files = append(st.c.files, f) // closed with the reply, whatever it is
	}
	if err != nil {
		return nil, err
	}
	return j, st.settle(j, cancel, prompt)
}

// submitWith submits a job that may outlive the call, and ends with ctx. The
// caller's permission is asked for as long as there is a caller.
func (c *call) submitWith(ctx context.Context, q engine.Request) (*engine.Job, error) {
	asking, cancel := context.WithCancel(engine.WithCaller(ctx, c.caller))
	stop := context.AfterFunc(c.ctx, cancel) //nolint:contextcheck // the call ends before the job, on purpose
	j, err := c.eng.Submit(asking, q)
	if err != nil || !stop() {
		cancel()
	}
	return j, err
}

// settle waits until the job has begun.
func (st *stream) settle(j *engine.Job, cancel func(), prompt bool) error {
	begun := st.opened
	if prompt {
		begun = make(chan struct{})
		close(begun)
	}
	select {
	case <-j.Done(): // it failed at once: the call can still say so
	default:
		select {
		case <-begun:
			return nil
		case <-j.Done():
		case <-st.c.ctx.Done():
			cancel()
			return context.Cause(st.c.ctx)
		}
	}
	_, err := j.Wait(st.c.ctx)
	return err
}

// watch calls cancel when nobody has the other end of any output; of a stream
// without one, that of any input counts when the job sees its end.
func (st *stream) watch(cancel func()) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	if !st.speaks() {
		return stop, nil
	}
	var open atomic.Int32
	open.Store(int32(len(st.ours)))
	for _, f := range st.ours {
		one, err := descriptor.OnHangup(f, func() {
			if open.Add(-1) > 0 {
				return
			}
			if st.left != nil {
				st.left()
			}
			cancel()
		})
		if err != nil {
			return stop, err
		}
		stops = append(stops, one)
	}
	return stop, nil
}

// speaks tells whether the stream has an output.
func (st *stream) speaks() bool { return len(st.theirs) > 1 || st.theirs["stdin"] == nil }

// namedFD is an element of the descriptors of Attach and Start, a(sh).
type namedFD struct {
	Name string
	FD   godbus.UnixFD
}

// fds names the caller's ends for the reply.
func (st *stream) fds(names []string) []namedFD {
	out := []namedFD{}
	for _, name := range names {
		out = append(out, namedFD{name, godbus.UnixFD(st.theirs[name].Fd())})
	}
	return out
}

// only is the caller's end of a stream that has one.
func (st *stream) Only() godbus.UnixFD { return godbus.UnixFD(st.theirs["out"].Fd()) }

// follow answers with the reading end of a pipe that a follow job writes to.
// request makes the request of the writer; it calls begin when the job has
// begun, unless prompt says that it cannot.
func (c *call) follow(prompt bool, request func(w io.Writer, begin func()) engine.Request) ([]any, error) {
	st, err := newStream(c)
	if err != nil {
		return nil, err
	}
	w, err := st.add("out", output)
	if err != nil {
		st.abandon()
		return nil, err
	}
	if _, err := st.start(request(lent.Of(w), st.begin), prompt); err != nil {
		return nil, err
	}
	return []any{st.Only()}, nil
}

// checkStreams refuses names of streams that there are not: what has a
// terminal has the stream "tty", what has none the three others.
func checkStreams(names []string, tty bool) error {
	known := []string{"stdin", "stdout", "stderr"}
	if tty {
		known = []string{"tty"}
	}
	for i, name := range names {
		if !slices.Contains(known, name) || slices.Contains(names[:i], name) {
			return refusal.InvalidArgs("streams %s: name any of %s, once", strings.Join(names, ", "), strings.Join(known, ", "))
		}
	}
	return nil
}

// stdio begins a stream with the named ends, and returns the function by which
// a job takes the others.
func (c *call) stdio(names []string, tty bool) (*stream, func(tty bool) (davit.Streams, error), error) {
	if err := checkStreams(names, tty); err != nil {
		return nil, nil, err
	}
	st, err := newStream(c)
	if err != nil {
		return nil, nil, err
	}
	var streams davit.Streams
	for _, name := range names {
		var f *os.File
		switch name {
		case "tty":
			f, err = st.add(name, descriptor.SocketPair)
			streams.Stdin, streams.Stdout = lent.Of(f), lent.Of(f)
		case "stdin":
			f, err = st.add(name, input)
			streams.Stdin = lent.Of(f)
		case "stdout":
			f, err = st.add(name, output)
			streams.Stdout = lent.Of(f)
		case "stderr":
			f, err = st.add(name, output)
			streams.Stderr = lent.Of(f)
		}
		if err != nil {
			st.abandon()
			return nil, nil, err
		}
	}
	return st, func(bool) (davit.Streams, error) {
		st.begin()
		return streams, nil
	}, nil
}
