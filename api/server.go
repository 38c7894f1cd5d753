// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/linux"
)

// Socket is a listening socket and its class.
type Socket struct {
	Name     string // davit.DoorAPI, DoorReadOnly or DoorTLS
	Listener net.Listener
}

// Options of a [Server].
type Options struct {
	Log *slog.Logger
	// Sockets are served, and closed, by Serve.
	Sockets []Socket
	// RequestTimeout bounds the reading of a request's header and of a JSON
	// body; 0 is one minute. What streams in a body is not bounded.
	RequestTimeout time.Duration
	// DrainTimeout bounds how long Serve waits for handlers that wait for
	// their jobs before it cuts their connections; 0 is eight seconds, a
	// little more than the engine's own drain.
	DrainTimeout time.Duration
	// Begin is called when a connection was accepted, and again for each
	// request; what it returns is called, once, when that is over. A connection
	// is counted before the next is accepted. nil: nobody counts.
	Begin func() (end func())
}

// Server serves the REST API.
type Server struct {
	eng    *engine.Engine
	log    *slog.Logger
	opts   Options
	routes *router
	open   chan struct{} // closed by Open
	once   sync.Once
	calls  calls
	inline func() map[string]bool // types of jobs that run within Submit
}

// New returns a server with a closed gate: requests wait until [Server.Open].
func New(eng *engine.Engine, opts Options) *Server {
	if opts.RequestTimeout == 0 {
		opts.RequestTimeout = time.Minute
	}
	if opts.DrainTimeout == 0 {
		opts.DrainTimeout = 8 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Begin == nil {
		opts.Begin = func() func() { return func() {} }
	}
	s := &Server{eng: eng, log: opts.Log, opts: opts, routes: newRouter(routes()), open: make(chan struct{})}
	s.calls.init()
	s.inline = sync.OnceValue(func() map[string]bool {
		out := map[string]bool{}
		for _, t := range eng.Types() {
			out[t.Name] = t.Class == engine.Query
		}
		return out
	})
	return s
}

// Open lets requests through, those that wait included. It is idempotent.
func (s *Server) Open() { s.once.Do(func() { close(s.open) }) }

// Serve serves all sockets until ctx ends or one of them fails, and calls
// ready when they are served. It then stops accepting, ends idle and hijacked
// connections and what follows events or logs, waits for the other handlers,
// and returns nil, or the listener's failure. A server serves once.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	servers := make([]*http.Server, len(s.opts.Sockets))
	for i, sock := range s.opts.Sockets {
		if !slices.Contains([]string{davit.DoorAPI, davit.DoorReadOnly, davit.DoorTLS}, sock.Name) {
			s.closeSockets()
			return fmt.Errorf("cannot serve socket %s: %q is none of the classes %s, %s, %s", sock.Listener.Addr(), sock.Name, davit.DoorAPI, davit.DoorReadOnly, davit.DoorTLS)
		}
		servers[i] = s.httpServer(sock)
	}
	failed := make(chan error, len(servers))
	var accepting sync.WaitGroup
	for i, srv := range servers {
		accepting.Go(func() {
			l := s.opts.Sockets[i].Listener
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("cannot accept connections on %s: %w", l.Addr(), err)
			}
		})
	}
	if ready != nil {
		ready()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.stop(ctx, servers)
	accepting.Wait()
	return err
}

func (s *Server) closeSockets() {
	for _, sock := range s.opts.Sockets {
		_ = sock.Listener.Close() // nothing was accepted yet
	}
}

// httpServer returns the server of one socket.
func (s *Server) httpServer(sock Socket) *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(sock.Name, w, r) }),
		ReadHeaderTimeout: s.opts.RequestTimeout,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState:         newConnections(s.opts.Begin).state,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return engine.WithCaller(ctx, s.caller(sock.Name, conn))
		},
	}
}

// stop ends the servers and waits for all handlers. Handlers of change jobs
// get the drain timeout to hear of their job's end.
func (s *Server) stop(ctx context.Context, servers []*http.Server) {
	s.calls.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.DrainTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, srv := range servers {
		wg.Go(func() {
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close() // what is left is cut; nothing can be done about a failing close
			}
		})
	}
	wg.Wait()
	<-s.calls.none
}

// caller says who connected to a socket of the class. Over TCP that is not
// known: such a caller is nobody, but for the certificate that the class
// api-tls demands.
func (s *Server) caller(class string, conn net.Conn) engine.Caller {
	c := engine.Caller{Transport: engine.REST, Door: class, UID: engine.NoUID, GIDs: []uint32{}}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return c
	}
	peer, err := linux.PeerOf(unix)
	if err != nil {
		s.log.Warn("client unknown", slog.Any("error", err))
		return c
	}
	c.UID, c.GIDs, c.PID = peer.UID, peer.GIDs, peer.PID
	return c
}

// Probe asks the server for /_ping through its own first socket of class api
// (or api-ro, when there is no other), as a client would. It fails unless the
// answer is good. Before [Server.Open] it waits like any other request.
func (s *Server) Probe(ctx context.Context) error {
	l := s.probed()
	if l == nil {
		return errors.New("cannot probe the API: no socket without TLS is served")
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://davit/_ping", nil)
	if err != nil {
		return fmt.Errorf("cannot probe the API: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("cannot probe the API on %s: %w", l.Addr(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	if err != nil || resp.StatusCode != http.StatusOK || string(body) != "OK" {
		return fmt.Errorf("cannot probe the API on %s: answer %s %q", l.Addr(), resp.Status, body)
	}
	return nil
}

func (s *Server) probed() net.Listener {
	for _, class := range []string{davit.DoorAPI, davit.DoorReadOnly} {
		for _, sock := range s.opts.Sockets {
			if sock.Name == class {
				return sock.Listener
			}
		}
	}
	return nil
}

// calls counts the handlers that run, and ends those that would otherwise
// last as long as their client wants.
type calls struct {
	mu      sync.Mutex
	running int
	ending  chan struct{} // closed by end
	none    chan struct{} // closed when ending and none runs
	follows map[*context.CancelFunc]struct{}
}

func (c *calls) init() {
	c.ending, c.none = make(chan struct{}), make(chan struct{})
	c.follows = map[*context.CancelFunc]struct{}{}
}

// begin counts a handler in; it refuses once the end has begun.
func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ending:
		return false
	default:
		c.running++
		return true
	}
}

func (c *calls) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	c.settle()
}

func (c *calls) settle() {
	select {
	case <-c.ending:
		if c.running == 0 {
			close(c.none)
		}
	default:
	}
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.ending)
	for cancel := range c.follows {
		(*cancel)()
	}
	c.settle()
}

// follow returns a context that ends with ctx, with the returned function,
// and when the server stops.
func (c *calls) follow(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ending:
		cancel()
	default:
		c.follows[&cancel] = struct{}{}
	}
	return ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.follows, &cancel)
		cancel()
	}
}
