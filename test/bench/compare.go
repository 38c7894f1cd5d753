// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

// aims by row. A ratio is Davit's value by dockerd's.
var aims = map[string]aim{
	"docker run --rm IMAGE true":                  {ratio: 0.5},
	"API create+start+wait+remove":                {ratio: 0.5},
	"start, to the program's first act":           {ratio: 0.2},
	"exec create+start, to the end of its output": {ratio: 0.3},
	"80-byte lines into json-file":                {least: 300},
	"docker ps -a of 500 containers":              {most: 50},
	"API list of 500 containers":                  {most: 50},
	"monitor of a container, resident":            {most: 3.5},
	"engine resident, idle":                       {most: 30},
}

// aim is what a row is to reach; what is 0 does not count.
type aim struct{ ratio, most, least float64 }

func (a aim) verdict(davit, ratio float64) (string, bool) {
	var text string
	var met bool
	switch {
	case a.ratio > 0:
		text, met = fmt.Sprintf("<= %.2fx", a.ratio), ratio <= a.ratio
	case a.most > 0:
		text, met = fmt.Sprintf("<= %g", a.most), davit <= a.most
	case a.least > 0:
		text, met = fmt.Sprintf(">= %g", a.least), davit >= a.least
	default:
		return "", true
	}
	if met {
		return "ok (" + text + ")", true
	}
	return "MISSED (" + text + ")", false
}

const (
	lineLength  = 80
	manyLines   = 1_000_000
	manyStarts  = 50
	manyCreated = 500
)

// compare prints the table, and fails when an aim is missed.
func compare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	davit := flags.String("davit", "", "socket of davitd")
	docker := flags.String("docker", "", "socket of dockerd")
	davitPid := flags.Int("davit-pid", 0, "process of davitd, whose memory is read")
	dockerPid := flags.Int("docker-pid", 0, "process of dockerd")
	image := flags.String("image", "", "image that both have")
	dir := flags.String("dir", "", "a directory to share with containers")
	n := flags.Int("n", 20, "measurements of each")
	only := flags.String("only", "", "the one measurement to make: run, cycle, life, exec, monitors, logs, attach, parallel or list")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := &bench{engines: [2]*engine{newEngine(*davit, *image), newEngine(*docker, *image)}, dir: *dir}
	if err := b.prepare(); err != nil {
		return err
	}
	defer b.begun.Close()
	pids := [2]int{*davitPid, *dockerPid}
	err := errors.Join(b.memory("engine resident, idle", pids), b.all(ctx, *n, *only))
	if err == nil {
		err = b.memory("engine resident, after all this", pids)
	}
	missed := b.print()
	if err == nil && missed {
		err = errMissed
	}
	return err
}

// prepare makes what containers share with this process.
func (b *bench) prepare() error {
	fifo := filepath.Join(b.dir, "begun")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		return fmt.Errorf("cannot make %s: %w", fifo, err)
	}
	// For both, so that its end is never seen, and without waiting, so that it
	// can be read with a deadline.
	var err error
	if b.begun, err = os.OpenFile(fifo, os.O_RDWR|syscall.O_NONBLOCK, 0); err != nil {
		return err
	}
	line := append(bytes.Repeat([]byte{'x'}, lineLength-1), '\n')
	lines := bytes.Repeat(line, manyLines)
	b.lines = int64(len(lines))
	return os.WriteFile(filepath.Join(b.dir, "lines"), lines, 0o644)
}

// all makes the measurements, of which n are wanted of what is quick, or the
// one that only names. Those without a name are what others need.
func (b *bench) all(ctx context.Context, n int, only string) error {
	few := max(1, n/5)
	for _, m := range []struct {
		name        string
		times, warm int
		measure     func(e int, n note) error
	}{
		{"run", n, 2, func(e int, n note) error { return b.shell(ctx, e, n) }},
		{"cycle", n, 2, func(e int, n note) error { return b.cycle(ctx, e, n) }},
		{"life", n, 2, func(e int, n note) error { return b.life(ctx, e, n) }},
		{"", 1, 0, func(e int, _ note) error { return b.stay(ctx, e) }},
		{"exec", n, 2, func(e int, n note) error { return b.exec(ctx, e, n) }},
		{"monitors", 1, 0, func(e int, n note) error { return b.monitors(ctx, e, n) }},
		{"logs", few, 1, func(e int, n note) error { return b.logs(ctx, e, n) }},
		{"attach", few, 1, func(e int, n note) error { return b.attach(ctx, e, n) }},
		{"parallel", max(1, n/10), 0, func(e int, n note) error { return b.parallel(ctx, e, manyStarts, n) }},
		{"list", 1, 0, func(e int, _ note) error { return b.populate(ctx, e, manyCreated) }},
		{"list", n, 2, func(e int, n note) error { return b.list(ctx, e, manyCreated, n) }},
		{"", 1, 0, func(e int, _ note) error { return b.keep[e].remove(ctx) }},
	} {
		if only != "" && m.name != "" && m.name != only {
			continue
		}
		if err := b.alternate(m.times, m.warm, m.measure); err != nil {
			return err
		}
	}
	return nil
}

// stay starts the container that is looked into.
func (b *bench) stay(ctx context.Context, e int) (err error) {
	if b.keep[e], err = b.engines[e].create(ctx, b.mounts(), "sh", "-c", begun+"; exec busybox sleep 3600"); err != nil {
		return err
	}
	return errors.Join(b.keep[e].start(ctx), b.await(1))
}

// monitors notes what the process that stays with a container has resident.
func (b *bench) monitors(ctx context.Context, e int, n note) error {
	pid, err := b.keep[e].monitor(ctx)
	if err != nil {
		return err
	}
	bytes, err := memory(pid)
	n("monitor of a container, resident", "MB", mega(bytes))
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	bytes, err = memory(pid)
	n("the same when nothing happens", "MB", mega(bytes))
	return err
}

func (b *bench) memory(name string, pids [2]int) error {
	r := b.row(name, "MB")
	for e, pid := range pids {
		bytes, err := memory(pid)
		if err != nil {
			return err
		}
		r.values[e] = append(r.values[e], mega(bytes))
	}
	return nil
}

func mega(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// print prints the medians and tells whether an aim was missed.
func (b *bench) print() bool {
	missed := false
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	defer func() { _ = table.Flush() }() // to a terminal or a pipe: who is to be told?
	fmt.Fprintln(table, "median\tdavit\tdockerd\tratio\tof\taim")
	for _, r := range b.rows {
		if len(r.values[0]) == 0 || len(r.values[1]) == 0 {
			continue
		}
		davit, docker := median(r.values[0]), median(r.values[1])
		ratio := davit / docker
		text, met := aims[r.name].verdict(davit, ratio)
		missed = missed || !met
		fmt.Fprintf(table, "%s\t%.1f %s\t%.1f %s\t%.2f\t%d\t%s\n", r.name, davit, r.unit, docker, r.unit, ratio, len(r.values[0]), text)
	}
	return missed
}

func median[T float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
