// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/davit-engine/davit/engine"
)

// reportEvery bounds how often systemd is told what the daemon does.
const reportEvery = time.Second

// report keeps the status that systemd shows up to date until ctx ends.
func (d *daemon) report(ctx context.Context) {
	changed := make(chan struct{}, 1)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		d.eng.Watch(ctx, func(n engine.Notice) {
			if n.Kind == engine.JobProgress {
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	defer func() { <-watching }()
	pause := time.NewTicker(reportEvery)
	defer pause.Stop()
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		switch d.life.at() {
		case ready:
			d.life.status(d.doing())
		case stopping:
			d.life.status(waitingFor(d.eng.Load().Changes))
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// doing says what the daemon does when it is up.
func (d *daemon) doing() string {
	text := fmt.Sprintf("Listening on %s", count(len(d.sockets), "socket"))
	if d.service == nil {
		return text
	}
	all, running := d.service.Counts()
	text += fmt.Sprintf("; %s, %d running", count(all, "container"), running)
	if l := d.eng.Load(); l.Changes > 0 {
		text += "; " + count(l.Changes, "job")
	}
	return text
}

// waitingFor says what the daemon does on its way out.
func waitingFor(jobs int) string {
	if jobs == 0 {
		return "Shutting down"
	}
	return "Waiting for " + count(jobs, "job")
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
