// SPDX-License-Identifier: Apache-2.0

// Command davitctl shows and steers a Davit engine through the system bus. It
// owns nothing: whatever it prints, the bus told.
//
// It exits with 0 when the command was carried out, 1 when it failed or the
// watched job did, 2 when it was used wrongly, 3 when no engine is on the bus,
// and 130 when it was interrupted.
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

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit"
)

// The exit statuses.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotRunning  = 3 // as of systemctl status
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// usageError is the error of a wrong command line.
type usageError struct{ error }

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot() //nolint:contextcheck // the commands have ctx from ExecuteContext
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	_, _ = fmt.Fprintf(stderr, "davitctl: %v\n", err) // there is nowhere else to say it
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errNotRunning):
		return exitNotRunning
	}
	return exitFailed
}

// newRoot returns the command and its subcommands.
func newRoot() *cobra.Command {
	var asJSON bool
	root := &cobra.Command{
		Use:           "davitctl",
		Short:         "Show and steer the Davit container engine through the system bus",
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
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	commands := []struct {
		use, short string
		run        func(*client, []string) error
	}{
		{"status", "Show the engine", (*client).status},
		{"list", "List the containers", (*client).list},
		{"list-jobs", "List the jobs that wait, run or have lately finished", (*client).listJobs},
		{"watch ID", "Follow a job to its end; fails when the job does", (*client).watch},
		{"cancel ID", "Cancel a job", (*client).cancel},
	}
	for _, c := range commands {
		root.AddCommand(&cobra.Command{
			Use: c.use, Short: c.short, Args: exactly(strings.Count(c.use, " ")),
			RunE: func(cmd *cobra.Command, args []string) error {
				cl, err := dial(cmd.Context(), cmd.OutOrStdout(), asJSON)
				if err != nil {
					return err
				}
				defer cl.close()
				return cl.explain(c.run(cl, args))
			},
		})
	}
	return root
}

func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s takes %d arguments, not %d: %s", cmd.Name(), n, len(args), cmd.UseLine())}
		}
		return nil
	}
}
