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

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// callLimit bounds the calls that are served at one time, waiting ones
// included.
const callLimit = 1024

// call is one method call.
type call struct {
	*session
	ctx           context.Context // ends when the caller leaves the bus
	msg           *godbus.Message
	sender        string
	uid           uint32
	path          godbus.ObjectPath
	iface, member string
	object        object
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
func (s *session) accept(msg *godbus.Message) {
	c := &call{
		session: s, msg: msg, ctx: s.ctx,
		sender: header[string](msg, godbus.FieldSender),
		path:   header[godbus.ObjectPath](msg, godbus.FieldPath),
		iface:  header[string](msg, godbus.FieldInterface),
		member: header[string](msg, godbus.FieldMember),
	}
	if err := s.admit(); err != nil {
		// The wire's reader must not wait for the bus to take an answer.
		s.refusals.Go(func() { c.answer(nil, err) })
		return
	}
	go func() {
		defer s.leave()
		c.answer(c.serve())
	}()
}

// admit counts a call in, unless there are too many or the end has come.
func (s *session) admit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return engine.ErrShuttingDown
	case s.inflight >= callLimit:
		return refuse(limitsExceeded, "%d calls are being served already", callLimit)
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
	p, err := c.peer(c.sender)
	if err != nil {
		return nil, err
	}
	c.uid = p.uid
	c.ctx = engine.WithCaller(p.ctx, engine.Caller{Transport: engine.Bus, UID: p.uid})
	if c.uid != 0 && !c.open() {
		return nil, refuse(accessDenied, "%s is for root only", c.member)
	}
	c.object, err = c.resolve(c.ctx, c.path, c.uid == 0 && c.member == "Introspect")
	if err != nil {
		return nil, err
	}
	interfaces := slices.Clone(standardInterfaces)
	if c.object.iface != "" {
		interfaces = append(interfaces, c.object.iface)
	}
	return c.run(interfaces)
}

// open tells whether the call needs no privilege: it asks for what is the same
// on every machine, or for counts.
func (c *call) open() bool {
	switch c.iface {
	case introspectInterface:
		return static(c.path)
	case propertiesInterface:
		if c.path != rootPath || (c.member != "Get" && c.member != "GetAll") || len(c.msg.Body) == 0 {
			return false
		}
		name, _ := c.msg.Body[0].(string)
		return name == managerInterface
	}
	return false
}

// run picks the method among the object's interfaces, checks the types of the
// arguments and calls the handler.
func (c *call) run(interfaces []string) ([]any, error) {
	if c.iface != "" {
		if !slices.Contains(interfaces, c.iface) {
			return nil, refuse(unknownInterface, "%s has no interface %s", c.path, c.iface)
		}
		interfaces = []string{c.iface}
	}
	for _, iface := range interfaces {
		h := c.methods[iface+"."+c.member]
		m, ok := c.catalog.method(iface, c.member)
		if !ok || h == nil {
			continue
		}
		want := signatureOf(m, "in")
		got := header[godbus.Signature](c.msg, godbus.FieldSignature).String()
		if got != want {
			return nil, refuse(invalidArgs, "%s.%s takes (%s), not (%s)", iface, c.member, want, got)
		}
		return h(c)
	}
	return nil, refuse(unknownMethod, "%s has no method %s", c.path, strings.TrimPrefix(c.iface+"."+c.member, "."))
}

// answer sends the reply, and closes the files that it carried.
func (c *call) answer(out []any, err error) {
	defer func() {
		for _, f := range c.files {
			_ = f.Close() // the bus has its own by now
		}
	}()
	if c.msg.Flags&godbus.FlagNoReplyExpected != 0 {
		return
	}
	reply := &godbus.Message{Type: godbus.TypeMethodReply, Body: out, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldDestination: godbus.MakeVariant(c.sender),
		godbus.FieldReplySerial: godbus.MakeVariant(c.msg.Serial()),
	}}
	if err != nil {
		name, message := errorName(err)
		reply.Type, reply.Body = godbus.TypeError, []any{message}
		reply.Headers[godbus.FieldErrorName] = godbus.MakeVariant(name)
	}
	if len(reply.Body) > 0 {
		reply.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(reply.Body...))
	}
	if err := c.wire.sendMessage(reply); err != nil && !errors.Is(err, os.ErrClosed) {
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
	return []any{j.ID(), jobPath(j.ID())}, nil
}

// ask runs a query.
func ask[Q engine.Typed[R], R any](c *call, q Q) (R, error) { return engine.Do(c.ctx, c.eng, q) }

// The bits of the flags argument (systemd's rule: unknown ones are refused).
const flagForce uint64 = 1 << 0

func checkFlags(flags, known uint64) error {
	if flags&^known != 0 {
		return refuse(invalidArgs, "unknown flags: %#x", flags&^known)
	}
	return nil
}
