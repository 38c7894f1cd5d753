// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/activation"
	"github.com/davit-engine/davit/api"
	"github.com/davit-engine/davit/bridge"
	"github.com/davit-engine/davit/dbus"
	"github.com/davit-engine/davit/engine"
	libcontainerexec "github.com/davit-engine/davit/libcontainer-exec"
	"github.com/davit-engine/davit/registry"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/storage"
)

// daemon is what was built, to be closed in reverse.
type daemon struct {
	line    *commandLine
	config  davit.Config
	log     *slog.Logger
	level   *slog.LevelVar
	systemd *activation.Systemd

	eng     *engine.Engine
	sockets []activation.Socket
	api     *api.Server
	bus     *busDoor
	service *service.Service
}

// serve builds the daemon, runs it until a signal or a failure ends it, and
// returns the exit status.
func serve(line *commandLine, config davit.Config) int {
	d := &daemon{line: line, config: config, level: new(slog.LevelVar)}
	d.log = newLogger(os.Stderr, d.level)
	if err := setLevel(d.level, config.EffectiveLogLevel()); err != nil {
		return usage(err)
	}
	var err error
	if d.systemd, err = activation.New(); err != nil {
		return usage(err)
	}
	d.eng = engine.New(d.log)
	signals := trap(d)
	defer signals.stop()
	ctx := context.Background()
	if err := d.build(); err != nil {
		return d.fail(ctx, err)
	}
	if err := d.boot(ctx, signals.terminate); err != nil {
		return d.fail(ctx, err)
	}
	return d.wait(ctx, signals)
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
	store, err := storage.Open(storage.Options{Root: d.config.DataRoot, Log: d.log})
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
	drivers := service.Drivers{
		Runtime: runtime, Resolver: bridge.NewResolver(), State: store.State(), Images: store.Images(), Rootfs: store.Rootfs(),
		Volumes: store.Volumes(), Files: store.Files(),
		Registry: registry.New(registry.Options{
			Insecure: d.config.InsecureRegistries, CertsDir: d.config.CertsDir,
			UserAgent: "davit/" + davit.Release, Log: d.log,
		}),
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
	d.openDoors(&drivers)
	d.service, err = service.New(service.Options{
		Engine: d.eng, Log: d.log, Config: d.config, Facts: facts, Drivers: drivers,
		LoadConfig: d.reloadConfig, SetLogLevel: func(level string) error { return setLevel(d.level, level) },
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
	return libcontainerexec.New(libcontainerexec.Options{
		ExecRoot: d.config.ExecRoot, HolderPath: holder, MonitorPath: monitor,
		Launcher: d.config.Launcher, FavorDynmods: d.config.FavorDynmods, Log: d.log,
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
	d.api = api.New(d.eng, api.Options{Log: d.log, Sockets: sockets})
	d.bus = &busDoor{log: d.log, supervised: d.systemd.Supervised(), server: dbus.New(d.eng, dbus.Options{Log: d.log, Properties: dbus.Properties{
		DataRoot: d.config.DataRoot, ExecRoot: d.config.ExecRoot, StorageDriver: "overlay", Sockets: shown,
	}})}
	drivers.REST, drivers.Gate, drivers.Bus = d.api, d.api, d.bus
}

// boot brings the daemon up and says READY once a request through its own
// socket was answered.
func (d *daemon) boot(ctx context.Context, stop <-chan struct{}) error {
	err := d.service.Boot(ctx, stop, d.status)
	if errors.Is(err, context.Canceled) {
		return nil // a signal to end, which is seen next
	}
	if err != nil {
		return err
	}
	if err := d.api.Probe(ctx); err != nil {
		return fmt.Errorf("cannot reach the engine through its own socket: %w", err)
	}
	if err := d.systemd.Ready(fmt.Sprintf("Listening on %d sockets", len(d.sockets))); err != nil {
		d.log.Warn("cannot tell systemd that the engine is ready", "error", err)
	}
	ready := time.Now()
	if err := d.service.Resume(); err != nil {
		d.log.Warn("cannot resume containers", "error", err)
	}
	d.eng.Started(ready)
	return nil
}

// status tells systemd what the daemon is doing. Without systemd, or when it
// does not listen, nobody needs to know.
func (d *daemon) status(text string) {
	if err := d.systemd.Status(text); err != nil {
		d.log.Debug("cannot tell systemd the status", "error", err)
	}
}

// wait keeps the daemon until a signal asks it to end or a front door fails.
func (d *daemon) wait(ctx context.Context, signals *signals) int {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.watchdog(ctx)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	for {
		select {
		case <-signals.hangup:
			d.reload(ctx)
		case <-signals.terminate:
			return d.shutdown(ctx, nil)
		case err := <-d.service.Failed():
			return d.fail(ctx, err)
		}
	}
}

func (d *daemon) watchdog(ctx context.Context) {
	interval := d.systemd.WatchdogInterval()
	if interval <= 0 {
		return
	}
	d.systemd.RunWatchdog(ctx, &activation.Watchdog{Interval: interval, Log: d.log, Checks: []activation.Check{{Name: "engine", Run: d.selfCheck}}})
}

// selfCheck proves that a job can run, the socket answers and the bus answers.
func (d *daemon) selfCheck(ctx context.Context) error {
	if _, err := engine.Do(ctx, d.eng, davit.Noop{}); err != nil {
		return fmt.Errorf("cannot run a job: %w", err)
	}
	if err := d.api.Probe(ctx); err != nil {
		return fmt.Errorf("cannot reach the engine's own socket: %w", err)
	}
	return d.bus.ping(ctx)
}

func (d *daemon) reload(ctx context.Context) {
	if err := d.systemd.Reloading(); err != nil {
		d.log.Warn("cannot tell systemd of the reload", "error", err)
	}
	status := fmt.Sprintf("Listening on %d sockets", len(d.sockets))
	if _, err := engine.Do(ctx, d.eng, davit.Reload{}); err != nil {
		d.log.Error("reload failed; the old configuration stays", "error", err)
		status = "Reload failed: " + err.Error()
	}
	if err := d.systemd.Ready(status); err != nil {
		d.log.Warn("cannot tell systemd that the engine is ready", "error", err)
	}
}

func (d *daemon) reloadConfig() (davit.Config, error) { return d.line.load() }

// fail takes the orderly way down after a failure.
func (d *daemon) fail(ctx context.Context, cause error) int {
	d.log.Error("davitd failed", "error", cause)
	if err := d.systemd.Fatal(cause, davit.BusName+"."+string(davit.CodeOf(cause))); err != nil {
		d.log.Debug("cannot tell systemd of the failure", "error", err)
	}
	d.shutdown(ctx, cause)
	return exitFailure
}

// shutdown ends the daemon within 15 seconds; the containers go on.
func (d *daemon) shutdown(ctx context.Context, cause error) int {
	if err := d.systemd.Stopping("Shutting down"); err != nil {
		d.log.Debug("cannot tell systemd of the shutdown", "error", err)
	}
	drain := time.Duration(d.config.ShutdownTimeout) * time.Second
	if err := d.eng.Shutdown(ctx, drain); err != nil {
		d.log.Error("shutdown left something undone", "error", err)
		return exitFailure
	}
	if cause == nil {
		d.log.Info("davitd ends; containers go on")
	}
	return 0
}
