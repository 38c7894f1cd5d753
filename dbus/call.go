// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	godbus "github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/catalog"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
)

// Bounds of the calls that are served at one time, waiting ones included: of
// all users together, and of one who is not root. Everybody may call, and have
// a call wait for somebody to authenticate.
const (
	callLimit     = 1024
	userCallLimit = 128
)

// pingLimit is how many calls more there may be of those that wait for nothing,
// org.freedesktop.DBus.Peer: the daemon asks itself by one whether it lives, and
// would be ended for having much to do.
const pingLimit = 64

// call is one method call.
type call struct {
	*session
	ctx           context.Context // ends when the caller leaves the bus
	msg           *godbus.Message
	caller        engine.Caller
	path          godbus.ObjectPath
	iface, member string
	object        object
	received      []int      // descriptors that came along; -1 once a handler took it
	files         []*os.File // to close after the reply was sent
}

// handler serves the calls of one method. The types of the arguments have been
// checked; what it returns must match the method's out signature.
type handler func(*call) ([]any, error)

// on makes a handler of a function that works on the object's thing.
func on[T any](f func(*call, T) ([]any, error)) handler {
	return func(c *call) ([]any, error) { return f(c, c.object.thing.(T)) }
}

// arg returns an argument of the type that the signature promises.
func arg[T any](c *call, i int) T { return c.msg.Body[i].(T) }

func header[T any](msg *godbus.Message, f godbus.HeaderField) T {
	v, _ := msg.Headers[f].Value().(T)
	return v
}

// accept takes a call from the wire and serves it in a goroutine of its own.
func (s *session) accept(msg *godbus.Message, fds []int) {
	c := &call{
		session: s, msg: msg, ctx: s.ctx, received: fds,
		caller: engine.Caller{Transport: engine.Bus, UID: engine.NoUID, Name: header[string](msg, godbus.FieldSender), Interactive: msg.Flags&godbus.FlagAllowInteractiveAuthorization != 0},
		path:   header[godbus.ObjectPath](msg, godbus.FieldPath),
		iface:  header[string](msg, godbus.FieldInterface),
		member: header[string](msg, godbus.FieldMember),
	}
	if err := s.admit(c.iface); err != nil {
		// The wire's reader must not wait for the bus to take an answer.
		s.refusals.Go(func() { c.answer(nil, err) })
		return
	}
	go func() {
		defer s.leave()
		defer s.begin()()
		c.answer(c.serve())
	}()
}

// admit counts a call in, unless there are too many or the end has come.
func (s *session) admit(iface string) error {
	limit := callLimit
	if iface == peerInterface {
		limit += pingLimit
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return engine.ErrShuttingDown
	case s.inflight >= limit:
		return refusal.New(refusal.NameLimitsExceeded, "%d calls are being served already", callLimit)
	}
	s.inflight++
	return nil
}

func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inflight--
	if s.draining && s.inflight == 0 {
		close(s.drained)
	}
}

// serve finds and runs the method's handler.
func (c *call) serve() (out []any, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("bus method panicked", slog.String("interface", c.iface), slog.String("member", c.member),
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = davit.Errorf(davit.Failed, "internal error in %s", c.member)
		}
	}()
	if c.iface == peerInterface { // works on any path, existing or not
		return c.run([]string{peerInterface})
	}
	if err := c.identify(); err != nil {
		return nil, err
	}
	release := c.userCalls.Take(c.caller.UID)
	if release == nil {
		return nil, refusal.New(refusal.NameLimitsExceeded, "%d calls of uid %d are being served already", userCallLimit, c.caller.UID)
	}
	defer release()
	out, err = c.dispatch()
	if _, refused := errors.AsType[*godbus.Error](err); refused && !static(c.path) {
		// That an object is there, or not, is told to those who may look.
		if denied := readers(c); denied != nil {
			return nil, denied
		}
	}
	return out, err
}

// dispatch looks the object up and runs the method. It is the daemon that
// does: who may do something to an object need not be allowed to look at it.
func (c *call) dispatch() (out []any, err error) {
	c.object, err = c.resolve(asDaemon(c.ctx), c.path)
	if err != nil {
		return nil, err
	}
	interfaces := slices.Clone(standardInterfaces)
	if c.object.iface != "" {
		interfaces = append(interfaces, c.object.iface)
	}
	return c.run(interfaces)
}

// identify asks the bus who calls.
func (c *call) identify() error {
	p, err := c.peer(c.caller.Name)
	if err != nil {
		return err
	}
	c.caller.UID, c.caller.GIDs, c.caller.PID = p.uid, p.gids, p.pid
	c.ctx = engine.WithCaller(p.ctx, c.caller)
	return nil
}

// asDaemon returns a context for what the daemon does on its own behalf.
func asDaemon(ctx context.Context) context.Context { return engine.WithCaller(ctx, engine.Caller{}) }

// run picks the method among the object's interfaces, checks the arguments and
// the caller, and calls the handler.
func (c *call) run(interfaces []string) ([]any, error) {
	if c.iface != "" {
		if !slices.Contains(interfaces, c.iface) {
			return nil, refusal.New(refusal.NameUnknownInterface, "%s has no interface %s", c.path, c.iface)
		}
		interfaces = []string{c.iface}
	}
	for _, iface := range interfaces {
		r, ok := c.methods[iface+"."+c.member]
		m, described := c.catalog.Method(iface, c.member)
		if !ok || !described {
			continue
		}
		if err := c.checkArguments(iface, m); err != nil {
			return nil, err
		}
		if err := r.gate(c); err != nil {
			return nil, err
		}
		return r.handle(c)
	}
	return nil, refusal.New(refusal.NameUnknownMethod, "%s has no method %s", c.path, strings.TrimPrefix(c.iface+"."+c.member, "."))
}

// checkArguments compares the call with the method's description.
func (c *call) checkArguments(iface string, m introspect.Method) error {
	want := catalog.Signature(m, "in")
	got := header[godbus.Signature](c.msg, godbus.FieldSignature).String()
	if got != want {
		return refusal.InvalidArgs("%s.%s takes (%s), not (%s)", iface, c.member, want, got)
	}
	return c.checkDescriptors()
}

// answer sends the reply, and closes the files that it carried and those
// descriptors of the call that no handler took.
func (c *call) answer(out []any, err error) {
	defer func() {
		c.closeReceived()
		for _, f := range c.files {
			_ = f.Close() // the bus has its own by now
		}
	}()
	if c.msg.Flags&godbus.FlagNoReplyExpected != 0 {
		return
	}
	reply := &godbus.Message{Type: godbus.TypeMethodReply, Body: out, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldDestination: godbus.MakeVariant(c.caller.Name),
		godbus.FieldReplySerial: godbus.MakeVariant(c.msg.Serial()),
	}}
	if err != nil {
		name, message := values.ErrorName(err)
		reply.Type, reply.Body = godbus.TypeError, []any{message}
		reply.Headers[godbus.FieldErrorName] = godbus.MakeVariant(name)
	}
	if len(reply.Body) > 0 {
		reply.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(reply.Body...))
	}
	if err := c.wire.SendMessage(reply); err != nil && !errors.Is(err, os.ErrClosed) {
		c.log.Warn("bus reply not sent", slog.String("member", c.member), slog.String("error", err.Error()))
	}
}

// waiting returns a context for calls that wait for others: it also ends when
// the service begins to shut down.
func (c *call) waiting() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	stop := context.AfterFunc(c.stopping, func() { cancel(engine.ErrShuttingDown) })
	return ctx, func() { stop(); cancel(nil) }
}

// submit makes a job of the request and answers with its id and path.
func (c *call) submit(q engine.Request) ([]any, error) {
	j, err := c.eng.Submit(c.ctx, q)
	if err != nil {
		return nil, err
	}
	return jobReply(j), nil
}

// jobReply is the answer of every method that makes a job, (uo).
func jobReply(j *engine.Job) []any { return []any{j.ID(), values.JobPath(j.ID())} }

// ask runs a query, or a job that is done at once.
func ask[Q engine.Typed[R], R any](c *call, q Q) (R, error) { return engine.Do(c.ctx, c.eng, q) }

// later answers for members that are part of the interface and whose job is
// still to come.
func later(c *call) ([]any, error) {
	return nil, refusal.New(refusal.NameNotSupported, "%s is not supported yet", c.member)
}

// The bits of the flags argument (systemd's rule: unknown ones are refused).
const flagForce uint64 = 1 << 0

func checkFlags(flags, known uint64) error {
	if flags&^known != 0 {
		return refusal.InvalidArgs("unknown flags: %#x", flags&^known)
	}
	return nil
}
