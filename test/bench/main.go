// SPDX-License-Identifier: Apache-2.0

// Command bench measures an engine through its socket, and two engines beside
// each other. bench.sh prepares what it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// aimActivation is how long the first connection on an idle socket may take.
const aimActivation = 150 * time.Millisecond

// errMissed is no fault of the measurements.
var errMissed = errors.New("an aim was missed")

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		if errors.Is(err, errMissed) {
			os.Exit(3)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: bench activate|compare [flags]")
	}
	ctx := context.Background()
	switch args[0] {
	case "activate":
		return activate(ctx, args[1:])
	case "compare":
		return compare(ctx, args[1:])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// activate measures the answer to the first connection on an idle socket.
func activate(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("activate", flag.ContinueOnError)
	socket := flags.String("socket", "", "the socket that the command listens on")
	n := flags.Int("n", 5, "measurements")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var times []time.Duration
	for range *n {
		d, err := activateOnce(ctx, *socket, flags.Args())
		if err != nil {
			return err
		}
		times = append(times, d)
	}
	m := median(times)
	text, _ := aim{most: ms(aimActivation)}.verdict(ms(m), 0)
	fmt.Printf("first connection on an idle socket to the answer: %.1f ms, median of %d   %s\n", ms(m), *n, text)
	if m > aimActivation {
		return errMissed
	}
	return nil
}

func activateOnce(ctx context.Context, socket string, command []string) (d time.Duration, err error) {
	_ = os.Remove(socket)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("no socket at %s", socket)
		}
		time.Sleep(time.Millisecond)
	}
	// Listening and then idle: nothing of the daemon has begun.
	time.Sleep(50 * time.Millisecond)
	e := newEngine(socket, "")
	defer e.client.CloseIdleConnections()
	begin := time.Now()
	err = e.call(ctx, "GET", "/_ping", nil, nil)
	return time.Since(begin), err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
