// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
)

// process is a line of GetProcesses, a(sus).
type process struct {
	ControlGroup string `json:"controlGroup"`
	PID          uint32 `json:"pid"`
	Command      string `json:"command"`
}

// address is a line of GetAddresses, a(iay).
type address struct {
	Family int32
	Bytes  []byte
}

func (a address) String() string {
	ip, ok := netip.AddrFromSlice(a.Bytes)
	if !ok {
		return ""
	}
	return ip.String()
}

// facts are what the engine tells of a container. What the user may not see,
// or what only a running container has, is missing.
type facts struct {
	properties properties
	processes  []process
	addresses  []string
	log        []string
}

// containerStatuses shows containers; one that cannot be shown does not keep
// the others from it.
func (c *client) containerStatuses(names []string, lines int) error {
	var errs error
	shown := []map[string]any{}
	for i, name := range names {
		f, err := c.factsOf(name, lines)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("cannot show %s: %w", name, explain(err)))
			continue
		}
		if c.asJSON {
			shown = append(shown, f.plain())
			continue
		}
		if i > 0 {
			if err := c.say(""); err != nil {
				return err
			}
		}
		if err := c.containerStatus(f); err != nil {
			return err
		}
	}
	if c.asJSON {
		errs = errors.Join(errs, c.printJSON(shown))
	}
	return errs
}

func (c *client) factsOf(name string, lines int) (*facts, error) {
	var path dbus.ObjectPath
	if err := c.manager("GetContainer", name).Store(&path); err != nil {
		return nil, err
	}
	p, err := c.properties(path, containerInterface)
	if err != nil {
		return nil, err
	}
	f := &facts{properties: p, processes: []process{}, addresses: []string{}, log: []string{}}
	if property[uint32](p, "Leader") != 0 {
		_ = c.call(path, containerInterface+".GetProcesses").Store(&f.processes) // it may end just now
		var addresses []address
		_ = c.call(path, containerInterface+".GetAddresses").Store(&addresses)
		for _, a := range addresses {
			if text := a.String(); text != "" {
				f.addresses = append(f.addresses, text)
			}
		}
	}
	if lines > 0 {
		f.log = c.lastLines(path, lines)
	}
	return f, nil
}

// logLimit bounds what is read of a log for its last lines.
const logLimit = 1 << 20

// lastLines returns the end of a container's log, nothing if the user may not
// read it.
func (c *client) lastLines(path dbus.ObjectPath, n int) []string {
	values := map[string]dbus.Variant{"Tail": dbus.MakeVariant(uint64(n))}
	c.flags &^= dbus.FlagAllowInteractiveAuthorization // no password for an extra
	defer func() {
		if !c.noAsk {
			c.flags |= dbus.FlagAllowInteractiveAuthorization
		}
	}()
	var fd dbus.UnixFD
	if err := c.call(path, containerInterface+".OpenLogs", values, uint64(0)).Store(&fd); err != nil {
		return []string{}
	}
	f, stop, err := c.open(fd)
	if err != nil {
		return []string{}
	}
	defer stop()
	data, _ := io.ReadAll(io.LimitReader(f, logLimit)) // what there is
	out := []string{}
	for line := range bytes.Lines(data) {
		out = append(out, printable(strings.TrimRight(string(line), "\r\n")))
	}
	return out[max(0, len(out)-n):]
}

func (f *facts) plain() map[string]any {
	out := f.properties.plain()
	out["Processes"], out["Addresses"], out["Log"] = f.processes, f.addresses, f.log
	return out
}

func (c *client) containerStatus(f *facts) error {
	p := f.properties
	state := p.text("State")
	failed := state == string(davit.StatusExited) && property[int32](p, "ExitStatus") != 0 || property[bool](p, "OOMKilled")
	if err := c.say("%s %s (%s)", c.style.dot(state, failed), p.text("Name"), davit.ShortID(p.text("Id"))); err != nil {
		return err
	}
	image := p.text("Image")
	if id := p.text("ImageId"); id != "" {
		image += c.style.paint(dim, " ("+shortImage(id)+")")
	}
	out := &fields{}
	out.add("Unit", p.text("Unit"))
	out.add("State", c.stateText(p, state, failed))
	out.add("Created", timestamp(p.time("CreateTimestamp")))
	out.add("Image", image)
	if policy := p.text("RestartPolicy"); policy != "" && policy != "no" {
		if n := property[uint32](p, "NRestarts"); n > 0 {
			policy += fmt.Sprintf(", restarted %d times", n)
		}
		out.add("Restart", policy)
	}
	out.add("Leader", f.leader())
	out.add("Address", strings.Join(f.addresses, "\n"))
	out.add("CGroup", p.text("ControlGroup"))
	var processes []string
	for _, i := range f.processes {
		processes = append(processes, fmt.Sprintf("%d %s", i.PID, printable(i.Command)))
	}
	out.add("Processes", c.style.tree(processes))
	if err := c.printFields(out); err != nil || len(f.log) == 0 {
		return err
	}
	return c.say("\n%s", strings.Join(f.log, "\n"))
}

// leader names the main process.
func (f *facts) leader() string {
	pid := property[uint32](f.properties, "Leader")
	if pid == 0 {
		return ""
	}
	for _, i := range f.processes {
		if i.PID == pid {
			name, _, _ := strings.Cut(i.Command, " ")
			return fmt.Sprintf("%d (%s)", pid, printable(name[strings.LastIndexByte(name, '/')+1:]))
		}
	}
	return fmt.Sprint(pid)
}

// dot is the mark before a name, as systemctl status has it.
func (s style) dot(state string, failed bool) string {
	switch davit.Status(state) {
	case davit.StatusRunning, davit.StatusPaused, davit.StatusRestarting:
		return s.paint(stateColor(state), s.pick("●", "*"))
	}
	if failed {
		return s.paint(red, s.pick("×", "x"))
	}
	return s.pick("○", "-")
}

// stateText says what state the container is in, and since when.
func (c *client) stateText(p properties, state string, failed bool) string {
	color, since := stateColor(state), p.time("StartTimestamp")
	text := state
	switch davit.Status(state) {
	case davit.StatusRunning, davit.StatusPaused:
		if health := p.text("Health"); health != "" && health != "none" {
			text += " (" + health + ")"
		}
	default:
		since = p.time("FinishTimestamp")
		if !since.IsZero() {
			text += fmt.Sprintf(" (status %d)", property[int32](p, "ExitStatus"))
		}
		if failed {
			color = red
		}
	}
	if property[bool](p, "OOMKilled") {
		text += " (out of memory)"
	}
	text = c.style.paint(color, text)
	if !since.IsZero() {
		text += " since " + timestamp(since) + "; " + ago(c.std.now(), since)
	}
	return text
}
