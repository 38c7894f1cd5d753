// SPDX-License-Identifier: Apache-2.0

// Davitd is the Davit container engine: it takes its sockets from systemd,
// speaks the Docker Engine API on them, and serves the engine on the system
// bus.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/activation"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// Exit statuses beside 0.
const (
	exitFailure = 1
	// exitUsage: bad flags or configuration; nothing was touched. It is EX_USAGE
	// (sysexits.h) and not 2, with which Go ends a program that panicked or that a
	// watchdog aborted: that one is to be started again.
	exitUsage = 64
	exitQuit  = 128 + 3
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	systemd, serr := activation.New()
	line, err := parseFlags(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Printf("Usage: davitd [flags]\n\nThe Davit container engine.\n\n%s", line.set.FlagUsages())
		return 0
	}
	if err = errors.Join(err, serr); err != nil {
		return usage(systemd, err)
	}
	if line.showVersion {
		fmt.Printf("davitd version %s, build %s\n", davit.Release, davit.Commit)
		return 0
	}
	config, err := line.load()
	if err != nil {
		return usage(systemd, err)
	}
	if line.validate {
		fmt.Println("configuration OK")
		return 0
	}
	if os.Geteuid() != 0 {
		complain("must be run as root: it makes namespaces, mounts and firewall rules")
		return exitFailure
	}
	return serve(line, config, systemd)
}

// usage says what is wrong with the flags or the configuration, to systemd
// too if it started the daemon; nil if it did not come to that.
func usage(systemd *activation.Systemd, err error) int {
	complain(err.Error())
	if systemd != nil {
		if nerr := systemd.Fatal(invalidArgument{err}, busError(davit.Errorf(davit.InvalidConfiguration, "%w", err))); nerr != nil {
			complain(nerr.Error())
		}
	}
	return exitUsage
}

// invalidArgument is an error with the errno EINVAL, which its text leaves out.
type invalidArgument struct{ error }

func (e invalidArgument) Unwrap() []error { return []error{e.error, unix.EINVAL} }

// busError is the name of an error on the bus.
func busError(err error) string { return davit.BusName + "." + string(davit.CodeOf(err)) }
