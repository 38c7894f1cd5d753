// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/catalog"
	"github.com/davit-engine/davit/dbus/host"
	"github.com/davit-engine/davit/dbus/quota"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/dbus/wire"
	"github.com/davit-engine/davit/engine"
)

// Timeouts of the connection's life.
const (
	handshakeTimeout = 10 * time.Second
	requestTimeout   = 10 * time.Second // for a request to the bus itself
	drainTimeout     = 3 * time.Second  // for calls in flight at the end
)

// Properties are the facts that the Manager's properties tell and that do not
// change while the daemon runs.
type Properties struct {
	DataRoot      string
	ExecRoot      string
	StorageDriver string
	Slice         string      // that containers are in; "" without systemd
	Sockets       [][2]string // name and address of each listening socket
	Watchdog      time.Duration
	// IdleExit returns after how long without work the daemon exits; 0, or no
	// function, is never.
	IdleExit func() time.Duration
	// LastHealthCheck returns when the daemon last found itself healthy, by
	// CLOCK_MONOTONIC; 0 is never. nil means the same.
	LastHealthCheck func() time.Duration
}

// LogControl is what org.freedesktop.LogControl1(5) shows of the daemon's log,
// and changes.
type LogControl struct {
	Target string // "journal" or "console"
	// Level returns, and SetLevel sets, the least important level that is
	// logged: debug, info, warn or error. Without them the level is info, and
	// stays.
	Level    func() string
	SetLevel func(level string) error
}

// Options of [New].
type Options struct {
	Log        *slog.Logger // nil: nothing is logged
	Address    string       // "" is $DBUS_SYSTEM_BUS_ADDRESS, else the system bus
	Properties Properties
	LogControl LogControl
	// Begin is called when a call or a stream begins, and what it returns when
	// that ends: a daemon with either is not idle. It may be nil.
	Begin func() (end func())
	// DecodeCreate reads the Docker API's configuration of a container, for
	// CreateContainer; without it that is not supported.
	DecodeCreate func(name string, config []byte) (davit.Create, error)
}

// Server serves an engine on the bus.
type Server struct {
	eng     *engine.Engine
	log     *slog.Logger
	opts    Options
	methods map[string]row // by interface.member
	clock   host.Clock
	serial  uint64 // of this run of the daemon
	current atomic.Pointer[session]
}

// New returns a server of the engine. It connects to nothing until
// [Server.Serve].
func New(eng *engine.Engine, opts Options) *Server {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{eng: eng, log: log, opts: opts, methods: methodTable(), clock: host.NewClock(), serial: uint64(time.Now().UnixMicro())}
}

// begin tells the daemon that something begins; what it returns, that it ended.
func (s *Server) begin() (end func()) {
	if s.opts.Begin == nil {
		return func() {}
	}
	return s.opts.Begin()
}

// session is one connection of a server to the bus.
type session struct {
	*Server
	catalog  catalog.Catalog
	wire     *wire.Wire
	conn     *godbus.Conn
	ctx      context.Context // of the connection: ends when it is closed
	stopping context.Context // ends when the service begins to shut down
	peers    peers
	refusals sync.WaitGroup // answers to calls that were not admitted
	streams  sync.WaitGroup // goroutines that serve descriptors of callers
	// By the notices of the engine; only their reader touches them.
	active    int // jobs
	reloading int // jobs that read the configuration

	userCalls, userStreams *quota.Quota // that are in flight, or open

	mu       sync.Mutex
	inflight int
	draining bool
	drained  chan struct{}
}

// Serve connects to the bus, requests [davit.BusName], calls ready and serves
// until ctx ends: it then releases the name, lets the calls in flight end and
// returns nil. It fails with [ErrNoBus] in the chain when there is no bus, with
// [ErrNameTaken] when another process has the name, and when the connection is
// lost.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	sess, err := s.connect(ctx)
	if err != nil {
		return err
	}
	watchers, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	defer sess.close()
	watching.Go(func() { s.eng.Watch(watchers, sess.notice) })
	watching.Go(func() { sess.followEvents(watchers) })
	if err := sess.requestName(ctx); err != nil {
		return err
	}
	s.current.Store(sess)
	defer s.current.CompareAndSwap(sess, nil)
	ready()
	select {
	case <-ctx.Done():
		return sess.drain(ctx)
	case <-sess.conn.Context().Done():
		return errors.New("the connection to the bus was lost")
	}
}

// bare hides the values of a context: Serve is called by a job, and the jobs
// that callers submit are not its children.
type bare struct{ context.Context }

func (bare) Value(any) any { return nil }

// connect opens a session: afterwards calls are served, under the connection's
// unique name.
func (s *Server) connect(ctx context.Context) (*session, error) {
	cat, err := loadCatalog()
	if err != nil {
		return nil, err
	}
	sock, err := wire.Dial(s.opts.Address)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(bare{context.WithoutCancel(ctx)})
	sess := &session{Server: s, catalog: cat, ctx: life, stopping: ctx, drained: make(chan struct{}), userCalls: quota.New(callLimit, userCallLimit), userStreams: quota.New(streamLimit, userStreamLimit)}
	sess.peers.known = map[string]*peer{}
	sess.wire = wire.New(sock, wire.Options{Log: s.log, Calls: sess.accept, Later: sess.refusals.Go})
	sess.conn, err = godbus.NewConn(sess.wire, godbus.WithContext(life), godbus.WithSignalHandler(sess), //nolint:contextcheck // life is ctx without its values and end
		godbus.WithSerialGenerator(sess.wire), godbus.WithAuth(godbus.AuthExternal(strconv.Itoa(os.Geteuid()))))
	if err != nil {
		end()
		_ = sock.Close() // the first error counts
		return nil, fmt.Errorf("cannot use the connection to the bus: %w", err)
	}
	context.AfterFunc(sess.conn.Context(), end) //nolint:contextcheck // the connection is gone when life has ended, and the other way round
	if err := sess.greet(sock); err != nil {
		sess.close()
		return nil, err
	}
	return sess, nil
}

// greet authenticates and subscribes to what the bus tells of callers.
func (s *session) greet(sock *net.UnixConn) error {
	timer := time.AfterFunc(handshakeTimeout, func() { _ = sock.Close() })
	defer timer.Stop()
	if err := s.conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return fmt.Errorf("cannot authenticate to the bus: %w", err)
	}
	if err := s.conn.Hello(); err != nil {
		return fmt.Errorf("cannot register with the bus: %w", err)
	}
	err := s.conn.AddMatchSignal(godbus.WithMatchSender("org.freedesktop.DBus"),
		godbus.WithMatchInterface("org.freedesktop.DBus"), godbus.WithMatchMember("NameOwnerChanged"), godbus.WithMatchArg(2, ""))
	if err != nil {
		return fmt.Errorf("cannot follow who leaves the bus: %w", err)
	}
	return nil
}

func (s *session) requestName(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var reply godbus.RequestNameReply
	err := s.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.RequestName", 0,
		davit.BusName, godbus.NameFlagDoNotQueue).Store(&reply)
	if err != nil {
		return fmt.Errorf("cannot request the bus name %s: %w (is its bus policy installed?)", davit.BusName, err)
	}
	if reply != godbus.RequestNameReplyPrimaryOwner {
		return fmt.Errorf("cannot request the bus name %s: %w (busctl status %[1]s tells which)", davit.BusName, ErrNameTaken)
	}
	return nil
}

// drain releases the name, so that the bus starts a successor for calls that
// come later, and lets the calls end that came before. Whatever was addressed
// to the name before its release has been read when the bus answers.
func (s *session) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := s.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.ReleaseName", 0, davit.BusName).Err
	if err != nil {
		return fmt.Errorf("cannot release the bus name %s: %w", davit.BusName, err)
	}
	s.mu.Lock()
	s.draining = true
	idle := s.inflight == 0
	s.mu.Unlock()
	if idle {
		return nil
	}
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("calls on the bus did not end in %v", drainTimeout)
	}
}

// close ends the connection and waits for what was started for it.
func (s *session) close() {
	_ = s.conn.Close() // it is only read from and written to
	s.peers.close()
	s.mu.Lock()
	idle := s.inflight == 0
	s.draining = true
	s.mu.Unlock()
	if !idle {
		<-s.drained
	}
	s.streams.Wait()
	s.refusals.Wait()
}

// Ping calls the engine's own name through the bus, for a health check.
func (s *Server) Ping(ctx context.Context) error {
	sess := s.current.Load()
	if sess == nil {
		return errors.New("the bus is not being served")
	}
	obj := sess.conn.Object(davit.BusName, values.Root)
	if err := obj.CallWithContext(ctx, peerInterface+".Ping", godbus.FlagNoAutoStart).Err; err != nil {
		return fmt.Errorf("cannot ping %s: %w", davit.BusName, err)
	}
	return nil
}
