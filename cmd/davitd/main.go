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
	"github.com/spf13/pflag"
)

// Exit statuses beside 0.
const (
	exitFailure = 1
	exitUsage   = 2 // bad flags or configuration; nothing was touched
	exitQuit    = 128 + 3
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	line, err := parseFlags(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Printf("Usage: davitd [flags]\n\nThe Davit container engine.\n\n%s", line.set.FlagUsages())
		return 0
	}
	if err != nil {
		return usage(err)
	}
	if line.showVersion {
		fmt.Printf("davitd version %s, build %s\n", davit.Release, davit.Commit)
		return 0
	}
	config, err := line.load()
	if err != nil {
		return usage(err)
	}
	if line.validate {
		fmt.Println("configuration OK")
		return 0
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "davitd: must be run as root: it makes namespaces, mounts and firewall rules")
		return exitFailure
	}
	return serve(line, config)
}

func usage(err error) int {
	fmt.Fprintf(os.Stderr, "davitd: %v\n", err)
	return exitUsage
}
