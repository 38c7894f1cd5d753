// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit"
)

func newStatus(o *options) *cobra.Command {
	lines := 10
	cmd := &cobra.Command{
		Use: "status [CONTAINER...]", Short: "Show the engine, or containers", Args: arguments(0, -1),
		Long: "Show the engine and its jobs; it is not started for that. With names, show these containers: what they run, " +
			"their addresses and processes, and the last lines of their logs.",
		ValidArgsFunction: completeContainers(o, -1),
		RunE: o.onBus(func(c *client, args []string) error {
			if len(args) == 0 {
				return c.engineStatus()
			}
			return c.containerStatuses(args, lines)
		}),
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", lines, "show this `NUMBER` of a container's last log lines")
	return cmd
}

// nameAndAddress is an entry of ListenSockets, a(ss).
type nameAndAddress struct{ Name, Address string }

// engineStatus shows the Manager's properties. It does not start the engine.
func (c *client) engineStatus() error {
	c.flags |= dbus.FlagNoAutoStart
	p, err := c.properties(rootPath, managerInterface)
	if err != nil {
		return fmt.Errorf("cannot ask the engine: %w", err)
	}
	var jobs []job
	// Whoever may not see the jobs sees their number.
	_ = c.manager("ListJobs").Store(&jobs)
	if c.asJSON {
		return c.printJSON(p.plain())
	}
	if err := c.say("%s %s - Davit container engine", c.style.paint(green, c.style.pick("●", "*")), davit.BusName); err != nil {
		return err
	}
	f := &fields{}
	version := p.text("Version")
	if docker := p.text("ApiVersion"); docker != "" {
		version += " (Docker API " + p.text("MinApiVersion") + " to " + docker + ")"
	}
	f.add("Version", version)
	f.add("Containers", fmt.Sprintf("%d, %d running, %d paused", property[uint32](p, "NContainers"), property[uint32](p, "NRunning"), property[uint32](p, "NPaused")))
	f.add("Images", p.text("NImages"))
	f.add("State", p.text("StateDirectory"))
	f.add("Runtime", p.text("RuntimeDirectory"))
	f.add("Slice", p.text("Slice"))
	f.add("Storage", p.text("StorageDriver"))
	f.add("Firewall", p.text("FirewallBackend"))
	f.add("Cgroups", p.text("ControlGroupMode"))
	f.add("Sockets", c.sockets(p))
	f.add("Jobs", fmt.Sprintf("%d, %d finished", property[uint32](p, "NJobs"), property[uint32](p, "NFinishedJobs")))
	f.add("", c.style.tree(activeJobs(jobs)))
	return c.printFields(f)
}

func (c *client) sockets(p properties) string {
	var list []nameAndAddress
	if v, ok := p["ListenSockets"]; ok {
		_ = v.Store(&list) // of another type: a newer engine's
	}
	var out []string
	for _, s := range list {
		out = append(out, printable(s.Address)+" ("+printable(s.Name)+")")
	}
	return strings.Join(out, "\n")
}

func activeJobs(jobs []job) []string {
	var out []string
	for _, j := range jobs {
		if j.State != "finished" {
			out = append(out, strings.Join(strings.Fields(fmt.Sprintf("%d %s %s %s %s", j.ID, printable(j.Type), printable(j.Subject), j.State, j.progress())), " "))
		}
	}
	return out
}

// tree shows lines as the branches of what is above them.
func (s style) tree(lines []string) string {
	var b strings.Builder
	for i, line := range lines {
		branch := s.pick("├─", "|-")
		if i == len(lines)-1 {
			branch = s.pick("└─", "`-")
		} else {
			line += "\n"
		}
		b.WriteString(s.paint(dim, branch) + line)
	}
	return b.String()
}
