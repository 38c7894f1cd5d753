// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/davit-engine/davit"
)

// Runtime is a fake [service.Runtime]. Its monitors outlive a service, as
// real ones outlive the daemon.
type Runtime struct {
	Faults
	mu       sync.Mutex
	monitors map[string]*Monitor
	lastPid  int
}

// NewRuntime returns a runtime without containers.
func NewRuntime() *Runtime { return &Runtime{monitors: map[string]*Monitor{}, lastPid: 1000} }

// Monitor is a fake monitor, to make its container do something.
type Monitor struct {
	rt     *Runtime
	Launch davit.Launch // as the service gave it

	mu      sync.Mutex
	state   davit.Update
	prog    *program
	final   bool  // state is the end
	stopped bool  // the restart policy no longer applies
	waiting []int // signals that a frozen program has not seen
	handles []*process
	signals []int
	held    int // sockets of Start
	resized [2]uint
	execs   []*execProcess
	policy  davit.RestartPolicy
	limits  davit.Resources

	measured uint64 // calls of Stats
}

// process is one daemon's connection to a monitor.
type process struct {
	*Monitor
	updates chan davit.Update
}

// manyUpdates is more than any test causes: a fake does not wait for readers.
const manyUpdates = 512

// Name implements [service.Runtime].
func (r *Runtime) Name() string { return "fake" }

// Monitor returns the monitor of a container; nil when there is none.
func (r *Runtime) Monitor(id string) *Monitor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.monitors[id]
}

// Reboot is the host going down: monitors and records of exits are gone.
func (r *Runtime) Reboot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.monitors = map[string]*Monitor{}
}

func (r *Runtime) nextPid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastPid++
	return r.lastPid
}

// Create implements [service.Runtime].
func (r *Runtime) Create(ctx context.Context, l davit.Launch) (davit.Process, error) {
	if err := r.enterContext(ctx, "Create", l.Container.ID); err != nil {
		return nil, err
	}
	if err := checkProgram(l.Container.Path); err != nil {
		return nil, err
	}
	m := &Monitor{rt: r, Launch: l, policy: l.Container.HostConfig.RestartPolicy, state: davit.Update{Status: davit.StatusCreated, Pid: r.nextPid()}}
	m.newProgram()
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.monitors[l.Container.ID]; old != nil && !old.ended() {
		return nil, davit.Errorf(davit.ContainerRunning, "container %s has a monitor", l.Container.ID)
	}
	r.monitors[l.Container.ID] = m
	return m.connect(), nil
}

// Adopt implements [service.Runtime].
func (r *Runtime) Adopt(ctx context.Context, c *davit.Container) (davit.Process, error) {
	if err := r.enterContext(ctx, "Adopt", c.ID); err != nil {
		return nil, err
	}
	m := r.Monitor(c.ID)
	if m == nil {
		return nil, fmt.Errorf("cannot adopt container %s: %w", c.ID, os.ErrNotExist)
	}
	return m.connect(), nil
}

// Known implements [service.Runtime].
func (r *Runtime) Known() ([]string, error) {
	if err := r.enter("Known", ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.monitors)), nil
}

// Forget implements [service.Runtime].
func (r *Runtime) Forget(id string) error {
	if err := r.enter("Forget", id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.monitors[id]; m != nil && !m.ended() {
		return davit.Errorf(davit.ContainerRunning, "container %s still has its monitor", id)
	}
	delete(r.monitors, id)
	return nil
}

// Top implements [service.Runtime].
func (r *Runtime) Top(ctx context.Context, id string, args []string) (davit.ProcessTable, error) {
	if err := r.enterContext(ctx, "Top", fmt.Sprint(id, args)); err != nil {
		return davit.ProcessTable{}, err
	}
	m := r.Monitor(id)
	if m == nil {
		return davit.ProcessTable{}, davit.Errorf(davit.ContainerNotRunning, "container %s is not running", id)
	}
	return davit.ProcessTable{Titles: []string{"PID", "CMD"}, Processes: [][]string{{fmt.Sprint(m.Pid()), m.Launch.Container.Path}}}, nil
}

// connect returns a new handle whose first update is the current state.
func (m *Monitor) connect() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &process{Monitor: m, updates: make(chan davit.Update, manyUpdates)}
	p.updates <- m.state
	if m.final {
		close(p.updates)
	} else {
		m.handles = append(m.handles, p)
	}
	return p
}

// publish tells all handles of a new state; the final one ends them.
func (m *Monitor) publish(u davit.Update, final bool) {
	m.mu.Lock()
	if m.final {
		m.mu.Unlock()
		return
	}
	m.state, m.final = u, final
	m.state.Probe, m.state.OOM = nil, false // told once
	for _, p := range m.handles {
		p.updates <- u
		if final {
			close(p.updates)
		}
	}
	var execs []*execProcess
	if final {
		m.handles, execs = nil, m.execs
	}
	m.mu.Unlock()
	for _, x := range execs {
		x.prog.exit(128 + sigKill) // with the container's first process
	}
}

func (m *Monitor) newProgram() {
	c := m.Launch.Container
	m.prog = newProgram(append([]string{c.Path}, c.Args...), c.Config.Tty, c.Config.OpenStdin, m.exited)
}

// exited applies the restart policy.
func (m *Monitor) exited(code int) {
	m.mu.Lock()
	policy, u := m.policy, m.state
	u.Exit = davit.Exit{Code: code, At: time.Now().UTC()}
	again := u.Status == davit.StatusRunning && !m.stopped
	switch policy.Name {
	case "always", "unless-stopped":
	case "on-failure":
		again = again && code != 0 && (policy.MaximumRetryCount == 0 || u.Restarts < policy.MaximumRetryCount)
	default:
		again = false
	}
	m.mu.Unlock()
	u.Pid = 0
	if !again {
		u.Status = davit.StatusExited
		m.publish(u, true)
		return
	}
	u.Status = davit.StatusRestarting
	m.publish(u, false)
	m.mu.Lock()
	m.newProgram()
	prog := m.prog
	m.mu.Unlock()
	m.publish(davit.Update{Status: davit.StatusRunning, Pid: m.rt.nextPid(), StartedAt: time.Now().UTC(), Restarts: u.Restarts + 1, Health: m.startingHealth()}, false)
	m.execute(prog)
}

// execute begins the container's program.
func (m *Monitor) execute(prog *program) {
	prog.begin()
	if prog.script() == ShellHungry {
		m.mu.Lock()
		u := m.state
		m.mu.Unlock()
		u.OOM = true
		m.publish(u, false)
	}
}

func (m *Monitor) program() *program {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.prog
}

// Exit ends the container's program by itself.
func (m *Monitor) Exit(code int) { m.program().exit(code) }

// Write has the program print.
func (m *Monitor) Write(out, errs string) { m.program().write(out, errs) }

// Lose is the monitor killed together with its container.
func (m *Monitor) Lose() {
	m.publish(davit.Update{Status: davit.StatusDead, Exit: davit.Exit{Code: 128 + sigKill, At: time.Now().UTC(), Error: "the monitor was killed"}}, true)
	m.program().exit(0) // ends those who are attached; publish ignores it
}

// Freeze implements [davit.Freezer].
func (m *Monitor) Freeze(ctx context.Context, frozen bool) error {
	if err := m.begin(ctx, "Freeze", fmt.Sprint(frozen)); err != nil {
		return err
	}
	m.mu.Lock()
	u, from := m.state, davit.StatusPaused
	if frozen {
		from = davit.StatusRunning
	}
	m.mu.Unlock()
	switch u.Status {
	case davit.StatusRunning, davit.StatusPaused:
	default:
		return davit.Errorf(davit.ContainerNotRunning, "container %s is not running", m.Launch.Container.Name)
	}
	if u.Status != from {
		return nil
	}
	u.Status = davit.StatusRunning
	if frozen {
		u.Status = davit.StatusPaused
	}
	m.publish(u, false)
	m.mu.Lock()
	waiting, prog := m.waiting, m.prog
	if !frozen {
		m.waiting = nil
	}
	m.mu.Unlock()
	for _, signal := range waiting {
		prog.signal(signal)
	}
	return nil
}

// Update implements [davit.Updater]: it keeps what it was given.
func (m *Monitor) Update(ctx context.Context, r davit.Resources, policy *davit.RestartPolicy) error {
	if err := m.begin(ctx, "Update", fmt.Sprint(r.Memory)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limits = r
	if policy != nil {
		m.policy = *policy
	}
	return nil
}

// Limits returns what the last update gave, but for its policy.
func (m *Monitor) Limits() davit.Resources {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limits
}

// OpenRoot implements [davit.RootOpener].
func (m *Monitor) OpenRoot(ctx context.Context) (*os.File, error) {
	if err := m.begin(ctx, "OpenRoot", ""); err != nil {
		return nil, err
	}
	return os.Open(m.Launch.Rootfs.Target)
}

// Stats implements [service.Meter] with numbers that grow at each call.
func (r *Runtime) Stats(ctx context.Context, id string) (davit.ContainerStats, error) {
	if err := r.enterContext(ctx, "Stats", id); err != nil {
		return davit.ContainerStats{}, err
	}
	m := r.Monitor(id)
	if m == nil || m.Pid() == 0 {
		return davit.ContainerStats{}, davit.Errorf(davit.ContainerNotRunning, "container %s is not running", id)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.measured++
	return davit.ContainerStats{
		Read: time.Now().UTC(), CPU: davit.CPUStats{Usage: m.measured * 1000}, SystemCPU: m.measured * 100_000, Processors: 2,
		Memory: davit.MemoryStats{Usage: 4096, Limit: math.MaxUint64, Raw: map[string]uint64{"cache": 0}},
		Pids:   davit.PidsStats{Current: 1}, Networks: map[string]davit.LinkStats{"eth0": {RxBytes: m.measured}},
	}, nil
}

// Owner implements [service.Meter].
func (r *Runtime) Owner(pid int) (string, error) {
	if err := r.enter("Owner", fmt.Sprint(pid)); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, m := range r.monitors {
		m.mu.Lock()
		mine := m.state.Pid == pid || slices.ContainsFunc(m.execs, func(x *execProcess) bool { return x.pid == pid })
		m.mu.Unlock()
		if mine {
			return id, nil
		}
	}
	return "", fmt.Errorf("process %d is in no container: %w", pid, os.ErrNotExist)
}

// Signals returns the signals that came so far.
func (m *Monitor) Signals() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.signals)
}

// Held returns how many sockets the monitor keeps.
func (m *Monitor) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held
}

// Size returns what the terminal was last resized to: rows, columns.
func (m *Monitor) Size() [2]uint {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resized
}

func (m *Monitor) ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.final
}

// Pid implements [davit.Process].
func (m *Monitor) Pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Pid
}

func (m *Monitor) begin(ctx context.Context, method, arg string) error {
	if err := m.rt.enterContext(ctx, method, arg); err != nil {
		return err
	}
	if m.ended() {
		return fmt.Errorf("container %s has no monitor: %w", m.Launch.Container.Name, os.ErrClosed)
	}
	return nil
}

// Netns implements [davit.Process]. The namespace is the test's own.
func (m *Monitor) Netns(ctx context.Context) (*os.File, error) {
	if err := m.begin(ctx, "Netns", ""); err != nil {
		return nil, err
	}
	return os.Open("/proc/self/ns/net")
}

// Start implements [davit.Process]. A program that ends at once has ended
// when it returns.
func (m *Monitor) Start(ctx context.Context, hold []*os.File) error {
	if err := m.begin(ctx, "Start", ""); err != nil {
		return err
	}
	m.mu.Lock()
	m.held = len(hold)
	pid, prog := m.state.Pid, m.prog
	m.mu.Unlock()
	m.publish(davit.Update{Status: davit.StatusRunning, Pid: pid, StartedAt: time.Now().UTC(), Health: m.startingHealth()}, false)
	m.checkLater()
	m.execute(prog)
	return nil
}

// Signal implements [davit.Process].
func (m *Monitor) Signal(ctx context.Context, signal int, stop bool) error {
	if err := m.begin(ctx, "Signal", fmt.Sprint(signal, stop)); err != nil {
		return err
	}
	m.mu.Lock()
	m.signals = append(m.signals, signal)
	m.stopped = m.stopped || stop
	prog, ends := m.prog, stop || signal == sigKill
	if m.state.Status == davit.StatusPaused && !ends {
		m.waiting = append(m.waiting, signal)
		m.mu.Unlock()
		return nil
	}
	m.mu.Unlock()
	if ends {
		if err := m.Freeze(ctx, false); err != nil && davit.CodeOf(err) != davit.ContainerNotRunning {
			return err
		}
	}
	prog.signal(signal)
	return nil
}

// Resize implements [davit.Process].
func (m *Monitor) Resize(ctx context.Context, rows, columns uint) error {
	if err := m.begin(ctx, "Resize", ""); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resized = [2]uint{rows, columns}
	return nil
}

// Attach implements [davit.Process].
func (m *Monitor) Attach(ctx context.Context, s davit.Streams, detach []byte) error {
	if err := m.begin(ctx, "Attach", ""); err != nil {
		return err
	}
	return m.program().attach(ctx, s, detach)
}

// Updates implements [davit.Process].
func (p *process) Updates() <-chan davit.Update { return p.updates }

// execProcess is a fake [davit.ExecProcess].
type execProcess struct {
	pid  int
	prog *program
	done chan struct{}
	exit davit.Exit // valid when done is closed
}

// Exec implements [davit.Process].
func (m *Monitor) Exec(ctx context.Context, x davit.Exec) (davit.ExecProcess, error) {
	if err := m.begin(ctx, "Exec", x.Cmd[0]); err != nil {
		return nil, err
	}
	if err := checkProgram(x.Cmd[0]); err != nil {
		return nil, err
	}
	e := &execProcess{pid: m.rt.nextPid(), done: make(chan struct{})}
	e.prog = newProgram(x.Cmd, x.Tty, x.AttachStdin, func(code int) {
		e.exit = davit.Exit{Code: code, At: time.Now().UTC()}
		close(e.done)
	})
	e.prog.early = &davit.Streams{Stdout: new(Buffer), Stderr: new(Buffer)}
	m.mu.Lock()
	m.execs = append(m.execs, e)
	m.mu.Unlock()
	e.prog.begin()
	return e, nil
}

// Pid implements [davit.ExecProcess].
func (e *execProcess) Pid() int { return e.pid }

// Signal implements [davit.ExecProcess].
func (e *execProcess) Signal(_ context.Context, signal int) error {
	select {
	case <-e.done:
		return davit.Errorf(davit.ContainerNotRunning, "the process has ended")
	default:
	}
	e.prog.signal(signal)
	return nil
}

// Resize implements [davit.ExecProcess].
func (e *execProcess) Resize(context.Context, uint, uint) error { return nil }

// Attach implements [davit.ExecProcess].
func (e *execProcess) Attach(ctx context.Context, s davit.Streams, detach []byte) error {
	return e.prog.attach(ctx, s, detach)
}

// Wait implements [davit.ExecProcess].
func (e *execProcess) Wait(ctx context.Context) (davit.Exit, error) {
	select {
	case <-e.done:
		return e.exit, nil
	case <-ctx.Done():
		return davit.Exit{}, ctx.Err()
	}
}
