// SPDX-License-Identifier: Apache-2.0

// Command davitctl shows and steers a Davit engine through the system bus. It
// owns nothing: whatever it prints, the bus told.
//
// It exits with 0 when the command was carried out, 1 when it failed or the
// watched job did, 2 when it was used wrongly, 3 when no engine is on the bus,
// 4 when the user may not do it, and 130 when it was interrupted. "run --wait"
// and "shell" exit with the status of the container and of the shell.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit"
)

// The exit statuses; the third and fourth are those of systemctl status and of
// the LSB's init scripts.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotRunning  = 3
	exitDenied      = 4
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal kills
	code := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr, time.Now})
	stop()
	os.Exit(code)
}

// stdio is what surrounds a command: where it reads and writes, and the time.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
}

// usageError is the error of a wrong command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usageErrorf(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// statusError ends the program with the status of something that ran in a
// container.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, std stdio) int {
	root := newRoot(std) //nolint:contextcheck // the commands have ctx from ExecuteContext
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var status statusError
	if errors.As(err, &status) {
		return int(status)
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintf(std.err, "davitctl: %s\n", printable(strings.TrimSuffix(line, "\n"))) // there is nowhere else to say it
	}
	return exitStatus(err)
}

func exitStatus(err error) int {
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errNotRunning):
		return exitNotRunning
	case errors.Is(err, errDenied):
		return exitDenied
	}
	return exitFailed
}

// options are the flags that all commands have.
type options struct {
	asJSON, noLegend, noAsk bool
	color                   string
	std                     stdio
}

// newRoot returns the command and its subcommands.
func newRoot(std stdio) *cobra.Command {
	o := &options{std: std}
	root := &cobra.Command{
		Use:   "davitctl",
		Short: "Show and steer the Davit container engine through the system bus",
		Long: "davitctl shows and steers the Davit container engine, davitd(8), through its interface org.davit.Engine1 on the system bus. " +
			"What changes something is a job of the engine: davitctl waits for it, shows how far it is, and cancels it when it is interrupted.",
		Version:       davit.Release,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q (davitctl --help lists them)", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch o.color {
			case "auto", "always", "never":
				return nil
			}
			return usageError{fmt.Errorf("--color is auto, always or never, not %q", o.color)}
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.BoolVar(&o.asJSON, "json", false, "print JSON")
	flags.BoolVar(&o.noLegend, "no-legend", false, "print tables without their titles and their last line")
	flags.BoolVar(&o.noAsk, "no-ask-password", false, "do not ask the user to authenticate for what needs it")
	flags.StringVar(&o.color, "color", "auto", "`WHEN` to colour the output: auto (on a terminal, unless $NO_COLOR is set), always or never")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(&cobra.Group{ID: "containers", Title: "Containers:"}, &cobra.Group{ID: "images", Title: "Images:"}, &cobra.Group{ID: "engine", Title: "Engine and jobs:"})
	root.SetHelpCommandGroupID("engine")
	root.Long = fold(root.Long, helpWidth)
	for group, commands := range map[string][]*cobra.Command{
		"containers": {
			newList(o), newRun(o), newShell(o), newLogs(o), newStart(o), newStop(o), newRestart(o), newKill(o), newRemove(o), newSetProperty(o),
		},
		"images": {newImages(o), newPull(o)},
		"engine": {newStatus(o), newListJobs(o), newWatch(o), newCancel(o), newBootPlot(o), newCompletion()},
	} {
		for _, c := range commands {
			c.GroupID, c.Long = group, fold(c.Long, helpWidth)
			root.AddCommand(c)
		}
	}
	return root
}

// onBus makes a command of a function that needs a connection to the bus.
func (o *options) onBus(f func(*client, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := dial(cmd.Context(), o)
		if err != nil {
			return err
		}
		defer c.close()
		return explain(f(c, args))
	}
}

// arguments refuses a number of arguments below least or, unless it is
// negative, above most.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		n := len(args)
		if n >= least && (most < 0 || n <= most) {
			return nil
		}
		count := fmt.Sprintf("%d", least)
		switch {
		case most < 0:
			count = fmt.Sprintf("at least %d", least)
		case most > least:
			count = fmt.Sprintf("%d to %d", least, most)
		}
		noun := "arguments"
		if most == 1 || most < 0 && least == 1 {
			noun = "argument"
		}
		return usageError{fmt.Errorf("%s takes %s %s, not %d: %s", cmd.Name(), count, noun, n, cmd.UseLine())}
	}
}

// helpWidth is what fits into the narrowest terminal that is usual.
const helpWidth = 79

// fold breaks a text into lines.
func fold(text string, columns int) string {
	var b strings.Builder
	used := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case used+1+width(word) > columns:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += width(word)
	}
	return b.String()
}
