// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/logconfig"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/godbus/dbus/v5"
)

const (
	// stopSlack is what systemd gives the holder beyond the container's own
	// stop timeout, before it kills both.
	stopSlack = 5 * time.Second
	// holderMemory and holderTasks are the holder's own share of the unit's
	// limits: reaching them is to hit the container, whose cgroup has the
	// limits that the user asked for, and not its keeper.
	holderMemory = 16 << 20
	holderTasks  = 32
	// leaveTimeout bounds the wait for an earlier unit of the same name.
	leaveTimeout = 5 * time.Second
	// journalBurst is how many entries a container may write in a second: more than
	// it can. An interval of 0 would mean journald's own limit (systemd 252), and
	// journald multiplies this by up to twelve, in 32 bits.
	journalBurst = 100_000_000
	// unitExists is the error of StartTransientUnit for a name that is taken.
	unitExists = "org.freedesktop.systemd1.UnitExists"
)

// systemdLauncher has PID 1 start each holder as a transient service.
type systemdLauncher struct {
	opts *Options
	log  *slog.Logger

	mu   sync.Mutex
	conn *sddbus.Conn
}

func (s *systemdLauncher) name() string { return LauncherSystemd }

// connect returns the connection to systemd, anew when the bus was restarted.
func (s *systemdLauncher) connect(ctx context.Context) (*sddbus.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && s.conn.Connected() {
		return s.conn, nil
	}
	if s.conn != nil {
		s.conn.Close()
	}
	conn, err := sddbus.NewWithContext(context.WithoutCancel(ctx)) // the context would be the connection's
	if err != nil {
		s.conn = nil
		return nil, davit.Errorf(davit.UnitFailed, "cannot talk to systemd: %w", err)
	}
	s.conn = conn
	return conn, nil
}

func (s *systemdLauncher) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// launch starts the unit and waits for the holder's socket. The unit's start
// job ends later, when the container's program runs (Type=notify).
func (s *systemdLauncher) launch(ctx context.Context, l *launch) (*protocol.Conn, error) {
	systemd, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	result := make(chan string, 1)
	properties := s.properties(l)
	for {
		err = s.startUnit(ctx, systemd, l, properties, result)
		if !isUnitExists(err) || len(l.units) == 1 {
			break
		}
		l.units = l.units[1:]
	}
	unit := l.unit()
	if err != nil {
		if ctx.Err() != nil {
			s.stop(ctx, systemd, unit) // the call may have been made, only its answer not waited for
		}
		return nil, davit.Errorf(davit.UnitFailed, "cannot start unit %s: %w", unit, err)
	}
	conn, err := s.awaitSocket(ctx, filepath.Join(l.dir, protocol.SocketFile), unit, result)
	if err != nil {
		s.stop(ctx, systemd, unit)
	}
	return conn, err
}

// startUnit queues the unit's start. An earlier unit of the name that is about
// to go, because its container has just ended, is waited for; one that failed
// and was not collected is forgotten.
func (s *systemdLauncher) startUnit(ctx context.Context, systemd *sddbus.Conn, l *launch, properties []sddbus.Property, result chan<- string) error {
	leaving, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	tick := time.NewTicker(connectPoll)
	defer tick.Stop()
	for {
		_, err := systemd.StartTransientUnitContext(ctx, l.unit(), "fail", properties, result)
		if !isUnitExists(err) || stays(ctx, systemd, l) {
			return err
		}
		_ = systemd.ResetFailedUnitContext(ctx, l.unit()) // it may have gone meanwhile
		select {
		case <-tick.C:
		case <-leaving.Done():
			return err
		}
	}
}

// stays tells whether there is no use in waiting for the unit of the name to
// go: it is somebody's file, or it runs, and not for this container's sake.
func stays(ctx context.Context, systemd *sddbus.Conn, l *launch) bool {
	transient, err := systemd.GetUnitPropertyContext(ctx, l.unit(), "Transient")
	if err != nil {
		return false
	}
	if made, ok := transient.Value.Value().(bool); ok && !made {
		loaded, err := systemd.GetUnitPropertyContext(ctx, l.unit(), "LoadState")
		return err == nil && loaded.Value.Value() != "not-found" // that is: it has just gone
	}
	active, err := systemd.GetUnitPropertyContext(ctx, l.unit(), "ActiveState")
	if err != nil || active.Value.Value() != "active" {
		return false
	}
	command, err := systemd.GetServicePropertyContext(ctx, l.unit(), "ExecStart")
	return err == nil && !hasArgument(command.Value.Value(), l.spec.ID)
}

// hasArgument looks for arg in the command lines of a unit, a(sasbttttuii).
func hasArgument(execStart any, arg string) bool {
	commands, _ := execStart.([][]any)
	for _, c := range commands {
		if len(c) > 1 {
			if args, _ := c[1].([]string); slices.Contains(args, arg) {
				return true
			}
		}
	}
	return false
}

// awaitSocket connects to the holder as soon as it listens.
func (s *systemdLauncher) awaitSocket(ctx context.Context, path, unit string, result <-chan string) (*protocol.Conn, error) {
	tick := time.NewTicker(connectPoll)
	defer tick.Stop()
	for {
		conn, err := protocol.Dial(path)
		if err == nil {
			return conn, nil
		}
		select {
		case r := <-result:
			// Not even "done" is good news: the container cannot run yet.
			return nil, davit.Errorf(davit.UnitFailed, "unit %s ended before its monitor could be reached (result %s): see journalctl -u %s", unit, r, unit)
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot reach the monitor of unit %s: %w", unit, errors.Join(context.Cause(ctx), err))
		}
	}
}

// stop ends a unit that is of no use, and waits for that.
func (s *systemdLauncher) stop(ctx context.Context, systemd *sddbus.Conn, unit string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	result := make(chan string, 1)
	if _, err := systemd.StopUnitContext(ctx, unit, "replace", result); err != nil {
		s.log.Debug("cannot stop a unit that failed", "unit", unit, "error", err)
		return // it has gone by itself
	}
	select {
	case <-result:
	case <-ctx.Done():
	}
}

func isUnitExists(err error) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && e.Name == unitExists
}

// properties describe the unit (systemd.exec(5), systemd.service(5),
// systemd.resource-control(5)). Nothing that a user chose is in the command
// line or the environment: systemd 252 rewrites those at a daemon-reload.
func (s *systemdLauncher) properties(l *launch) []sddbus.Property {
	h := &l.spec.Holder
	fields := [][]byte{
		[]byte("CONTAINER_ID=" + davit.ShortID(l.spec.ID)), []byte("CONTAINER_ID_FULL=" + l.spec.ID),
		[]byte("CONTAINER_NAME=" + l.c.Name), []byte("IMAGE_NAME=" + l.c.ImageRef),
	}
	properties := []sddbus.Property{
		sddbus.PropDescription("Davit container " + l.c.Name),
		sddbus.PropExecStart([]string{s.opts.HolderPath, l.spec.ID}, false),
		sddbus.PropSlice(cmp.Or(l.c.HostConfig.CgroupParent, "davit.slice")),
		sddbus.PropType("notify"),
		property("NotifyAccess", "main"),
		property("Environment", holderEnv(s.opts)),
		property("Delegate", true),
		property("PrivateMounts", true), // the holder's own mount namespace
		property("KillMode", "mixed"),
		property("TimeoutStopUSec", uint64((h.StopTimeout+stopSlack)/time.Microsecond)),
		property("CollectMode", "inactive-or-failed"),
		property("OOMPolicy", "continue"),
		property("SyslogIdentifier", l.c.Name),
		sddbus.PropAfter("network.target"),
	}
	if h.Log.Driver == logconfig.Journald {
		// Each entry says whose it is: a field twice in one would be two. And docker
		// logs is to lose none: docs/decisions/0017-the-journal-is-the-log.md.
		properties = append(properties, property("LogRateLimitIntervalUSec", uint64(time.Second/time.Microsecond)), property("LogRateLimitBurst", uint32(journalBurst)))
	} else {
		properties = append(properties, property("LogExtraFields", fields))
	}
	if paths := hostPaths(l); len(paths) > 0 {
		properties = append(properties, property("RequiresMountsFor", paths))
	}
	return append(properties, unitLimits(&l.spec.Container.Resources)...)
}

func property(name string, value any) sddbus.Property {
	return sddbus.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// unitLimits are the properties that say the container's limits on its unit.
func unitLimits(r *protocol.Resources) (properties []sddbus.Property) {
	if r.Memory > 0 {
		properties = append(properties, property("MemoryMax", uint64(r.Memory+holderMemory)))
	}
	if r.Pids > 0 {
		properties = append(properties, property("TasksMax", uint64(r.Pids+holderTasks)))
	}
	if r.CPUShares > 0 {
		properties = append(properties, property("CPUWeight", cpuWeight(r.CPUShares)))
	}
	if r.CPUQuota > 0 {
		period := cmp.Or(r.CPUPeriod, defaultCPUPeriod)
		properties = append(properties, property("CPUQuotaPerSecUSec", uint64(r.CPUQuota)*uint64(time.Second/time.Microsecond)/period))
	}
	if r.MemoryReservation > 0 {
		properties = append(properties, property("MemoryLow", uint64(r.MemoryReservation)))
	}
	if r.Memory > 0 && r.MemorySwap >= r.Memory {
		properties = append(properties, property("MemorySwapMax", uint64(r.MemorySwap-r.Memory)))
	}
	return append(append(properties, setLimits(r)...), ioLimits(r)...)
}

// limit sets them on a unit that runs, so that systemd agrees with what its
// cgroups say: it writes its own again at a daemon-reload. What has become
// unlimited is said, too.
func (s *systemdLauncher) limit(ctx context.Context, unit string, before, after *protocol.Resources) error {
	systemd, err := s.connect(ctx)
	if err != nil {
		return err
	}
	properties := append(unitLimits(after), unitUnlimited(before, after)...)
	if err := systemd.SetUnitPropertiesContext(ctx, unit, true, properties...); err != nil {
		return davit.Errorf(davit.UnitFailed, "cannot set the limits of unit %s: %w", unit, err)
	}
	return nil
}

// unitUnlimited are the properties of limits that there were and no longer are.
// The greatest number is systemd's "infinity", and of a weight "not set".
func unitUnlimited(before, after *protocol.Resources) (properties []sddbus.Property) {
	given := make(map[string]bool)
	for _, p := range unitLimits(after) {
		given[p.Name] = true
	}
	properties = append(properties, property("TasksMax", uint64(math.MaxUint64)))
	for _, p := range unitLimits(before) {
		switch p.Name {
		case "MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "CPUWeight", "IOWeight":
			properties = append(properties, property(p.Name, uint64(math.MaxUint64)))
		case "MemoryLow":
			properties = append(properties, property(p.Name, uint64(0)))
		case "AllowedCPUs", "AllowedMemoryNodes":
			properties = append(properties, property(p.Name, []byte{}))
		}
	}
	return slices.DeleteFunc(properties, func(p sddbus.Property) bool { return given[p.Name] })
}

// cpuWeight converts the shares of cgroup v1, 2 to 262144, as runc does.
func cpuWeight(shares uint64) uint64 {
	return 1 + (min(max(shares, 2), 262144)-2)*9999/262142
}

// hostPaths are those without whose mounts the container is not to start.
func hostPaths(l *launch) []string {
	paths := []string{l.spec.Holder.Rootfs.Upper}
	for _, m := range l.spec.Container.Mounts {
		switch m.Type {
		case "bind":
			paths = append(paths, m.Source)
		case "volume":
			device := m.VolumeOptions["device"]
			if filepath.IsAbs(device) && !strings.HasPrefix(device, "//") { // that is a server's share
				paths = append(paths, filepath.Clean(device))
			}
		}
	}
	return paths
}
