// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"
)

// logFlags are the flags of logs, in journalctl's spelling.
type logFlags struct {
	follow, timestamps bool
	lines              string
	since, until       string
}

func newLogs(o *options) *cobra.Command {
	l := &logFlags{}
	cmd := &cobra.Command{
		Use: "logs CONTAINER", Short: "Show what a container has printed", Args: arguments(1, 1),
		Long: "Show what a container has printed on its standard output and standard error. Where the container is a unit, " +
			"journalctl -u shows it, too.",
		ValidArgsFunction: completeContainers(o, 1),
		RunE:              o.onBus(func(c *client, args []string) error { return l.show(c, args[0]) }),
	}
	f := cmd.Flags()
	f.BoolVarP(&l.follow, "follow", "f", false, "go on with what it prints, until it ends")
	f.StringVarP(&l.lines, "lines", "n", "all", "show this `NUMBER` of the last lines, or all")
	f.StringVar(&l.since, "since", "", "show what is not older than `TIME`, such as \"2026-01-31 10:00\", today or \"5min ago\"")
	f.StringVar(&l.until, "until", "", "show what is not newer than `TIME`")
	f.BoolVarP(&l.timestamps, "timestamps", "t", false, "begin each line with its time")
	return cmd
}

func (l *logFlags) options(now time.Time) (map[string]dbus.Variant, error) {
	values := map[string]dbus.Variant{}
	if l.follow {
		values["Follow"] = dbus.MakeVariant(true)
	}
	if l.timestamps {
		values["Timestamps"] = dbus.MakeVariant(true)
	}
	if l.lines != "all" {
		n, err := strconv.ParseUint(l.lines, 10, 31)
		if err != nil {
			return nil, usageError{fmt.Errorf("--lines is a number or all, not %q", l.lines)}
		}
		values["Tail"] = dbus.MakeVariant(n)
	}
	for name, text := range map[string]string{"SinceUSec": l.since, "UntilUSec": l.until} {
		if text == "" {
			continue
		}
		t, err := parseTime(text, now)
		if err != nil {
			return nil, err
		}
		values[name] = dbus.MakeVariant(uint64(t.UnixMicro()))
	}
	return values, nil
}

func (l *logFlags) show(c *client, name string) error {
	values, err := l.options(c.std.now())
	if err != nil {
		return err
	}
	var container dbus.ObjectPath
	if err := c.manager("GetContainer", name).Store(&container); err != nil {
		return fmt.Errorf("cannot show the log of %s: %w", name, err)
	}
	var fd dbus.UnixFD
	if err := c.call(container, containerInterface+".OpenLogs", values, uint64(0)).Store(&fd); err != nil {
		return fmt.Errorf("cannot show the log of %s: %w", name, err)
	}
	f, stop, err := c.open(fd)
	if err != nil {
		return err
	}
	defer stop()
	if _, err := io.Copy(c.std.out, f); err != nil {
		return fmt.Errorf("cannot show the log of %s: %w", name, err)
	}
	return nil
}
