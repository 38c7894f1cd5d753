// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
)

const (
	rootPath         = dbus.ObjectPath("/org/davit/Engine1")
	managerInterface = davit.BusName + ".Manager"
	jobInterface     = davit.BusName + ".Job"
)

var errNotRunning = errors.New("no Davit engine is on the bus")

// client is a connection to the bus on which the engine is called.
type client struct {
	ctx    context.Context
	conn   *dbus.Conn
	out    io.Writer
	asJSON bool
}

// dial connects to $DBUS_SYSTEM_BUS_ADDRESS, else the system bus.
func dial(ctx context.Context, out io.Writer, asJSON bool) (*client, error) {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the system bus: %w", err)
	}
	return &client{ctx: ctx, conn: conn, out: out, asJSON: asJSON}, nil
}

func (c *client) close() { _ = c.conn.Close() } // everything was answered

// call calls a method of an object of the engine.
func (c *client) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return c.conn.Object(davit.BusName, path).CallWithContext(c.ctx, method, 0, args...)
}

// explain turns the bus's own errors into what they mean here.
func (c *client) explain(err error) error {
	var e dbus.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
		return fmt.Errorf("%w (%s): start it with \"systemctl start davit\"", errNotRunning, davit.BusName)
	case "org.freedesktop.DBus.Error.NoReply":
		return fmt.Errorf("the engine ended before it answered: %w", err)
	case "org.freedesktop.DBus.Error.AccessDenied":
		return fmt.Errorf("permission denied, try as root: %w", err)
	}
	return err
}

// table prints rows below titles, aligned, or the values as JSON.
func (c *client) table(titles string, values any, rows []string) error {
	if c.asJSON {
		return c.printJSON(values)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, line := range append([]string{titles}, rows...) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return fmt.Errorf("cannot print: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

func (c *client) printJSON(v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

func jobID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, usageError{fmt.Errorf("%q is not the number of a job (davitctl list-jobs lists them)", s)}
	}
	return uint32(id), nil
}
