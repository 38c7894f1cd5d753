// SPDX-License-Identifier: Apache-2.0

// Package exec runs further processes in containers, as sessions that are made,
// started, followed and looked at.
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/events"
	"github.com/davit-engine/davit/service/request"
)

// Host is what is needed of the rest of the engine.
type Host interface {
	Find(ref string) (davit.Container, error)
	// Process returns the process of a container that runs.
	Process(id string) (davit.Process, error)
}

// Sessions has the exec sessions, and the handlers of their jobs: who registers
// them says what their callers need.
type Sessions struct {
	host   Host
	events *events.Log
	newID  func() string

	mu       sync.Mutex
	sessions map[string]*session
	watching sync.WaitGroup // those who follow a process
	done     chan struct{}  // closed by Close
}

// New returns no sessions.
func New(host Host, log *events.Log, newID func() string) *Sessions {
	return &Sessions{host: host, events: log, newID: newID, sessions: map[string]*session{}, done: make(chan struct{})}
}

// Close waits for those who follow sessions. Their processes go on.
func (s *Sessions) Close() {
	close(s.done)
	s.watching.Wait()
}

// session is an exec session with its process.
type session struct {
	mu   sync.Mutex
	rec  davit.Exec
	made time.Time
	proc davit.ExecProcess
	done chan struct{} // closed when the process has ended
}

func (x *session) record() davit.Exec {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rec
}

// Create makes the record of a session.
func (s *Sessions) Create(_ context.Context, _ *engine.Job, q davit.ExecCreate) (string, error) {
	rec, err := s.host.Find(q.Exec.ContainerID)
	if err != nil {
		return "", err
	}
	if len(q.Exec.Cmd) == 0 {
		return "", davit.Errorf(davit.InvalidConfiguration, "No exec command specified")
	}
	if err := enterable(&rec); err != nil {
		return "", err
	}
	if err := request.CheckTexts(&davit.ContainerConfig{Cmd: q.Exec.Cmd, Env: q.Exec.Env, User: q.Exec.User, WorkingDir: q.Exec.WorkingDir}); err != nil {
		return "", err
	}
	if q.Exec.DetachKeys != "" {
		if _, err := request.DetachKeys(q.Exec.DetachKeys); err != nil {
			return "", err
		}
	}
	x := &session{rec: q.Exec, made: time.Now(), done: make(chan struct{})}
	x.rec.ID, x.rec.ContainerID = s.newID(), rec.ID
	if x.rec.User == "" {
		x.rec.User = rec.Config.User
	}
	if x.rec.WorkingDir == "" {
		x.rec.WorkingDir = rec.Config.WorkingDir
	}
	x.rec.Env = request.MergeEnv(rec.Config.Env, q.Exec.Env)
	s.Drop("") // a container may run for years
	s.mu.Lock()
	s.sessions[x.rec.ID] = x
	s.mu.Unlock()
	s.events.Container("exec_create: "+commandLine(x.rec.Cmd), &rec, map[string]string{"execID": x.rec.ID})
	return x.rec.ID, nil
}

// enterable refuses the states of a container in which nothing can run in it,
// in Docker's words.
func enterable(rec *davit.Container) error {
	switch rec.State.Status {
	case davit.StatusRunning:
		return nil
	case davit.StatusPaused:
		return davit.Errorf(davit.ContainerPaused, "container %s is paused, unpause the container before exec", rec.Name)
	case davit.StatusRestarting:
		return davit.Errorf(davit.ContainerBusy, "Container %s is restarting, wait until the container is running", rec.Name)
	}
	return davit.Errorf(davit.ContainerNotRunning, "container %s is not running", rec.ID)
}

// commandLine is what the events of a session say after its action: as
// Docker's, there is a space after the program in any case.
func commandLine(argv []string) string { return argv[0] + " " + strings.Join(argv[1:], " ") }

// find returns a session.
func (s *Sessions) find(id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[id]
	if x == nil {
		return nil, davit.Errorf(davit.NoSuchExec, "No such exec instance: %s", id)
	}
	return x, nil
}

// within returns a session and its container.
func (s *Sessions) within(id string) (*session, davit.Container, error) {
	x, err := s.find(id)
	if err != nil {
		return nil, davit.Container{}, err
	}
	c, err := s.host.Find(x.rec.ContainerID)
	return x, c, err
}

// Session returns the record of a session and of its container.
func (s *Sessions) Session(id string) (davit.Exec, davit.Container, error) {
	x, c, err := s.within(id)
	if err != nil {
		return davit.Exec{}, c, err
	}
	return x.record(), c, nil
}

func attrs(c *davit.Container) []slog.Attr {
	return []slog.Attr{slog.String("container", c.Name), slog.String("container_id", c.ID)}
}

// Start runs the session's process.
func (s *Sessions) Start(ctx context.Context, j *engine.Job, q davit.ExecStart) (davit.Nothing, error) {
	x, c, err := s.within(q.ID)
	if err != nil {
		return davit.Nothing{}, err
	}
	j.Annotate(attrs(&c)...)
	if err := enterable(&c); err != nil {
		return davit.Nothing{}, err
	}
	proc, err := s.host.Process(c.ID)
	if err != nil {
		return davit.Nothing{}, err
	}
	if err := x.claim(q); err != nil {
		return davit.Nothing{}, err
	}
	rec := x.record()
	keys, err := request.DetachKeys(rec.DetachKeys)
	if err != nil {
		return davit.Nothing{}, err
	}
	p, err := proc.Exec(ctx, rec)
	if err != nil {
		return davit.Nothing{}, s.failed(x, q, err)
	}
	s.events.Container("exec_start: "+commandLine(rec.Cmd), &c, map[string]string{"execID": rec.ID})
	x.mu.Lock()
	x.proc, x.rec.Running, x.rec.Pid = p, true, p.Pid()
	x.mu.Unlock()
	s.watching.Go(func() { s.follow(context.WithoutCancel(ctx), x, p) }) // the process may go on when its client has left
	if q.Detach {
		return davit.Nothing{}, nil
	}
	st, err := q.Open(rec.Tty)
	if err != nil {
		return davit.Nothing{}, err
	}
	st = st.Only(rec.AttachStdin, rec.AttachStdout, rec.AttachStderr)
	if !rec.Tty && rec.DetachKeys == "" {
		keys = nil
	}
	st.Detached = func() { s.events.Container("exec_detach", &c, map[string]string{"execID": rec.ID}) }
	return davit.Nothing{}, x.attach(ctx, p, st, keys)
}

// attach copies the session's streams until they end, or until shortly after
// its process has: a child of it that stays in the background may hold them
// open for ever.
func (x *session) attach(ctx context.Context, p davit.ExecProcess, st davit.Streams, keys []byte) error {
	attached, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-x.done:
		case <-attached.Done():
			return
		}
		t := time.NewTimer(settle)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-attached.Done():
		}
	}()
	if err := p.Attach(attached, st, keys); err != nil && (attached.Err() == nil || ctx.Err() != nil) {
		return err
	}
	return x.settled(ctx)
}

// settle bounds how long the end of a session's output waits for its exit
// code, and the other way round: a process may close its output and go on, and
// its children may hold the output open.
const settle = 2 * time.Second

// settled waits until the exit code is known, so that a client that inspects
// the session when its streams end finds it.
func (x *session) settled(ctx context.Context) error {
	t := time.NewTimer(settle)
	defer t.Stop()
	select {
	case <-x.done:
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// claim marks the session started: it can be once.
func (x *session) claim(q davit.ExecStart) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.rec.Running:
		return davit.Errorf(davit.ContainerRunning, "exec command %s is already running", x.rec.ID)
	case x.rec.Started:
		return davit.Errorf(davit.ContainerNotRunning, "exec command %s has already run", x.rec.ID)
	}
	x.rec.Started = true
	if q.ConsoleSize != [2]uint{} {
		x.rec.ConsoleSize = q.ConsoleSize
	}
	return nil
}

// failed tells an attached client through its stream, as Docker does, and
// through the session's exit code.
func (s *Sessions) failed(x *session, q davit.ExecStart, cause error) error {
	x.mu.Lock()
	x.rec.Exit = &davit.Exit{Code: ExitStatus(cause), At: time.Now().UTC(), Error: cause.Error()}
	tty := x.rec.Tty
	x.mu.Unlock()
	close(x.done)
	if davit.CodeOf(cause) != davit.StartFailed {
		return cause
	}
	told := fmt.Errorf("OCI runtime exec failed: %w", cause)
	if q.Detach {
		return told
	}
	st, err := q.Open(tty)
	if err != nil {
		return errors.Join(told, err)
	}
	w := st.Stdout // where Docker says it
	if w == nil {
		w = st.Stderr
	}
	if w == nil {
		return told
	}
	_, err = io.WriteString(w, told.Error()+"\r\n")
	return err
}

// follow records the end of a session.
func (s *Sessions) follow(ctx context.Context, x *session, p davit.ExecProcess) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	exit, err := p.Wait(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		exit = davit.Exit{Code: 255, At: time.Now().UTC(), Error: err.Error()}
	}
	x.mu.Lock()
	x.rec.Running, x.rec.Exit = false, &exit // the pid stays, as Docker's does
	id := x.rec.ID
	x.mu.Unlock()
	close(x.done)
	if c, err := s.host.Find(x.rec.ContainerID); err == nil {
		s.events.Container("exec_die", &c, map[string]string{"execID": id, "exitCode": strconv.Itoa(exit.Code)})
	}
}

// Kill sends a signal to the session's process.
func (s *Sessions) Kill(ctx context.Context, j *engine.Job, q davit.ExecKill) (davit.Nothing, error) {
	x, c, err := s.within(q.ID)
	if err != nil {
		return davit.Nothing{}, err
	}
	j.Annotate(attrs(&c)...)
	sig := int(syscall.SIGKILL)
	if q.Signal != "" {
		if sig, err = request.Signal(q.Signal); err != nil {
			return davit.Nothing{}, err
		}
	}
	x.mu.Lock()
	p, running := x.proc, x.rec.Running
	x.mu.Unlock()
	if !running {
		return davit.Nothing{}, davit.Errorf(davit.ContainerNotRunning, "exec %s is not running", q.ID)
	}
	return davit.Nothing{}, p.Signal(ctx, sig)
}

// Resize sets the size of the session's terminal.
func (s *Sessions) Resize(ctx context.Context, _ *engine.Job, q davit.ExecResize) (davit.Nothing, error) {
	x, err := s.find(q.ID)
	if err != nil {
		return davit.Nothing{}, err
	}
	x.mu.Lock()
	p, running := x.proc, x.rec.Running
	x.mu.Unlock()
	if !running {
		return davit.Nothing{}, davit.Errorf(davit.ContainerNotRunning, "exec %s is not running", q.ID)
	}
	return davit.Nothing{}, p.Resize(ctx, q.Rows, q.Columns)
}

// Inspect gives the session's record.
func (s *Sessions) Inspect(_ context.Context, _ *engine.Job, q davit.ExecInspect) (davit.Exec, error) {
	x, _, err := s.within(q.ID)
	if davit.CodeOf(err) == davit.NoSuchContainer { // removed, and its sessions with it
		err = davit.Errorf(davit.NoSuchExec, "No such exec instance: %s", q.ID)
	}
	if err != nil {
		return davit.Exec{}, err
	}
	return x.record(), nil
}

const (
	// keep is how long an ended session can still be inspected.
	keep = 5 * time.Minute
	// keepMade is how long a session waits for its start. Docker's wait for as
	// long as the container runs, which may be years.
	keepMade = time.Hour
)

// Drop forgets the sessions that a container which has ended never started, and
// old ones.
func (s *Sessions) Drop(containerID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, x := range s.sessions {
		r := x.record()
		old := r.Exit != nil && time.Since(r.Exit.At) > keep
		forgotten := !r.Started && (r.ContainerID == containerID || time.Since(x.made) > keepMade)
		if old || forgotten {
			delete(s.sessions, id)
		}
	}
}

// IDs lists the sessions of a container that run or can be started, in order.
func (s *Sessions) IDs(containerID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for id, x := range s.sessions {
		if r := x.record(); r.ContainerID == containerID && r.Exit == nil {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// ExitStatus is the exit code that a shell would give for a command that could
// not be run: 127 when it was not found, 126 when it cannot be executed.
func ExitStatus(err error) int {
	switch {
	case davit.CodeOf(err) != davit.StartFailed:
		return 128
	case errors.Is(err, os.ErrPermission):
		return 126
	}
	return 127
}
