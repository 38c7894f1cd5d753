// SPDX-License-Identifier: Apache-2.0

// Package polkit asks polkit(8) what a caller may do.
package polkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/linux"
)

const (
	service    = "org.freedesktop.PolicyKit1"
	object     = godbus.ObjectPath("/org/freedesktop/PolicyKit1/Authority")
	authority  = service + ".Authority"
	defaultBus = "unix:path=/run/dbus/system_bus_socket"

	allowUserInteraction = uint32(1) // AuthorizationFlags
)

// Deadlines. A user who types a password is waited for as long as the caller
// does.
const (
	answerTimeout    = 10 * time.Second
	handshakeTimeout = 5 * time.Second
)

// absent are the errors of a bus on which nobody is polkit, and nobody can be
// started to be it. The last two are systemd's, for a unit that is not there
// or is masked. Whatever else goes wrong is no sign that there is none.
var absent = map[string]bool{
	"org.freedesktop.DBus.Error.ServiceUnknown": true,
	"org.freedesktop.DBus.Error.NameHasNoOwner": true,
	"org.freedesktop.systemd1.NoSuchUnit":       true,
	"org.freedesktop.systemd1.UnitMasked":       true,
}

// Client is a client of polkit on the system bus, with a connection of its own
// that is made when it is first needed and again when it was lost. Its methods
// may be called from any goroutine.
type Client struct {
	address string
	answer  time.Duration

	mu     sync.Mutex
	conn   *godbus.Conn
	asked  uint64
	closed bool
}

// Options of [New].
type Options struct {
	Address string        // "" is $DBUS_SYSTEM_BUS_ADDRESS, else the system bus
	Answer  time.Duration // how long an answer that needs no user may take; 0 is 10 s
}

// New returns a client. It connects to nothing yet.
func New(o Options) *Client {
	if o.Address == "" {
		o.Address = os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	}
	if o.Address == "" {
		o.Address = defaultBus
	}
	if o.Answer == 0 {
		o.Answer = answerTimeout
	}
	return &Client{address: o.Address, answer: o.Answer}
}

// Close ends the connection, and what waits for an answer.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// Check tells whether polkit allows the action, one of [davit.Actions], to the
// caller. It fails with code NoAuthority when the host has no polkit, and with
// AuthenticationRequired when the user would have to authenticate.
func (c *Client) Check(ctx context.Context, who engine.Caller, action string, details map[string]string) (bool, error) {
	subject, err := subjectOf(who)
	if err != nil {
		return false, err
	}
	q := question{subject: subject, action: davit.BusName + "." + action, details: details}
	if who.Interactive {
		q.flags = allowUserInteraction
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.answer, fmt.Errorf("polkit did not answer in %v", c.answer))
		defer cancel()
	}
	a, err := c.ask(ctx, q)
	if errors.Is(err, godbus.ErrClosed) && ctx.Err() == nil { // the bus went away since the last question
		a, err = c.ask(ctx, q)
	}
	switch {
	case err != nil:
		return false, fmt.Errorf("cannot ask polkit about %s: %w", q.action, err)
	case a.Allowed:
		return true, nil
	case a.Challenge:
		return false, davit.Errorf(davit.AuthenticationRequired, "polkit wants the user to authenticate for %s", q.action)
	}
	return false, nil
}

// subject is polkit's: a kind, and what tells which of it.
type subject struct {
	Kind    string
	Details map[string]godbus.Variant
}

// subjectOf says how polkit finds the caller.
func subjectOf(c engine.Caller) (subject, error) {
	if c.Transport == engine.Bus {
		if c.Name == "" {
			return subject{}, davit.Errorf(davit.AccessDenied, "the caller's name on the bus is not known")
		}
		return subject{"system-bus-name", map[string]godbus.Variant{"name": godbus.MakeVariant(c.Name)}}, nil
	}
	if c.PID <= 0 || c.UID == engine.NoUID {
		return subject{}, davit.Errorf(davit.AccessDenied, "the caller's process is not known: it may be in another pid namespace")
	}
	start, err := startOf(c)
	if err != nil {
		return subject{}, err
	}
	return subject{"unix-process", map[string]godbus.Variant{
		"pid":        godbus.MakeVariant(uint32(c.PID)), //nolint:gosec // positive, checked above
		"start-time": godbus.MakeVariant(start),
		"uid":        godbus.MakeVariant(int32(c.UID)), //nolint:gosec // polkit's signature; it casts back
	}}, nil
}

// startOf returns the start time of the process that connected. The kernel told
// its uid and pid then, and the start time is read now: it may have gone, which
// is refused, and its pid may be another's. That the pid is now of the same user
// is checked, because polkit takes the uid that it is given for the process's.
// So what remains is another process of the same user, who thereby gets at most
// what is granted to that process's session; whoever can start processes there
// could have asked from there.
func startOf(c engine.Caller) (uint64, error) {
	start, err := linux.ProcessStart(c.PID)
	if err == nil {
		var users []uint32
		users, err = linux.ProcessUsers(c.PID)
		if err == nil && !slices.Contains(users, c.UID) {
			return 0, davit.Errorf(davit.AccessDenied, "process %d, which connected as uid %d, is another now", c.PID, c.UID)
		}
	}
	if err == nil { // the two may have been of two processes
		var again uint64
		if again, err = linux.ProcessStart(c.PID); err == nil && again == start {
			return start, nil
		}
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, davit.Errorf(davit.AccessDenied, "process %d, which connected, has gone", c.PID)
	}
	return 0, fmt.Errorf("cannot look at the process that connected: %w", err)
}

type question struct {
	subject subject
	action  string
	details map[string]string
	flags   uint32
}

// answer is polkit's AuthorizationResult.
type answer struct {
	Allowed, Challenge bool
	Details            map[string]string
}

// ask makes one call. When ctx ends first, polkit is told that nobody waits any
// more: its agent may be showing a dialog.
func (c *Client) ask(ctx context.Context, q question) (answer, error) {
	conn, id, err := c.connection()
	if err != nil {
		return answer{}, err
	}
	if q.details == nil {
		q.details = map[string]string{}
	}
	if err := wake(ctx, conn); err != nil {
		return answer{}, err
	}
	var a answer
	obj := conn.Object(service, object)
	err = obj.CallWithContext(ctx, authority+".CheckAuthorization", godbus.FlagNoAutoStart, q.subject, q.action, q.details, q.flags, id).Store(&a)
	if ctx.Err() != nil {
		obj.CallWithContext(context.WithoutCancel(ctx), authority+".CancelCheckAuthorization", godbus.FlagNoReplyExpected, id)
		return answer{}, context.Cause(ctx)
	}
	var refused godbus.Error
	if errors.As(err, &refused) && refused.Name == service+".Error.Failed" {
		return answer{}, fmt.Errorf("%w (is %s.policy in /usr/share/polkit-1/actions?)", err, davit.BusName)
	}
	return a, err
}

// wake starts polkit unless it runs. That it is absent is told by what the bus
// itself answers here, and not by the errors of a question, which polkit passes
// on: it says NameHasNoOwner of a caller who has just left the bus.
func wake(ctx context.Context, conn *godbus.Conn) error {
	var runs bool
	if err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, service).Store(&runs); err != nil || runs {
		return errors.Join(err, context.Cause(ctx))
	}
	err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.StartServiceByName", 0, service, uint32(0)).Err
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var refused godbus.Error
	if errors.As(err, &refused) && absent[refused.Name] {
		return davit.Errorf(davit.NoAuthority, "there is no polkit on the bus: %w", err)
	}
	return err
}

// connection returns the connection, made anew if it has to be, and a name for
// a question on it.
func (c *Client) connection() (*godbus.Conn, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, "", errors.New("the daemon ends")
	}
	if c.conn == nil || !c.conn.Connected() {
		conn, err := dial(c.address)
		if err != nil {
			return nil, "", err
		}
		c.conn = conn
	}
	c.asked++
	return c.conn, "davit-" + strconv.FormatUint(c.asked, 10), nil
}

func dial(address string) (*godbus.Conn, error) {
	conn, err := godbus.Dial(address)
	switch {
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, davit.Errorf(davit.NoAuthority, "there is no system bus, and so no polkit: %w", err)
	case err != nil:
		return nil, fmt.Errorf("cannot connect to the bus at %s: %w", address, err)
	}
	timer := time.AfterFunc(handshakeTimeout, func() { _ = conn.Close() }) // ends the handshake with an error
	defer timer.Stop()
	err = conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if err != nil {
		_ = conn.Close() // the first error counts
		return nil, fmt.Errorf("cannot register with the bus at %s: %w", address, err)
	}
	return conn, nil
}
