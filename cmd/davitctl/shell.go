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
		Long: "Open a shell, or run the program at PATH, on a terminal of its own in a container that runs. " +
			"The command exits with the status of the program.",
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

func (c *client) shell(args []string, user string, environment []string) error {
	var container dbus.ObjectPath
	if err := c.manager("GetContainer", args[0]).Store(&container); err != nil {
		return fmt.Errorf("cannot open a shell in %s: %w", args[0], err)
	}
	path, argv := "", []string{}
	if len(args) > 1 {
		path, argv = args[1], args[1:]
	}
	env := []string{}
	if t := os.Getenv("TERM"); t != "" {
		env = append(env, "TERM="+t)
	}
	env = append(env, environment...)
	var fd dbus.UnixFD
	var name string
	var session dbus.ObjectPath
	err := c.call(container, containerInterface+".OpenShell", user, path, argv, env).Store(&fd, &name, &session)
	if err != nil {
		return fmt.Errorf("cannot open a shell in %s: %w", args[0], err)
	}
	if err := c.attach(fd, session); err != nil {
		return err
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
	if f, ok := terminal(c.std.in); ok {
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
	}
	go c.send(pty) // a read of standard input cannot be ended: the program's end does it
	_, err = io.Copy(c.std.out, pty)
	if err != nil && c.ctx.Err() == nil && !errors.Is(err, syscall.EIO) { // pty(7): the other side is closed
		return fmt.Errorf("cannot read from the shell: %w", err)
	}
	return c.ctx.Err()
}

// endOfInput is what a terminal takes for the end of what is typed, Ctrl-D: it
// has no other.
const endOfInput = "\x04"

// send passes standard input on, and its end where it is not typed.
func (c *client) send(pty *os.File) {
	if _, err := io.Copy(pty, c.std.in); err == nil {
		_, _ = io.WriteString(pty, endOfInput) // the session may have ended
	}
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
