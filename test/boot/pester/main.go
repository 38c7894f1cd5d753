// SPDX-License-Identifier: Apache-2.0

// Command pester is a client of the engine that shell tools cannot be: it calls
// at one and the same moment, at awkward moments, with descriptors that nobody
// asked for. The boot tests put it into their guests.
//
//	pester together N           N calls on the bus and N on the socket, all at once
//	pester alternate N PERIOD   N calls in turn on the socket and on the bus, some of them about PERIOD after the last
//	pester open N CONTAINER     N calls that answer with a descriptor, which is closed
//	pester hostile N            N calls that carry descriptors which nobody asked for
//
// It fails with the first call that did not get the answer that it should.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	name    = "org.davit.Engine1"
	root    = dbus.ObjectPath("/org/davit/Engine1")
	manager = name + ".Manager"
	socket  = "/run/davit/davit.sock"
	// within is how long one answer may take: a daemon that is not there is
	// started first.
	within = 30 * time.Second
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pester:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: pester together|alternate|open|hostile N …")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("%q is not a number", args[1])
	}
	switch {
	case args[0] == "together" && len(args) == 2:
		return together(n)
	case args[0] == "alternate" && len(args) == 3:
		period, err := time.ParseDuration(args[2])
		if err != nil {
			return fmt.Errorf("cannot read the period: %w", err)
		}
		return alternate(n, period)
	case args[0] == "open" && len(args) == 3:
		return open(n, args[2])
	case args[0] == "hostile" && len(args) == 2:
		return hostile(n)
	}
	return fmt.Errorf("unknown arguments %q", args)
}

// onSocket makes one request over a connection of its own.
func onSocket() error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://d/containers/json", nil)
	if err != nil {
		return fmt.Errorf("cannot make a request: %w", err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("no answer on the socket: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer on the socket is %s", response.Status)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("the answer on the socket is cut off: %w", err)
	}
	return nil
}

// onBus makes one call on the bus.
func onBus(conn *dbus.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	call := conn.Object(name, root).CallWithContext(ctx, manager+".ListContainers", 0, map[string]dbus.Variant{}, uint64(0))
	if call.Err != nil {
		return fmt.Errorf("no answer on the bus: %w", call.Err)
	}
	return nil
}

func together(n int) error {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return fmt.Errorf("cannot connect to the bus: %w", err)
	}
	defer conn.Close()
	begin := make(chan struct{})
	ended := make(chan error)
	for range n {
		for _, call := range []func() error{onSocket, func() error { return onBus(conn) }} {
			go func() {
				<-begin
				ended <- call()
			}()
		}
	}
	close(begin)
	var errs error
	for range 2 * n {
		errs = errors.Join(errs, <-ended)
	}
	return errs
}

// alternate makes every fourth call at the time when a daemon that exits after
// a period of idleness is about to, or has just.
func alternate(n int, period time.Duration) error {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return fmt.Errorf("cannot connect to the bus: %w", err)
	}
	defer conn.Close()
	var lost error
	for i := range n {
		if i%4 == 3 {
			<-time.After(period*9/10 + rand.N(period/5))
		}
		call := onSocket
		if i%2 == 1 {
			call = func() error { return onBus(conn) }
		}
		if err := call(); err != nil {
			lost = errors.Join(lost, fmt.Errorf("call %d: %w", i+1, err))
		}
	}
	return lost
}

// open makes the calls that answer with a descriptor, in turn.
func open(n int, container string) error {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return fmt.Errorf("cannot connect to the bus: %w", err)
	}
	defer conn.Close()
	engine := conn.Object(name, root)
	var path, job dbus.ObjectPath
	if err := engine.Call(manager+".GetContainer", 0, container).Store(&path); err != nil {
		return fmt.Errorf("cannot find the container: %w", err)
	}
	var id uint32
	if err := engine.Call(manager+".RestartContainer", 0, container, uint64(0), uint64(0)).Store(&id, &job); err != nil {
		return fmt.Errorf("cannot restart the container: %w", err)
	}
	object := conn.Object(name, path)
	none := map[string]dbus.Variant{}
	calls := []func() *dbus.Call{
		func() *dbus.Call { return conn.Object(name, job).Call(name+".Job.OpenOutput", 0, uint64(0)) },
		func() *dbus.Call {
			return engine.Call(manager+".OpenEvents", 0, none, uint64(0), uint64(0), uint64(0))
		},
		func() *dbus.Call { return object.Call(name+".Container.OpenLogs", 0, none, uint64(0)) },
		func() *dbus.Call {
			return object.Call(name+".Container.Attach", 0, []string{"stdout", "stderr"}, uint64(0))
		},
	}
	if err := engine.Call(manager+".WaitJob", 0, id).Err; err != nil {
		return fmt.Errorf("cannot wait for the restart: %w", err)
	}
	for i := range n {
		answer := calls[i%len(calls)]()
		if answer.Err != nil {
			return fmt.Errorf("call %d, %s: %w", i+1, answer.Method, answer.Err)
		}
		if closed := closeAll(answer.Body); closed == 0 {
			return fmt.Errorf("call %d, %s answers with no descriptor: %v", i+1, answer.Method, answer.Body)
		}
	}
	return nil
}

// closeAll closes the descriptors of an answer, however deep, and counts them.
func closeAll(v any) int {
	if fd, ok := v.(dbus.UnixFD); ok {
		_ = os.NewFile(uintptr(fd), "answer").Close()
		return 1
	}
	n := 0
	switch v := reflect.ValueOf(v); v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			n += closeAll(v.Index(i).Interface())
		}
	case reflect.Map:
		for _, value := range v.Seq2() {
			n += closeAll(value.Interface())
		}
	}
	return n
}

// hostile sends descriptors where none belong. Each call has to be refused, by
// the bus or by the engine, and the engine may keep none of them.
func hostile(n int) error {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return fmt.Errorf("cannot connect to the bus: %w", err)
	}
	defer conn.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("cannot open a file: %w", err)
	}
	defer null.Close()
	fd := dbus.UnixFD(null.Fd())
	option := map[string]dbus.Variant{"Platform": dbus.MakeVariant(fd)}
	calls := []struct {
		path   dbus.ObjectPath
		method string
		args   []any
	}{
		{root, "org.freedesktop.DBus.Peer.Ping", []any{fd}},
		{root, "org.freedesktop.DBus.Introspectable.Introspect", []any{fd}},
		{"/nowhere", "a.b.C", []any{fd, fd}},
		{root, manager + ".Nothing", []any{[]dbus.UnixFD{fd, fd, fd}}},
		{root, manager + ".GetJob", []any{fd}},
		{root, manager + ".PullImage", []any{"busybox", option, uint64(0)}},
		{root, manager + ".LoadImages", []any{fd, fd, fd}},
		{root + "/job/_31", name + ".Job.Wait", []any{fd}},
		{root, manager + ".EnqueueJob", []any{"start", "x", option, uint64(0)}},
		{root, "org.freedesktop.DBus.Properties.Set", []any{manager, "Version", dbus.MakeVariant(fd)}},
	}
	for i := range n {
		c := calls[i%len(calls)]
		ctx, cancel := context.WithTimeout(context.Background(), within)
		err := conn.Object(name, c.path).CallWithContext(ctx, c.method, 0, c.args...).Err
		cancel()
		if err == nil {
			return fmt.Errorf("call %d, %s with a descriptor, is answered", i+1, c.method)
		}
		var refused dbus.Error
		if !errors.As(err, &refused) || strings.HasSuffix(refused.Name, ".NoReply") {
			return fmt.Errorf("call %d, %s with a descriptor is not refused: %w", i+1, c.method, err)
		}
	}
	return nil
}
