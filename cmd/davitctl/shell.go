// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newShell(o *options) *cobra.Command {
	var user string
	var environment []string
	cmd := &cobra.Command{
		Use: "shell CONTAINER [PATH [ARG...]]", Short: "Open a shell in a container", Args: arguments(1, -1),
		Long: "Open a shell, or run the program at PATH, in a container that runs. It has a terminal of its own if standard input is one, " +
			"and else pipes. The command exits with the status of the program.",
		ValidArgsFunction: completeContainers(o, 1, "running"),
		RunE: o.onBus(func(c *client, args []string) error {
			return c.shell(args, user, environment)
		}),
	}
	cmd.Flags().SetInterspersed(false) // what follows the container is the program's
	cmd.Flags().StringVar(&user, "uid", "", "run as `USER[:GROUP]`; the container's user if not given")
	cmd.Flags().StringArrayVarP(&environment, "setenv", "e", nil, "set the variable `NAME=VALUE`")
	return cmd
}

// program is what a shell command runs.
type program struct {
	user        string
	argv        []string // none: a shell
	environment []string
}

func (c *client) shell(args []string, user string, environment []string) error {
	var container dbus.ObjectPath
	if err := c.manager("GetContainer", args[0]).Store(&container); err != nil {
		return fmt.Errorf("cannot open a shell in %s: %w", args[0], err)
	}
	p := program{user: user, argv: args[1:], environment: []string{}}
	open := c.pipes
	if _, ok := terminal(c.std.in); ok {
		open = c.openShell
		if t := os.Getenv("TERM"); t != "" {
			p.environment = append(p.environment, "TERM="+t)
		}
	}
	p.environment = append(p.environment, environment...)
	session, err := open(container, p)
	if err != nil {
		return fmt.Errorf("cannot open a shell in %s: %w", args[0], err)
	}
	status, err := c.sessionStatus(session)
	if err != nil {
		return err
	}
	if status != 0 {
		return statusError(status)
	}
	return nil
}

// openShell runs a program on a terminal until one of them ends.
func (c *client) openShell(container dbus.ObjectPath, p program) (dbus.ObjectPath, error) {
	path := ""
	if len(p.argv) > 0 {
		path = p.argv[0]
	}
	var fd dbus.UnixFD
	var name string
	var session dbus.ObjectPath
	err := c.call(container, containerInterface+".OpenShell", p.user, path, append([]string{}, p.argv...), p.environment).Store(&fd, &name, &session)
	if err != nil {
		return "", err
	}
	return session, c.attach(fd, session)
}

// pipes runs a program whose streams are pipes, as this one's are: a terminal
// would have no end of input, and one output.
func (c *client) pipes(container dbus.ObjectPath, p program) (dbus.ObjectPath, error) {
	argv := p.argv
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
	}
	values := map[string]dbus.Variant{"Environment": dbus.MakeVariant(p.environment)}
	if p.user != "" {
		values["User"] = dbus.MakeVariant(p.user)
	}
	var id string
	var session dbus.ObjectPath
	if err := c.call(container, containerInterface+".CreateExec", argv, values, uint64(0)).Store(&id, &session); err != nil {
		return "", err
	}
	var fds []struct {
		Stream string
		FD     dbus.UnixFD
	}
	var j submitted
	err := c.call(session, execInterface+".Start", []string{"stdin", "stdout", "stderr"}, uint64(0)).Store(&fds, &j.id, &j.path)
	if err != nil {
		return "", err
	}
	var outputs sync.WaitGroup
	for _, fd := range fds {
		f, stop, err := c.open(fd.FD)
		if err != nil {
			return "", err
		}
		switch fd.Stream {
		case "stdin":
			go func() { // a read of standard input cannot be ended: the program's end does it
				_, _ = io.Copy(f, c.std.in) // the session may have ended
				stop()
			}()
			continue
		case "stderr":
			outputs.Go(func() { defer stop(); _, _ = io.Copy(c.std.err, f) })
		default:
			outputs.Go(func() { defer stop(); _, _ = io.Copy(c.std.out, f) })
		}
	}
	outputs.Wait()
	return session, c.ctx.Err()
}

// attach connects the user's terminal with the session's until one of them
// ends, and leaves it as it was.
func (c *client) attach(fd dbus.UnixFD, session dbus.ObjectPath) error {
	pty, stop, err := c.open(fd)
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithCancel(c.ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	f, _ := terminal(c.std.in)
	restore, err := rawMode(f)
	if err != nil {
		return err
	}
	defer restore()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	resized <- syscall.SIGWINCH // the first size
	helpers.Go(func() { c.followSize(ctx, f, session, resized) })
	go func() { _, _ = io.Copy(pty, f) }() // a read of the terminal cannot be ended: the program's end does it
	_, err = io.Copy(c.std.out, pty)
	if err != nil && c.ctx.Err() == nil && !errors.Is(err, syscall.EIO) { // pty(7): the other side is closed
		return fmt.Errorf("cannot read from the shell: %w", err)
	}
	return c.ctx.Err()
}

// rawMode gives keys to the session as they are typed. restore may be called
// at any time.
func rawMode(f *os.File) (restore func(), err error) {
	old, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("cannot set up the terminal: %w", err)
	}
	return func() { _ = term.Restore(int(f.Fd()), old) }, nil
}

// followSize gives the session's terminal the size of the user's. A size that
// is not taken is not worth an error: the next one may be.
func (c *client) followSize(ctx context.Context, f *os.File, session dbus.ObjectPath, resized <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-resized:
		}
		columns, rows, err := term.GetSize(int(f.Fd()))
		if err != nil || columns <= 0 || rows <= 0 {
			continue
		}
		_ = c.callIn(ctx, session, execInterface+".ResizeTTY", uint32(rows), uint32(columns)).Err
	}
}

// statusPatience bounds how long the engine may take to learn how a session
// ended whose terminal has closed.
const statusPatience = 5 * time.Second

// sessionStatus returns the status of a session that ends.
func (c *client) sessionStatus(session dbus.ObjectPath) (int, error) {
	ctx, cancel := context.WithTimeout(c.ctx, statusPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var values map[string]dbus.Variant
		err := c.callIn(ctx, session, propertiesInterface+".GetAll", execInterface).Store(&values)
		if err != nil {
			return 0, fmt.Errorf("cannot learn how the shell ended: %w", err)
		}
		if p := properties(values); property[string](p, "State") == "exited" {
			return int(property[int32](p, "ExitStatus")), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("cannot learn how the shell ended: %w", ctx.Err())
		}
	}
}
