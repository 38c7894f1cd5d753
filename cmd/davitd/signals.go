// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// forceAfter is which INT or TERM ends the daemon at once.
const forceAfter = 3

// signals turns signals into what the daemon waits for. SIGQUIT and the third
// SIGINT or SIGTERM end the process from here, whatever else it is doing.
type signals struct {
	hangup    chan struct{} // capacity 1: reloads are not counted
	terminate chan struct{} // closed by the first INT or TERM
	incoming  chan os.Signal
	ended     sync.WaitGroup
	exit      func(int)
}

// trap catches signals from now on: one that comes during the boot is kept.
func trap(d *daemon) *signals {
	s := &signals{
		hangup: make(chan struct{}, 1), terminate: make(chan struct{}), incoming: make(chan os.Signal, 8),
		exit: os.Exit,
	}
	signal.Notify(s.incoming, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	s.ended.Go(func() { s.loop(d.log) })
	return s
}

func (s *signals) loop(log *slog.Logger) {
	count := 0
	for sig := range s.incoming {
		switch n := sig.(syscall.Signal); n {
		case syscall.SIGQUIT:
			dump()
			s.exit(exitQuit)
		case syscall.SIGHUP:
			select {
			case s.hangup <- struct{}{}:
			default:
			}
		default:
			count++
			log.Info("received signal", "signal", n.String(), "count", count)
			if count == 1 {
				close(s.terminate)
			}
			if count == forceAfter {
				log.Warn("forced to exit, shutdown interrupted")
				s.exit(128 + int(n))
			}
		}
	}
}

func (s *signals) stop() {
	signal.Stop(s.incoming)
	close(s.incoming)
	s.ended.Wait()
}
