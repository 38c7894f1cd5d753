// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// begun is what a container's program does first: it writes a byte into a
// named pipe that it shares with this process, the same for both engines.
const begun = "echo >/bench/begun"

// A bench measures two engines beside each other.
type bench struct {
	engines [2]*engine // Davit, dockerd
	dir     string     // mounted as /bench
	begun   *os.File   // the pipe, open for both
	lines   int64      // bytes of the file /bench/lines
	rows    []*row
	keep    [2]container // that runs while others come and go
}

// row is what was measured of one thing, by engine.
type row struct {
	name, unit string
	values     [2][]float64
}

// row returns the row of that name, and makes it.
func (b *bench) row(name, unit string) *row {
	for _, r := range b.rows {
		if r.name == name {
			return r
		}
	}
	r := &row{name: name, unit: unit}
	b.rows = append(b.rows, r)
	return r
}

// A note takes a measurement of one engine, unless that is a warming up.
type note func(name, unit string, value float64)

func (n note) since(name string, begin time.Time) { n(name, "ms", ms(time.Since(begin))) }

func (n note) rate(name string, bytes int64, d time.Duration) {
	n(name, "MB/s", float64(bytes)/1e6/d.Seconds())
}

// alternate measures both in turns, so that what else the machine does falls
// on both alike. The first rounds are not counted.
func (b *bench) alternate(n, warm int, measure func(engine int, n note) error) error {
	for i := range n + warm {
		for e := range b.engines {
			record := func(name, unit string, value float64) {
				r := b.row(name, unit)
				if i >= warm {
					r.values[e] = append(r.values[e], value)
				}
			}
			if err := measure(e, record); err != nil {
				return err
			}
		}
	}
	return nil
}

// mounts is the host configuration of a container that tells when it begins.
func (b *bench) mounts() map[string]any { return map[string]any{"Binds": []string{b.dir + ":/bench"}} }

// logged is one whose log is kept whole, in the same way by both engines.
func (b *bench) logged(driver string) map[string]any {
	h := b.mounts()
	config := map[string]string{}
	if driver == "json-file" {
		config = map[string]string{"max-size": "2g", "max-file": "1"}
	}
	h["LogConfig"] = map[string]any{"Type": driver, "Config": config}
	return h
}

// await waits for n programs to begin.
func (b *bench) await(n int) error {
	if err := b.begun.SetReadDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	for buf := make([]byte, 64); n > 0; {
		read, err := b.begun.Read(buf[:min(n, len(buf))])
		if err != nil {
			return fmt.Errorf("a program that was started has not begun: %w", err)
		}
		n -= read
	}
	return nil
}

// shell is `docker run` from a shell.
func (b *bench) shell(ctx context.Context, e int, n note) error {
	begin := time.Now()
	defer n.since("docker run --rm IMAGE true", begin)
	return b.engines[e].docker(ctx, "run", "--rm", b.engines[e].image, "true")
}

// cycle creates, starts, awaits and removes one container through the API.
func (b *bench) cycle(ctx context.Context, e int, n note) error {
	begin := time.Now()
	defer n.since("API create+start+wait+remove", begin)
	c, err := b.engines[e].create(ctx, nil, "true")
	if err != nil {
		return err
	}
	return errors.Join(c.start(ctx), c.wait(ctx), c.remove(ctx))
}

// life measures each call of a container's life by itself.
func (b *bench) life(ctx context.Context, e int, n note) error {
	begin := time.Now()
	c, err := b.engines[e].create(ctx, b.mounts(), "sh", "-c", "trap 'exit 0' TERM; "+begun+"; while :; do busybox sleep 60 & wait; done")
	if err != nil {
		return err
	}
	n.since("create", begin)
	begin = time.Now()
	returned := make(chan error, 1)
	var took time.Duration
	go func() {
		err := c.start(ctx)
		took = time.Since(begin)
		returned <- err
	}()
	err = b.await(1)
	n.since("start, to the program's first act", begin)
	if err := errors.Join(err, <-returned); err != nil {
		return err
	}
	n("start, to the call's return", "ms", ms(took))
	begin = time.Now()
	if err := c.stop(ctx); err != nil {
		return err
	}
	n.since("stop (the program ends at SIGTERM)", begin)
	begin = time.Now()
	err = c.remove(ctx)
	n.since("remove", begin)
	return err
}

// exec measures a process in a container that runs.
func (b *bench) exec(ctx context.Context, e int, n note) error {
	begin := time.Now()
	defer n.since("exec create+start, to the end of its output", begin)
	return b.keep[e].exec(ctx, 4, "busybox", "echo", "out")
}

// parallel starts many containers at once.
func (b *bench) parallel(ctx context.Context, e, many int, n note) error {
	all := make([]container, many)
	err := each(all, func(i int) (err error) {
		all[i], err = b.engines[e].create(ctx, b.mounts(), "sh", "-c", begun+"; exec busybox sleep 600")
		return err
	})
	if err != nil {
		return err
	}
	begin := time.Now()
	var group sync.WaitGroup
	group.Go(func() { err = each(all, func(i int) error { return all[i].start(ctx) }) })
	late := b.await(many)
	n.since(fmt.Sprintf("%d starts at once, to the last program", many), begin)
	group.Wait()
	return errors.Join(err, late, each(all, func(i int) error { return all[i].remove(ctx) }))
}

// each calls f for all containers at once.
func each(all []container, f func(i int) error) error {
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { errs[i] = f(i) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// logs measures the way of output into a log, and out of it.
func (b *bench) logs(ctx context.Context, e int, n note) error {
	c, err := b.engines[e].create(ctx, b.logged("json-file"), "sh", "-c", begun+"; exec busybox cat /bench/lines")
	if err != nil {
		return err
	}
	if err := errors.Join(c.start(ctx), b.await(1)); err != nil {
		return err
	}
	begin := time.Now()
	if err := c.wait(ctx); err != nil {
		return err
	}
	n.rate("80-byte lines into json-file", b.lines, time.Since(begin))
	begin = time.Now()
	read, err := c.logs(ctx)
	if err == nil && read != b.lines {
		err = fmt.Errorf("the log of %s has %d bytes, not %d", b.engines[e].socket, read, b.lines)
	}
	n.rate("docker logs of them", read, time.Since(begin))
	return errors.Join(err, c.remove(ctx))
}

// attach measures an attached stream.
func (b *bench) attach(ctx context.Context, e int, n note) error {
	c, err := b.engines[e].create(ctx, b.logged("none"), "busybox", "cat", "/bench/lines")
	if err != nil {
		return err
	}
	stream, conn, err := c.attach(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := c.start(ctx); err != nil {
		return err
	}
	if _, err := stream.Peek(1); err != nil {
		return err
	}
	begin := time.Now()
	read, err := payload(stream)
	if err == nil && read != b.lines {
		err = fmt.Errorf("%d bytes came from %s, not %d", read, b.engines[e].socket, b.lines)
	}
	n.rate("attached stream", read, time.Since(begin))
	return errors.Join(err, c.remove(ctx))
}

// populate creates containers until there are many.
func (b *bench) populate(ctx context.Context, e, many int) error {
	have, err := b.engines[e].count(ctx)
	for err == nil && have < many {
		batch := make([]container, min(25, many-have))
		err = each(batch, func(int) error { _, err := b.engines[e].create(ctx, nil, "true"); return err })
		have += len(batch)
	}
	return err
}

// list measures what is asked most often of an engine with many containers.
func (b *bench) list(ctx context.Context, e, many int, n note) error {
	begin := time.Now()
	have, err := b.engines[e].count(ctx)
	if err == nil && have != many {
		err = fmt.Errorf("%s lists %d containers, not %d", b.engines[e].socket, have, many)
	}
	n.since(fmt.Sprintf("API list of %d containers", many), begin)
	if err != nil {
		return err
	}
	begin = time.Now()
	err = b.engines[e].docker(ctx, "ps", "-a")
	n.since(fmt.Sprintf("docker ps -a of %d containers", many), begin)
	return err
}

// memory reads a process's resident set, in bytes.
func memory(pid int) (int64, error) {
	kB, err := statusField(pid, "VmRSS")
	return kB << 10, err
}

// statusField reads a number of proc_pid_status(5).
func statusField(pid int, name string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var n int64
		if _, err := fmt.Sscanf(line, name+": %d", &n); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, name)
}
