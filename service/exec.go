// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/request"
)

// execSession is an exec session with its process.
type execSession struct {
	mu   sync.Mutex
	rec  davit.Exec
	proc davit.ExecProcess
	done chan struct{} // closed when the process has ended
}

func (x *execSession) record() davit.Exec {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rec
}

// execCreate makes the record of a session.
func (s *Service) execCreate(_ context.Context, _ *engine.Job, q davit.ExecCreate) (string, error) {
	c, err := s.find(q.Exec.ContainerID)
	if err != nil {
		return "", err
	}
	if len(q.Exec.Cmd) == 0 {
		return "", invalid("No exec command specified")
	}
	rec := c.record()
	switch {
	case rec.State.Status == davit.StatusPaused:
		return "", davit.Errorf(davit.ContainerPaused, "container %s is paused, unpause the container before exec", rec.Name)
	case rec.State.Status != davit.StatusRunning:
		return "", davit.Errorf(davit.ContainerNotRunning, "container %s is not running", rec.ID)
	}
	if err := request.CheckTexts(&davit.ContainerConfig{Cmd: q.Exec.Cmd, Env: q.Exec.Env, User: q.Exec.User, WorkingDir: q.Exec.WorkingDir}); err != nil {
		return "", err
	}
	if q.Exec.DetachKeys != "" {
		if _, err := parseDetachKeys(q.Exec.DetachKeys); err != nil {
			return "", err
		}
	}
	x := &execSession{rec: q.Exec, done: make(chan struct{})}
	x.rec.ID, x.rec.ContainerID = newID(), c.id
	if x.rec.User == "" {
		x.rec.User = rec.Config.User
	}
	if x.rec.WorkingDir == "" {
		x.rec.WorkingDir = rec.Config.WorkingDir
	}
	x.rec.Env = request.MergeEnv(rec.Config.Env, q.Exec.Env)
	s.dropExecs("") // a container may run for years
	s.mu.Lock()
	s.execs[x.rec.ID] = x
	s.mu.Unlock()
	s.emitContainer("exec_create: "+strings.Join(x.rec.Cmd, " "), c, map[string]string{"execID": x.rec.ID})
	return x.rec.ID, nil
}

func (s *Service) findExec(id string) (*execSession, *container, error) {
	s.mu.Lock()
	x := s.execs[id]
	s.mu.Unlock()
	if x == nil {
		return nil, nil, davit.Errorf(davit.NoSuchExec, "No such exec instance: %s", id)
	}
	c, err := s.find(x.rec.ContainerID)
	return x, c, err
}

// execStart runs the session's process.
func (s *Service) execStart(ctx context.Context, j *engine.Job, q davit.ExecStart) (davit.Nothing, error) {
	x, c, err := s.findExec(q.ID)
	if err != nil {
		return davit.Nothing{}, err
	}
	j.Annotate(c.attrs()...)
	proc, err := c.process()
	if err != nil {
		return davit.Nothing{}, err
	}
	if c.record().State.Status == davit.StatusPaused {
		return davit.Nothing{}, davit.Errorf(davit.ContainerPaused, "container %s is paused, unpause the container before exec", c.name())
	}
	if err := x.claim(q); err != nil {
		return davit.Nothing{}, err
	}
	rec := x.record()
	keys, err := parseDetachKeys(rec.DetachKeys)
	if err != nil {
		return davit.Nothing{}, err
	}
	p, err := proc.Exec(ctx, rec)
	if err != nil {
		return davit.Nothing{}, s.execFailed(x, q, err)
	}
	s.emitContainer("exec_start: "+strings.Join(rec.Cmd, " "), c, map[string]string{"execID": rec.ID})
	x.mu.Lock()
	x.proc, x.rec.Running, x.rec.Pid = p, true, p.Pid()
	x.mu.Unlock()
	s.watching.Go(func() { s.followExec(c, x, p) }) //nolint:contextcheck // it outlives the job: the process may go on when its client has left
	if q.Detach {
		return davit.Nothing{}, nil
	}
	st, err := q.Open(rec.Tty)
	if err != nil {
		return davit.Nothing{}, err
	}
	st = selectStreams(st, rec.AttachStdin, rec.AttachStdout, rec.AttachStderr)
	if !rec.Tty && rec.DetachKeys == "" {
		keys = nil
	}
	return davit.Nothing{}, x.attach(ctx, p, st, keys)
}

// attach copies the session's streams until they end, or until shortly after
// its process has: a child of it that stays in the background may hold them
// open for ever.
func (x *execSession) attach(ctx context.Context, p davit.ExecProcess, st davit.Streams, keys []byte) error {
	attached, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-x.done:
		case <-attached.Done():
			return
		}
		t := time.NewTimer(execSettle)
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

// execSettle bounds how long the end of a session's output waits for its exit
// code, and the other way round: a process may close its output and go on, and
// its children may hold the output open.
const execSettle = 2 * time.Second

// settled waits until the exit code is known, so that a client that inspects
// the session when its streams end finds it.
func (x *execSession) settled(ctx context.Context) error {
	t := time.NewTimer(execSettle)
	defer t.Stop()
	select {
	case <-x.done:
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// claim marks the session started: it can be once.
func (x *execSession) claim(q davit.ExecStart) error {
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

// execFailed tells an attached client through its stream, as Docker does, and
// through the session's exit code.
func (s *Service) execFailed(x *execSession, q davit.ExecStart, cause error) error {
	x.mu.Lock()
	x.rec.Exit = &davit.Exit{Code: exitStatusOf(cause), At: time.Now().UTC(), Error: cause.Error()}
	tty := x.rec.Tty
	x.mu.Unlock()
	close(x.done)
	if q.Detach || davit.CodeOf(cause) != davit.StartFailed {
		return cause
	}
	st, err := q.Open(tty)
	if err != nil {
		return errors.Join(cause, err)
	}
	w := st.Stderr
	if w == nil {
		w = st.Stdout
	}
	if w == nil {
		return cause
	}
	_, err = io.WriteString(w, "OCI runtime exec failed: "+cause.Error()+"\r\n")
	return err
}

// followExec records the end of a session.
func (s *Service) followExec(c *container, x *execSession, p davit.ExecProcess) {
	ctx, cancel := context.WithCancel(s.base)
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
	x.rec.Running, x.rec.Pid, x.rec.Exit = false, 0, &exit
	id := x.rec.ID
	x.mu.Unlock()
	close(x.done)
	s.emitContainer("exec_die", c, map[string]string{"execID": id, "exitCode": itoa(exit.Code)})
}

// execKill sends a signal to the session's process.
func (s *Service) execKill(ctx context.Context, j *engine.Job, q davit.ExecKill) (davit.Nothing, error) {
	x, c, err := s.findExec(q.ID)
	if err != nil {
		return davit.Nothing{}, err
	}
	j.Annotate(c.attrs()...)
	sig := sigKill
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

func (s *Service) execResize(ctx context.Context, _ *engine.Job, q davit.ExecResize) (davit.Nothing, error) {
	x, _, err := s.findExec(q.ID)
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

func (s *Service) execInspect(_ context.Context, _ *engine.Job, q davit.ExecInspect) (davit.Exec, error) {
	s.mu.Lock()
	x := s.execs[q.ID]
	s.mu.Unlock()
	if x == nil {
		return davit.Exec{}, davit.Errorf(davit.NoSuchExec, "No such exec instance: %s", q.ID)
	}
	return x.record(), nil
}

// execKeep is how long an ended session can still be inspected.
const execKeep = 5 * time.Minute

// dropExecs forgets the sessions of a container that has ended, and old ones.
func (s *Service) dropExecs(containerID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, x := range s.execs {
		r := x.record()
		old := r.Exit != nil && time.Since(r.Exit.At) > execKeep
		if old || (r.ContainerID == containerID && !r.Started) {
			delete(s.execs, id)
		}
	}
}

// execIDs lists the running sessions of a container.
func (s *Service) execIDs(containerID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for id, x := range s.execs {
		if r := x.record(); r.ContainerID == containerID && r.Running {
			out = append(out, id)
		}
	}
	return out
}
