// SPDX-License-Identifier: Apache-2.0

// Package libcontainerexec runs the processes of containers. It launches a
// holder for each container, as a systemd unit or directly, and talks to it;
// the holder outlives the daemon. What the other end does is in holder and
// monitor, what both say to each other in protocol. See README.md.
package libcontainerexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// Names of the launchers, and of the choice between them.
const (
	LauncherAuto    = "auto"    // systemd when that is PID 1, else direct
	LauncherSystemd = "systemd" // a transient service for each container
	LauncherDirect  = "direct"  // children of the daemon, in sessions of their own
)

// defaultExecRoot is the exec root whose units carry no mark of their engine.
const defaultExecRoot = "/run/davit"

// Options configure a [Runtime]. ExecRoot and the paths of the three programs
// are absolute.
type Options struct {
	ExecRoot     string
	HolderPath   string
	MonitorPath  string
	EnterPath    string
	InitPath     string   // "": there is none to give to containers
	Launcher     string   // "" is auto
	CDISpecDirs  []string // of CDI specifications, the last have precedence
	FavorDynmods bool     // remount cgroup2 with favordynmods, see dynmods.go
	Log          *slog.Logger
}

// Runtime launches holders and finds them again. Its methods may be called
// from any goroutine.
type Runtime struct {
	opts     Options
	launcher launcher
	log      *slog.Logger
	lock     *os.File // of the exec root

	mu        sync.Mutex
	processes map[*Process]struct{}
	units     map[string]string // by container: what is launched and not forgotten
	closed    bool
}

// launcher starts holders.
type launcher interface {
	// launch starts the holder of the container whose spec.json is in dir and
	// returns a connection to it. It leaves in units the one that it made.
	launch(ctx context.Context, l *launch) (*protocol.Conn, error)
	// limit gives a unit the limits that its container has got.
	limit(ctx context.Context, unit string, before, after *protocol.Resources) error
	name() string
	close()
}

// launch is what a launcher has to know.
type launch struct {
	dir   string
	spec  *protocol.Spec
	c     *davit.Container
	units []string // names for the unit, the best first; none is to be made without
}

// unit is the unit that was made, "" when none was.
func (l *launch) unit() string {
	if len(l.units) == 0 {
		return ""
	}
	return l.units[0]
}

// New checks the options, makes the runtime's directories and locks the exec
// root until Close: it fails when another runtime, of this process or another,
// has that. It touches no container.
func New(o Options) (*Runtime, error) {
	for _, p := range []string{o.ExecRoot, o.HolderPath, o.MonitorPath, o.EnterPath} {
		if !filepath.IsAbs(p) {
			return nil, davit.Errorf(davit.InvalidConfiguration, "cannot use %q for the runtime: must be an absolute path", p)
		}
	}
	for _, p := range []string{o.HolderPath, o.MonitorPath, o.EnterPath} {
		if info, err := os.Stat(p); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return nil, errors.Join(davit.Errorf(davit.InvalidConfiguration, "cannot use %s: not a program; it belongs to davitd's installation", p), err)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, dir := range []string{filepath.Join(o.ExecRoot, protocol.ContainersD), filepath.Join(o.ExecRoot, seccompDir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the runtime directory: %w", err)
		}
	}
	r := &Runtime{opts: o, log: o.Log, processes: map[*Process]struct{}{}, units: map[string]string{}}
	switch chooseLauncher(o.Launcher) {
	case LauncherSystemd:
		r.launcher = &systemdLauncher{opts: &r.opts, log: o.Log}
	case LauncherDirect:
		r.launcher = &directLauncher{opts: &r.opts}
	default:
		return nil, davit.Errorf(davit.InvalidConfiguration, "unknown launcher %q: use auto, systemd or direct", o.Launcher)
	}
	lock, err := lockRoot(o.ExecRoot)
	if err != nil {
		return nil, err
	}
	r.lock = lock
	if err := r.loadUnits(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if o.FavorDynmods {
		favorDynmods(o.Log)
	}
	return r, nil
}

func chooseLauncher(name string) string {
	if name != "" && name != LauncherAuto {
		return name
	}
	// sd_booted(3)
	if info, err := os.Lstat("/run/systemd/system"); err == nil && info.IsDir() {
		return LauncherSystemd
	}
	return LauncherDirect
}

// Name says how holders are launched: "systemd" or "direct".
func (r *Runtime) Name() string { return r.launcher.name() }

// Close lets go of all containers, which go on, waits for the runtime's
// goroutines and gives the exec root back.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	processes := make([]*Process, 0, len(r.processes))
	for p := range r.processes {
		processes = append(processes, p)
	}
	r.mu.Unlock()
	for _, p := range processes {
		p.release()
	}
	r.launcher.close()
	if r.launcher.name() == LauncherDirect {
		cgroup.RemoveEmpty(directCgroup, holdersName)
	}
	if err := r.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("cannot give back the exec root: %w", err)
	}
	return nil
}

func (r *Runtime) dir(id string) string {
	return filepath.Join(r.opts.ExecRoot, protocol.ContainersD, id)
}

// Create launches the holder of l.Container and has it create the container.
// When it fails nothing is left.
func (r *Runtime) Create(ctx context.Context, l davit.Launch) (davit.Process, error) {
	p, err := r.create(ctx, l)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (r *Runtime) create(ctx context.Context, l davit.Launch) (*Process, error) {
	spec, err := makeSpec(l, &r.opts, r.Name())
	if err != nil {
		return nil, err
	}
	id := l.Container.ID
	dir := r.dir(id)
	if err := r.clearDir(id); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the container's runtime directory: %w", err)
	}
	if err := protocol.WriteFile(filepath.Join(dir, protocol.SpecFile), spec); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot write the container's spec: %w", err), os.RemoveAll(dir))
	}
	launch := &launch{dir: dir, spec: spec, c: l.Container, units: r.claimUnit(l.Container)}
	conn, err := r.launcher.launch(ctx, launch)
	if err != nil {
		err = fmt.Errorf("cannot launch the monitor of container %s: %w%s", l.Container.Name, err, lastWords(dir))
		return nil, errors.Join(err, r.clearRemains(id))
	}
	p := r.newProcess(l.Container, conn)
	if err = errors.Join(r.keepUnit(id, launch.unit()), r.register(p)); err == nil {
		err = p.awaitCreated(ctx)
	}
	if err != nil {
		p.abort(ctx)
		return nil, errors.Join(err, r.clearRemains(id))
	}
	return p, nil
}

func (r *Runtime) register(p *Process) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("the runtime is closed: %w", os.ErrClosed)
	}
	r.processes[p] = struct{}{}
	return nil
}

func (r *Runtime) unregister(p *Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.processes, p)
}

// Adopt connects to the holder of c that a predecessor launched. When the
// container has ended meanwhile the process delivers that, and nothing else.
// A holder that lives and does not answer is an error that is not
// [os.ErrNotExist]: the container runs, and Adopt may be tried again.
func (r *Runtime) Adopt(ctx context.Context, c *davit.Container) (davit.Process, error) {
	if _, err := os.Stat(r.dir(c.ID)); err != nil {
		return nil, fmt.Errorf("cannot adopt container %s: %w", c.Name, err)
	}
	p := r.newProcess(c, nil)
	err := r.register(p)
	if err == nil {
		err = p.reconnect(ctx)
	}
	if err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

// Known lists the ids of which anything is kept.
func (r *Runtime) Known() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.opts.ExecRoot, protocol.ContainersD))
	if err != nil {
		return nil, fmt.Errorf("cannot list the monitors: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Forget removes what is kept of a container whose holder has gone.
func (r *Runtime) Forget(id string) error {
	return r.clearDir(id)
}

// clearDir removes the runtime directory of a container that has no holder.
func (r *Runtime) clearDir(id string) error {
	dir := r.dir(id)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		r.dropUnit(id)
		return nil
	}
	gone, err := r.gone(id)
	if err != nil {
		return err
	}
	if !gone {
		return davit.Errorf(davit.ContainerRunning, "container %s still has its monitor", davit.ShortID(id))
	}
	return r.clearRemains(id)
}

// holderEnv is the environment of a holder. One processor is enough for what
// it does; a huge page would be half of its memory (pkg.go.dev/runtime, GODEBUG).
// It collects garbage when it chooses to, and not every two minutes to find that
// there is none, unless it comes to have more than it ever should.
func holderEnv(o *Options) []string {
	return []string{protocol.EnvExecRoot + "=" + o.ExecRoot, "GOMAXPROCS=1", "GODEBUG=disablethp=1", "GOGC=off", "GOMEMLIMIT=12MiB"}
}

// lastWords returns what the holder said before it died.
func lastWords(dir string) string {
	p, err := os.ReadFile(filepath.Join(dir, protocol.LogFile))
	if err != nil || len(p) == 0 {
		return ""
	}
	const most = 1024
	p = p[max(0, len(p)-most):]
	return " (its last words: " + strings.TrimSpace(strings.ToValidUTF8(string(p), "")) + ")"
}

// connectPoll is how often a socket that is to appear is tried.
const connectPoll = 2 * time.Millisecond
