// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"
)

// changeable are the properties that a container's Update takes. What else run has
// is of the container for good.
var changeable = kinds{
	"MemoryMax": sizeProperty,
	"TasksMax":  numberProperty,
	"CPUQuota":  quotaProperty,
	"CPUShares": numberProperty,
	"Restart":   textProperty,
}

func newSetProperty(o *options) *cobra.Command {
	var noBlock bool
	cmd := &cobra.Command{
		Use: "set-property CONTAINER NAME=VALUE...", Short: "Change the limits and the restart policy of a container", Args: arguments(2, -1),
		Long: "Change the limits and the restart policy of a container, at once if it runs, and for its next start. All changes are made, or none is. " +
			"The properties are MemoryMax, such as 512M; TasksMax, such as 100, or infinity; CPUQuota, a percentage of one CPU, such as 50%; " +
			"CPUShares, 2 to 262144; and Restart: no, always, unless-stopped or on-failure[:RETRIES].",
		ValidArgsFunction: completeChanges(o),
		RunE: o.onBus(func(c *client, args []string) error {
			return c.setProperties(args[0], args[1:], noBlock)
		}),
	}
	cmd.Flags().BoolVar(&noBlock, "no-block", false, "print the number of the job and do not wait for it")
	return cmd
}

func (c *client) setProperties(name string, assignments []string, noBlock bool) error {
	p := &runProperties{values: map[string]dbus.Variant{}}
	for _, a := range assignments {
		if err := p.assign(changeable, a); err != nil {
			return usageError{err}
		}
	}
	var path dbus.ObjectPath
	if err := c.manager("GetContainer", name).Store(&path); err != nil {
		return fmt.Errorf("cannot change %s: %w", name, err)
	}
	var j submitted
	if err := c.call(path, containerInterface+".Update", p.values, uint64(0)).Store(&j.id, &j.path); err != nil {
		return fmt.Errorf("cannot change %s: %w", name, explain(err))
	}
	if noBlock {
		return c.say("%d", j.id)
	}
	defer c.abandon(j)
	_, output, err := c.outcome(j)
	for _, w := range property[[]string](output, "Warnings") {
		c.note("Warning: " + w)
	}
	return explain(err)
}

// completeChanges completes a container, and then the names of properties.
func completeChanges(o *options) cobra.CompletionFunc {
	containers := completeContainers(o, 1)
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return containers(cmd, args, word)
		}
		return changeable.completions()
	}
}
