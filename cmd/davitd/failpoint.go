// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
)

// failpointVariable names the faults that a test wants of the daemon. No unit
// sets it, and it is read once:
//
//	DAVIT_FAILPOINT=hang           after SIGUSR2 the next job hangs, with the engine's lock
//	DAVIT_FAILPOINT=corrupt        after SIGUSR2 the engine's books count as wrong
//	DAVIT_FAILPOINT=unrecorded     after SIGUSR2 the daemon is killed when it is to record a container
//	DAVIT_FAILPOINT=slow-start=5s  the start takes so much longer
//
// Without it SIGUSR2 ends the process, as it does by default (signal(7)).
const failpointVariable = "DAVIT_FAILPOINT"

// failpoint is a fault that waits to be asked for. The zero value is none.
type failpoint struct {
	hang, corrupt, unrecorded atomic.Bool

	slowStart time.Duration
}

// readFailpoint arms what the environment names.
func readFailpoint(log *slog.Logger) (*failpoint, error) {
	f := new(failpoint)
	value := os.Getenv(failpointVariable)
	var fault *atomic.Bool
	switch value {
	case "":
		return f, nil
	case "hang":
		fault = &f.hang
	case "corrupt":
		fault = &f.corrupt
	case "unrecorded":
		fault = &f.unrecorded
	default:
		text, ok := strings.CutPrefix(value, "slow-start=")
		d, err := time.ParseDuration(text)
		if !ok || err != nil {
			return f, fmt.Errorf("invalid %s=%q: it is for tests of the daemon; remove it", failpointVariable, value)
		}
		f.slowStart = d
	}
	log.Warn("this daemon fails on request; that is for tests only", "variable", failpointVariable, "value", value)
	if fault == nil {
		return f, nil
	}
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGUSR2)
	go func() { // for as long as the process
		for range ask {
			fault.Store(true)
			log.Warn("the fault comes now", "value", value)
		}
	}()
	return f, nil
}

// newJob is called, with the engine's lock held, for each new job.
func (f *failpoint) newJob() {
	if f.hang.Load() {
		select {}
	}
}

// mortalState is a state that a daemon may be killed in front of.
type mortalState struct {
	service.State
	faults *failpoint
}

// PutContainer implements [service.State].
func (s mortalState) PutContainer(c *davit.Container) error {
	if s.faults.unrecorded.Load() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // it takes a moment
	}
	return s.State.PutContainer(c)
}
