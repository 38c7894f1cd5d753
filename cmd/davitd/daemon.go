// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/activation"
	"github.com/davit-engine/davit/api"
	"github.com/davit-engine/davit/api/body"
	"github.com/davit-engine/davit/bridge"
	"github.com/davit-engine/davit/dbus"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/linux"
	libcontainerexec "github.com/davit-engine/davit/libcontainer-exec"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/davit-engine/davit/registry"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/access"
	"github.com/davit-engine/davit/storage"
)

// daemon is what was built, to be closed in reverse.
type daemon struct {
	line      *commandLine
	config    davit.Config                 // at the start
	live      atomic.Pointer[davit.Config] // as the latest reload left it
	log       *slog.Logger
	level     *slog.LevelVar
	systemd   *activation.Systemd
	activated bool // systemd passed sockets
	faults    *failpoint

	eng      *engine.Engine
	life     *life
	activity *activity
	pause    *activation.Pause
	health   *health
	healthy  atomic.Uint64 // when health last found all well: CLOCK_MONOTONIC, in microseconds
	sockets  []activation.Socket
	registry *registry.Client
	api      *api.Server
	bus      *busDoor
	service  *service.Service
	policy   *access.Policy
}

// serve builds the daemon, runs it until a signal or a failure ends it, and
// returns the exit status.
func serve(line *commandLine, config davit.Config, systemd *activation.Systemd) int {
	d := &daemon{
		line: line, config: config, level: new(slog.LevelVar), systemd: systemd, activated: systemd.Activated(),
		activity: newActivity(), pause: activation.NewPause(),
	}
	d.log = newLogger(os.Stderr, d.level)
	d.life = newLife(systemd, d.log)
	d.live.Store(&config)
	var err error
	if d.faults, err = readFailpoint(d.log); err == nil {
		err = errors.Join(setLevel(d.level, config.EffectiveLogLevel()), checkIdleExit(&config, d.activated))
	}
	if err != nil {
		return usage(systemd, err)
	}
	d.eng = engine.New(d.log)
	d.number()
	signals := trap(d)
	defer signals.stop()
	ctx, cancel := context.WithCancel(context.Background())
	var helpers sync.WaitGroup
	defer func() { cancel(); helpers.Wait() }()
	helpers.Go(func() { d.life.extend(ctx) })
	helpers.Go(func() { d.report(ctx) })
	if err := d.build(); err != nil {
		return d.fail(ctx, err)
	}
	if err := d.boot(ctx, signals.terminate); err != nil {
		return d.fail(ctx, err)
	}
	return d.wait(ctx, signals)
}

// stateName is what systemd keeps the counter of jobs as.
const stateName = "state"

// number has the ids of jobs go on where a predecessor that crashed was.
func (d *daemon) number() {
	counter, err := d.systemd.Counter(stateName)
	if err != nil {
		d.log.Warn("the ids of jobs may begin anew after a crash", "error", err)
	}
	dropped, err := d.systemd.DropUnknown()
	if len(dropped) > 0 || err != nil {
		d.log.Warn("systemd kept what this version does not know; it is dropped", "names", dropped, "error", err)
	}
	d.eng.Number(counter.Last(), func(id uint32) {
		counter.Set(id)
		d.faults.newJob()
	})
}

// build makes everything that the daemon consists of. What it opens is closed
// by the engine's shutdown handlers.
func (d *daemon) build() error {
	if err := d.claim(); err != nil {
		return err
	}
	if err := d.listen(); err != nil {
		return err
	}
	facts, err := hostFacts()
	if err != nil {
		return err
	}
	d.life.phase("Opening " + d.config.DataRoot)
	store, err := storage.Open(storage.Options{
		Root: d.config.DataRoot, Log: d.log, Mounted: filepath.Join(d.config.ExecRoot, protocol.VolumesD),
	})
	if err != nil {
		return err
	}
	if err := d.eng.OnShutdown(engine.Records, "storage", func(context.Context) error { return store.Close() }); err != nil {
		return err
	}
	runtime, err := d.runtime()
	if err != nil {
		return err
	}
	d.registry = registry.New(registry.Options{
		Insecure: d.config.InsecureRegistries, CertsDir: d.config.CertsDir, UserAgent: "davit/" + davit.Release, Log: d.log,
	})
	drivers := service.Drivers{
		Runtime: runtime, Resolver: bridge.NewResolver(), State: mortalState{store.State(), d.faults}, Images: store.Images(), Rootfs: store.Rootfs(),
		Volumes: store.Volumes(), Files: store.Files(),
		Registry: d.registry,
	}
	closers := []func() error{runtime.Close}
	if d.config.Bridge != "none" {
		stateDir := filepath.Join(d.config.DataRoot, "network")
		claim, err := bridge.ClaimLink(d.config.Bridge, stateDir)
		if err != nil {
			return err
		}
		network, err := bridge.New(networkConfig(&d.config, claim.Link), bridge.Options{StateDir: stateDir, Log: d.log})
		if err != nil {
			return err
		}
		drivers.Network, closers = network, append(closers, network.Close, claim.Close)
	}
	if err := d.guard(runtime.Name()); err != nil {
		return err
	}
	d.openDoors(&drivers)
	d.service, err = service.New(service.Options{
		Engine: d.eng, Log: d.log, Config: d.config, Facts: facts, Drivers: drivers, Binds: d.policy,
		Missing:       func(path string) bool { return linux.Missing(hostProc(runtime.Name()), path) },
		AppArmor:      func(profile string) bool { return linux.AppArmorLoaded("/sys", profile) },
		Configuration: configuration{d},
	})
	if err != nil {
		return err
	}
	// The service first: it is what gives the drivers work.
	closers = append([]func() error{d.service.Close}, closers...)
	return d.eng.OnShutdown(engine.Networks, "service and drivers", func(context.Context) error {
		var errs error
		for _, closeOne := range closers {
			errs = errors.Join(errs, closeOne())
		}
		return errs
	})
}

// claim takes the pidfile, if one was asked for: the first thing to take and
// the last to give back.
func (d *daemon) claim() error {
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{d.config.DataRoot, 0o710}, {d.config.ExecRoot, 0o711}} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return fmt.Errorf("cannot make directory: %w", err)
		}
	}
	if d.config.Pidfile == "" {
		return nil
	}
	p, err := writePidfile(d.config.Pidfile)
	if err != nil {
		return err
	}
	return d.eng.OnShutdown(engine.Pidfile, "pidfile", func(context.Context) error { return p.remove() })
}

func (d *daemon) runtime() (*libcontainerexec.Runtime, error) {
	holder, err := helper("davit-holder")
	if err != nil {
		return nil, err
	}
	monitor, err := helper("davit-monitor")
	if err != nil {
		return nil, err
	}
	enter, err := helper("davit-enter")
	if err != nil {
		return nil, err
	}
	initPath := d.config.InitPath
	if initPath == "" {
		initPath, _ = helper("davit-init") // missing, it is missed by containers with --init alone
	}
	return libcontainerexec.New(libcontainerexec.Options{
		InitPath: initPath,
		ExecRoot: d.config.ExecRoot, HolderPath: holder, MonitorPath: monitor, EnterPath: enter,
		Launcher: d.config.Launcher, FavorDynmods: d.config.FavorDynmods, CDISpecDirs: d.config.CDISpecDirs, Log: d.log,
	})
}

func networkConfig(c *davit.Config, link string) davit.NetworkConfig {
	return davit.NetworkConfig{
		Link: link, Address: c.BIP, MTU: c.MTU, IPTables: c.IPTables, IPMasq: c.IPMasq, ICC: c.ICC, IPForward: c.IPForward, HostIP: c.IP,
	}
}

// openDoors makes the front doors; they serve when the service's boot says so.
func (d *daemon) openDoors(drivers *service.Drivers) {
	var sockets []api.Socket
	var shown [][2]string
	for _, s := range d.sockets {
		sockets = append(sockets, api.Socket{Name: s.Name, Listener: s.Listener})
		shown = append(shown, [2]string{s.Name, s.Listener.Addr().Network() + ":" + s.Listener.Addr().String()})
	}
	d.api = api.New(d.eng, api.Options{Log: d.log, Sockets: sockets, Begin: d.activity.begin})
	d.bus = &busDoor{log: d.log, supervised: d.systemd.Supervised(), server: dbus.New(d.eng, d.busOptions(shown))}
	drivers.REST, drivers.Gate, drivers.Bus = d.api, d.api, d.bus
}

func (d *daemon) busOptions(sockets [][2]string) dbus.Options {
	return dbus.Options{
		Log: d.log, Begin: d.activity.begin, DecodeCreate: body.DecodeCreate,
		Properties: dbus.Properties{
			DataRoot: d.config.DataRoot, ExecRoot: d.config.ExecRoot, StorageDriver: "overlay", Sockets: sockets,
			Slice: "davit.slice", Watchdog: d.systemd.WatchdogInterval(),
			IdleExit:        func() time.Duration { return time.Duration(d.live.Load().IdleExit) },
			LastHealthCheck: func() time.Duration { return time.Duration(d.healthy.Load()) * time.Microsecond },
		},
		LogControl: dbus.LogControl{
			Target: logTarget(os.Stderr), Level: func() string { return strings.ToLower(d.level.Level().String()) },
			SetLevel: func(level string) error { return setLevel(d.level, level) },
		},
	}
}

// bootProbe bounds the self-check of a daemon that is about to say READY.
const bootProbe = 30 * time.Second

// boot brings the daemon up and says READY once it has passed its self-check:
// a job ran, its own socket answered and so did the bus.
func (d *daemon) boot(ctx context.Context, stop <-chan struct{}) error {
	if d.faults.slowStart > 0 {
		d.life.phase("Waiting, as a test asked for")
		time.Sleep(d.faults.slowStart)
	}
	err := d.service.Boot(ctx, stop, d.life.phase)
	if errors.Is(err, context.Canceled) {
		return nil // a signal to end, which is seen next
	}
	if err != nil {
		return err
	}
	d.health = &health{
		eng: d.eng, log: d.log, systemd: d.systemd, interval: d.systemd.WatchdogInterval(), faults: d.faults,
		api: d.api.Probe, bus: d.bus.ping, activity: d.activity, last: &d.healthy,
	}
	d.life.phase("Checking that all answers")
	if err := d.health.once(ctx, bootProbe); err != nil {
		return fmt.Errorf("the engine does not pass its self-check: %w", err)
	}
	d.life.ready(d.doing())
	ready := time.Now()
	if err := d.service.Resume(); err != nil {
		d.log.Warn("cannot resume containers", "error", err)
	}
	d.eng.Started(ready)
	d.activity.touch() // the start was work
	return nil
}

// wait keeps the daemon until a signal asks it to end, a front door fails or
// nothing was to do for long enough.
func (d *daemon) wait(ctx context.Context, signals *signals) int {
	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	idle := make(chan struct{})
	if d.health != nil {
		helpers.Go(func() { d.health.run(ctx) })
	}
	helpers.Go(func() { d.followHangups(ctx, signals.hangup) })
	helpers.Go(func() { d.awaitIdle(ctx, idle) })
	defer func() {
		cancel()
		helpers.Wait()
	}()
	for {
		select {
		case <-idle:
			if code, exited := d.idleExit(ctx); exited {
				return code
			}
		case <-signals.terminate:
			return d.shutdown(ctx, nil)
		case err := <-d.service.Failed():
			return d.fail(ctx, err)
		}
	}
}

// followHangups reloads at each SIGHUP, by the job that the bus has too.
func (d *daemon) followHangups(ctx context.Context, hangup <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		if _, err := engine.Do(ctx, d.eng, davit.Reload{}); err != nil && ctx.Err() == nil {
			d.log.Error("reload failed", "error", err)
		}
	}
}

// awaitIdle tells each time that the daemon was idle for long enough.
func (d *daemon) awaitIdle(ctx context.Context, idle chan<- struct{}) {
	after := func() time.Duration { return time.Duration(d.live.Load().IdleExit) }
	for d.activity.await(ctx, after, d.busy) == nil {
		select {
		case idle <- struct{}{}:
		case <-ctx.Done():
		}
		d.activity.touch() // it is looked into now
	}
}

// fail takes the orderly way down after a failure.
func (d *daemon) fail(ctx context.Context, cause error) int {
	d.log.Error("davitd failed", "error", cause)
	d.life.fatal(cause, busError(cause))
	d.shutdown(ctx, cause)
	return exitFailure
}

// shutdown ends the daemon within 15 seconds; the containers go on.
func (d *daemon) shutdown(ctx context.Context, cause error) int {
	return d.end(ctx, cause, time.Duration(d.live.Load().ShutdownTimeout)*time.Second)
}

// end ends the daemon; running jobs get as long as drain.
func (d *daemon) end(ctx context.Context, cause error, drain time.Duration) int {
	d.life.stopping(waitingFor(d.eng.Load().Changes))
	if err := d.eng.Shutdown(ctx, drain); err != nil {
		d.log.Error("shutdown left something undone", "error", err)
		return exitFailure
	}
	if cause == nil {
		d.log.Info("davitd ends; containers go on")
	}
	return 0
}
