// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
)

const (
	rootPath            = dbus.ObjectPath("/org/davit/Engine1")
	managerInterface    = davit.BusName + ".Manager"
	jobInterface        = davit.BusName + ".Job"
	containerInterface  = davit.BusName + ".Container"
	execInterface       = davit.BusName + ".Exec"
	propertiesInterface = "org.freedesktop.DBus.Properties"
)

// flagForce is a bit of the flags argument of methods.
const flagForce uint64 = 1 << 0

// noLimit is what the bus has for "none" and "the default" where a number is.
const noLimit uint64 = math.MaxUint64

var (
	errNotRunning = errors.New("no Davit engine is on the bus")
	errDenied     = errors.New("permission denied")
)

// denied is [errDenied] in the words of who refused.
type denied struct{ error }

func (d denied) Unwrap() []error { return []error{errDenied, d.error} }

// client is a connection to the bus on which the engine is called.
type client struct {
	*options
	ctx   context.Context
	conn  *dbus.Conn
	agent *agent
	style style // of what is written to std.out
	flags dbus.Flags
}

// dial connects to $DBUS_SYSTEM_BUS_ADDRESS, else the system bus.
func dial(ctx context.Context, o *options) (*client, error) {
	// The connection outlives an interruption: a job has to be cancelled on it.
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the system bus: %w", err)
	}
	c := &client{options: o, ctx: ctx, conn: conn, style: styleFor(o.std.out, o.color)}
	if !o.noAsk {
		c.flags = dbus.FlagAllowInteractiveAuthorization
		c.agent = startAgent(ctx, o.std)
	}
	return c, nil
}

func (c *client) close() {
	_ = c.conn.Close() // everything was answered
	c.agent.stop()
}

// call calls a method of an object of the engine.
func (c *client) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return c.callIn(c.ctx, path, method, args...)
}

func (c *client) callIn(ctx context.Context, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	// An object of godbus (5.2) drops the flag that says a user can be asked.
	i := strings.LastIndexByte(method, '.')
	m := &dbus.Message{Type: dbus.TypeMethodCall, Flags: c.flags, Body: args, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(davit.BusName), dbus.FieldPath: dbus.MakeVariant(path),
		dbus.FieldInterface: dbus.MakeVariant(method[:i]), dbus.FieldMember: dbus.MakeVariant(method[i+1:]),
	}}
	if len(args) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(args...))
	}
	return <-c.conn.SendWithContext(ctx, m, make(chan *dbus.Call, 1)).Done
}

// manager calls a method of the Manager.
func (c *client) manager(method string, args ...any) *dbus.Call {
	return c.call(rootPath, managerInterface+"."+method, args...)
}

// properties returns those of an interface of an object.
func (c *client) properties(path dbus.ObjectPath, iface string) (properties, error) {
	var values map[string]dbus.Variant
	err := c.call(path, propertiesInterface+".GetAll", iface).Store(&values)
	return values, err
}

// properties are the values of an object's properties by their names. Those
// that an older engine lacks read as zero.
type properties map[string]dbus.Variant

func property[T any](p properties, name string) T {
	v, _ := p[name].Value().(T)
	return v
}

// text returns a property, whatever its type, as it is shown.
func (p properties) text(name string) string {
	v, ok := p[name]
	if !ok {
		return ""
	}
	return printable(fmt.Sprint(v.Value()))
}

// time returns a timestamp, which the bus has in microseconds; zero is none.
func (p properties) time(name string) time.Time { return fromUSec(property[uint64](p, name)) }

func fromUSec(usec uint64) time.Time {
	if usec == 0 || usec > math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}

// plain returns the values for JSON.
func (p properties) plain() map[string]any {
	out := map[string]any{}
	for name, v := range p {
		out[name] = v.Value()
		if id, ok := v.Value().([]byte); ok {
			out[name] = hex.EncodeToString(id) // as sd-id128(3) has it
		}
	}
	return out
}

// explained is an error that [explain] has seen: some commands explain each of
// several errors, which are explained together at the end.
type explained struct{ error }

func (e explained) Unwrap() error { return e.error }

// explain turns the bus's own errors into what they mean here.
func explain(err error) error {
	var e dbus.Error
	var seen explained
	if !errors.As(err, &e) || errors.As(err, &seen) {
		return err
	}
	return explained{meaning(e, err)}
}

func meaning(e dbus.Error, err error) error {
	switch e.Name {
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
		return fmt.Errorf("%w (%s): start it with \"systemctl start davit\"", errNotRunning, davit.BusName)
	case "org.freedesktop.DBus.Error.NoReply":
		return fmt.Errorf("the engine ended before it answered: %w", err)
	case "org.freedesktop.DBus.Error.AccessDenied":
		return denied{err} // it says what is missing
	case "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		return denied{fmt.Errorf("the user has to authenticate: %w", err)}
	case "org.freedesktop.DBus.Error.UnknownMethod":
		return fmt.Errorf("this engine is too old for that: %w", err)
	}
	return err
}

func (c *client) printJSON(v any) error {
	enc := json.NewEncoder(c.std.out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

// say prints a line.
func (c *client) say(format string, args ...any) error {
	if _, err := fmt.Fprintf(c.std.out, format+"\n", args...); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}
