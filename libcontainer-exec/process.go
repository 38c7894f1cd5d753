// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// lostCode is the exit code of a container whose holder was killed: its
// processes were, then, too.
const lostCode = 137

// Process is a container's process, seen through its holder's socket.
type Process struct {
	rt   *Runtime
	id   string
	name string
	dir  string

	updates   chan davit.Update
	released  chan struct{} // closed when nobody wants updates any more
	release1  sync.Once
	following sync.WaitGroup

	mu     sync.Mutex
	client *client // nil when the holder has gone
	queue  []davit.Update
	wake   chan struct{} // has room for one: the queue has grown
	last   davit.Update
	final  bool // last is the end
}

// newProcess takes conn over, unless it is nil.
func (r *Runtime) newProcess(c *davit.Container, conn *protocol.Conn) *Process {
	p := &Process{
		rt: r, id: c.ID, name: c.Name, dir: r.dir(c.ID),
		updates: make(chan davit.Update), released: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if conn != nil {
		p.client = newClient(conn, p.enqueue)
	}
	return p
}

// awaitCreated waits for the container to exist and begins to follow it.
func (p *Process) awaitCreated(ctx context.Context) error {
	created, err := p.client.call(ctx, &protocol.Request{Op: protocol.OpCreated})
	if err != nil {
		if errors.Is(err, os.ErrClosed) {
			err = fmt.Errorf("%w%s", err, lastWords(p.dir))
		}
		return fmt.Errorf("cannot create container %s: %w", p.name, err)
	}
	p.mu.Lock()
	p.last.Pid = created.packet.Pid // the first update may take a moment
	p.mu.Unlock()
	if _, err := p.client.call(ctx, &protocol.Request{Op: protocol.OpSubscribe}); err != nil {
		return fmt.Errorf("cannot follow container %s: %w", p.name, err)
	}
	p.follow(p.client)
	return nil
}

// abortTimeout bounds the wait for a holder to clean up after itself.
const abortTimeout = 10 * time.Second

// answerTimeout bounds the wait for a holder that is to be adopted.
const answerTimeout = 3 * time.Second

// abort lets go of a holder whose container is not wanted, or could not be
// made, and waits for it to leave: until then it may still touch its directory.
func (p *Process) abort(ctx context.Context) {
	ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, _ = p.client.call(ended, &protocol.Request{Op: protocol.OpSignal, Signal: int(unix.SIGKILL), Stop: true}) // refused: it is leaving
	select {
	case <-p.client.ended:
	case <-ended.Done():
	}
	p.release()
}

// maxPoll bounds the pause between attempts to reach a holder that lives.
const maxPoll = time.Second

// reconnect finds the holder, or how the container ended without one.
func (p *Process) reconnect(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errors.New("its monitor lives and does not answer"))
	defer cancel()
	for wait := connectPoll; ; wait = min(2*wait, maxPoll) {
		cl, err := p.subscribe(ctx)
		if err == nil {
			p.setClient(cl)
			p.follow(cl)
			return nil
		}
		gone, goneErr := p.rt.gone(p.id)
		if goneErr != nil {
			return fmt.Errorf("cannot adopt container %s: %w", p.name, goneErr)
		}
		if gone {
			break
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			// As text: a missing socket is not a missing container.
			return fmt.Errorf("cannot adopt container %s: %w (%s)", p.name, context.Cause(ctx), err.Error())
		}
	}
	u, err := p.verdict()
	if err != nil {
		return fmt.Errorf("cannot adopt container %s: %w", p.name, err)
	}
	p.push(u)
	p.follow(nil)
	return nil
}

// subscribe connects to the holder and has it tell of all changes.
func (p *Process) subscribe(ctx context.Context) (*client, error) {
	conn, err := protocol.Dial(filepath.Join(p.dir, protocol.SocketFile))
	if err != nil {
		return nil, err
	}
	cl := newClient(conn, p.enqueue)
	if _, err := cl.call(ctx, &protocol.Request{Op: protocol.OpSubscribe}); err != nil {
		cl.close()
		return nil, err
	}
	return cl, nil
}

// verdict tells how a container whose holder has gone ended. One that was killed
// before it could record anything has its remains removed.
func (p *Process) verdict() (davit.Update, error) {
	var exit protocol.Exit
	var state protocol.State
	stateErr := protocol.ReadFile(filepath.Join(p.dir, protocol.StateFile), &state)
	err := protocol.ReadFile(filepath.Join(p.dir, protocol.ExitFile), &exit)
	if err == nil {
		return davit.Update{
			Status: davit.StatusExited, StartedAt: exit.StartedAt, Restarts: exit.Restarts, Health: p.health(state.Health),
			Exit: davit.Exit{Code: exit.Code, OOMKilled: exit.OOMKilled, At: exit.At, Error: exit.Error},
		}, p.rt.killRemains(p.id)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return davit.Update{}, err
	}
	if stateErr != nil {
		return davit.Update{}, errors.Join(stateErr, p.rt.clearRemains(p.id)) // it never ran
	}
	u := davit.Update{
		Status: davit.StatusDead, StartedAt: state.StartedAt, Restarts: state.Restarts, Health: p.health(state.Health),
		Exit: davit.Exit{Code: lostCode, At: time.Now().UTC(), Error: "the container's monitor was killed"},
	}
	if state.Status == protocol.Exited && state.Exit != nil {
		u.Status, u.Exit = davit.StatusExited, davit.Exit{Code: state.Exit.Code, OOMKilled: state.Exit.OOMKilled, At: state.Exit.At, Error: state.Exit.Error}
	}
	return u, p.rt.killRemains(p.id)
}

// follow delivers updates until the end. cl is nil when that is queued already.
func (p *Process) follow(cl *client) {
	p.following.Go(func() {
		defer p.rt.unregister(p)
		defer close(p.updates)
		if p.deliver(cl) && !p.ended() {
			p.afterLoss() // the connection broke before the end was told
		}
	})
}

// afterLoss connects again as long as the holder lives, and then delivers the
// end.
func (p *Process) afterLoss() {
	for wait := connectPoll; ; wait = min(2*wait, maxPoll) {
		conn, err := protocol.Dial(filepath.Join(p.dir, protocol.SocketFile))
		if err == nil {
			cl := newClient(conn, p.enqueue)
			p.setClient(cl)
			_ = conn.Send(&protocol.Request{Op: protocol.OpSubscribe}) // refused: the reader ends too
			wanted := p.deliver(cl)
			cl.close()
			if !wanted || p.ended() {
				return
			}
		}
		gone, goneErr := p.rt.gone(p.id)
		if gone {
			break
		}
		if wait == maxPoll {
			p.rt.log.Warn("cannot reach the monitor of a container", "container", p.name, "container_id", p.id, "error", errors.Join(err, goneErr))
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.released:
			timer.Stop()
			return
		}
	}
	p.setClient(nil)
	u, err := p.verdict()
	if err != nil {
		p.rt.log.Warn("cannot tell how a container ended", "container", p.name, "container_id", p.id, "error", err)
		u = davit.Update{Status: davit.StatusDead, Exit: davit.Exit{Code: lostCode, At: time.Now().UTC(), Error: "the container's monitor was lost"}}
	}
	p.push(u)
	p.deliver(nil)
}

func (p *Process) setClient(cl *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client = cl
}

// deliver hands the queue to the receiver until it is empty and the
// connection has ended; false when nobody wants it any more.
func (p *Process) deliver(cl *client) bool {
	var ended <-chan struct{}
	if cl != nil {
		ended = cl.ended
	}
	for {
		p.mu.Lock()
		var next davit.Update
		pending := len(p.queue) > 0
		if pending {
			next = p.queue[0]
		}
		p.mu.Unlock()
		switch {
		case pending:
			select {
			case p.updates <- next:
				p.mu.Lock()
				p.queue = p.queue[1:]
				p.mu.Unlock()
			case <-p.released:
				return false
			}
		case ended == nil:
			return true
		default:
			select {
			case <-p.wake:
			case <-ended:
				ended = nil // look once more: it may have been the last words
			case <-p.released:
				return false
			}
		}
	}
}

func (p *Process) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.final
}

// enqueue takes an update from the holder.
func (p *Process) enqueue(s *protocol.State) {
	u := davit.Update{Pid: s.Pid, StartedAt: s.StartedAt, Restarts: s.Restarts, AppArmor: s.AppArmor, Health: p.health(s.Health), OOM: s.OOM}
	if s.Probe != nil {
		u.Probe = &davit.Probe{ID: s.Probe.ID, Ended: s.Probe.Ended, ExitCode: s.Probe.ExitCode}
	}
	switch s.Status {
	case protocol.Created:
		u.Status = davit.StatusCreated
	case protocol.Running:
		u.Status = davit.StatusRunning
	case protocol.Paused:
		u.Status = davit.StatusPaused
	case protocol.Restarting:
		u.Status = davit.StatusRestarting
	case protocol.Exited:
		u.Status = davit.StatusExited
	}
	if s.Exit != nil {
		u.Exit = davit.Exit{Code: s.Exit.Code, OOMKilled: s.Exit.OOMKilled, At: s.Exit.At, Error: s.Exit.Error}
	}
	p.push(u)
}

func (p *Process) push(u davit.Update) {
	p.mu.Lock()
	p.queue = append(p.queue, u)
	p.last = u
	p.final = u.Status == davit.StatusExited || u.Status == davit.StatusDead
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// release lets go of the holder and waits for the process's goroutines.
func (p *Process) release() {
	p.release1.Do(func() { close(p.released) })
	p.mu.Lock()
	cl := p.client
	p.mu.Unlock()
	if cl != nil {
		cl.close()
	}
	p.following.Wait()
	p.rt.unregister(p)
}

// Updates delivers every change of state, the current one first.
func (p *Process) Updates() <-chan davit.Update { return p.updates }

// Pid returns the pid of the container's first process.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.Pid
}

func (p *Process) call(ctx context.Context, req *protocol.Request, fds ...int) (answer, error) {
	p.mu.Lock()
	cl := p.client
	p.mu.Unlock()
	if cl == nil {
		return answer{}, errGone
	}
	return cl.call(ctx, req, fds...)
}

// Netns returns a new descriptor of the container's network namespace.
func (p *Process) Netns(ctx context.Context) (*os.File, error) {
	f, err := p.descriptor(ctx, protocol.OpNetns, "netns:"+davit.ShortID(p.id))
	if err != nil {
		return nil, fmt.Errorf("cannot get the network namespace of container %s: %w", p.name, err)
	}
	return f, nil
}

// descriptor makes a request that is answered with one.
func (p *Process) descriptor(ctx context.Context, op protocol.Op, name string) (*os.File, error) {
	a, err := p.call(ctx, &protocol.Request{Op: op})
	if err == nil && len(a.fds) != 1 {
		err = errors.New("the monitor sent none")
	}
	if err != nil {
		protocol.CloseFDs(a.fds)
		return nil, err
	}
	return os.NewFile(uintptr(a.fds[0]), name), nil
}

// Start lets the first process execute its program.
func (p *Process) Start(ctx context.Context, hold []*os.File) error {
	for len(hold) > 0 {
		n := min(len(hold), protocol.MaxFDs)
		fds := make([]int, n)
		for i, f := range hold[:n] {
			fds[i] = int(f.Fd())
		}
		if _, err := p.call(ctx, &protocol.Request{Op: protocol.OpHold}, fds...); err != nil {
			return fmt.Errorf("cannot hand the ports of container %s to its monitor: %w", p.name, err)
		}
		hold = hold[n:]
	}
	if _, err := p.call(ctx, &protocol.Request{Op: protocol.OpStart}); err != nil {
		return fmt.Errorf("cannot start container %s: %w", p.name, err)
	}
	return nil
}

// Signal sends a signal to the first process.
func (p *Process) Signal(ctx context.Context, signal int, stop bool) error {
	if _, err := p.call(ctx, &protocol.Request{Op: protocol.OpSignal, Signal: signal, Stop: stop}); err != nil {
		return fmt.Errorf("cannot send signal %d to container %s: %w", signal, p.name, err)
	}
	return nil
}

// Freeze stops all processes of the container, or lets them go on.
func (p *Process) Freeze(ctx context.Context, frozen bool) error {
	op, verb := protocol.OpThaw, "unpause"
	if frozen {
		op, verb = protocol.OpFreeze, "pause"
	}
	if _, err := p.call(ctx, &protocol.Request{Op: op}); err != nil {
		return fmt.Errorf("cannot %s container %s: %w", verb, p.name, err)
	}
	return nil
}

// OpenRoot opens the container's root without its mounts.
func (p *Process) OpenRoot(ctx context.Context) (*os.File, error) {
	f, err := p.descriptor(ctx, protocol.OpRoot, "root:"+davit.ShortID(p.id))
	if err != nil {
		return nil, fmt.Errorf("cannot open the root of container %s: %w", p.name, err)
	}
	return f, nil
}

// Resize sets the size of the container's terminal.
func (p *Process) Resize(ctx context.Context, rows, columns uint) error {
	req := &protocol.Request{Op: protocol.OpResize, Rows: uint16(min(rows, 65535)), Cols: uint16(min(columns, 65535))}
	if _, err := p.call(ctx, req); err != nil {
		return fmt.Errorf("cannot resize the terminal of container %s: %w", p.name, err)
	}
	return nil
}
