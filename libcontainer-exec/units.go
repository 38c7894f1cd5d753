// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// maxUnit is the length of the longest unit name, in bytes (systemd.unit(5)).
const maxUnit = 255

// unitName is davit-<name>.service. An engine with another exec root than the
// system's own marks its units: two engines may have containers of one name.
// A name that is too long for a unit has its end replaced by a checksum.
func unitName(name, execRoot string) string {
	suffix := ".service"
	if filepath.Clean(execRoot) != defaultExecRoot {
		suffix = "-" + checksum(filepath.Clean(execRoot)) + suffix
	}
	if most := maxUnit - len("davit-") - len(suffix); len(name) > most {
		sum := "-" + checksum(name)
		name = name[:most-len(sum)] + sum
	}
	return "davit-" + name + suffix
}

// checksum returns eight digits that tell s from others.
func checksum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// spareName is the unit of a container whose name another one's unit still
// has: that was renamed while it ran, which a unit cannot be.
func spareName(c *davit.Container, execRoot string) string {
	return unitName(c.Name+"-"+c.ID[:min(8, len(c.ID))], execRoot)
}

// Unit returns the name of the systemd unit of c: the one that it has when its
// holder was launched, else the one that its start would make; "" with the
// direct launcher. It stays when c is renamed. Only after Create it is certain:
// a unit that is not the engine's may have the name.
func (r *Runtime) Unit(c *davit.Container) string {
	if r.launcher.name() != LauncherSystemd {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if unit, ok := r.units[c.ID]; ok {
		return unit
	}
	return r.chooseUnit(c)
}

// chooseUnit names a unit that no container has; r.mu is held.
func (r *Runtime) chooseUnit(c *davit.Container) string {
	unit := unitName(c.Name, r.opts.ExecRoot)
	for id, taken := range r.units {
		if taken == unit && id != c.ID {
			return spareName(c, r.opts.ExecRoot)
		}
	}
	return unit
}

// claimUnit gives a container that is about to be launched its unit, and what
// to name that if somebody else has one of the name.
func (r *Runtime) claimUnit(c *davit.Container) []string {
	if r.launcher.name() != LauncherSystemd {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	names := []string{r.chooseUnit(c)}
	if spare := spareName(c, r.opts.ExecRoot); spare != names[0] {
		names = append(names, spare)
	}
	r.units[c.ID] = names[0]
	return names
}

// keepUnit remembers, for the next daemon too, the unit that a launch made.
func (r *Runtime) keepUnit(id, unit string) error {
	if unit == "" {
		return nil
	}
	r.mu.Lock()
	r.units[id] = unit
	r.mu.Unlock()
	if err := protocol.WriteFile(filepath.Join(r.dir(id), protocol.UnitFile), unit); err != nil {
		return fmt.Errorf("cannot record the unit: %w", err)
	}
	return nil
}

func (r *Runtime) dropUnit(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.units, id)
}

// loadUnits reads which units a predecessor made.
func (r *Runtime) loadUnits() error {
	ids, err := r.Known()
	if err != nil {
		return err
	}
	for _, id := range ids {
		var unit string
		if protocol.ReadFile(filepath.Join(r.dir(id), protocol.UnitFile), &unit) == nil && unit != "" {
			r.units[id] = unit
		}
	}
	return nil
}
