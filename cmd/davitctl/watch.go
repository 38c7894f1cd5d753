// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"
)

func newWatch(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "watch ID", Short: "Follow a job to its end; fails when the job does", Args: arguments(1, 1),
		Long: "Follow a job to its end. On a terminal, what it works on is shown as bars; elsewhere, line by line. " +
			"Interrupting it leaves the job alone.",
		ValidArgsFunction: completeJobs(o, "waiting", "running"),
		RunE:              o.onBus((*client).watch),
	}
}

// watch prints a job's progress as it comes, and fails when the job did not
// end well.
func (c *client) watch(args []string) error {
	id, err := jobID(args[0])
	if err != nil {
		return err
	}
	j := submitted{id: id}
	if err := c.manager("GetJob", id).Store(&j.path); err != nil {
		return fmt.Errorf("cannot watch job %d: %w", id, err)
	}
	if err := c.showProgress(j, c.std.out); err != nil {
		return err
	}
	result, output, err := c.outcome(j)
	if err != nil {
		return err
	}
	if c.asJSON {
		plain := output.plain()
		plain["id"], plain["result"] = id, result
		return c.printJSON(plain)
	}
	f := &fields{}
	f.add(fmt.Sprintf("Job %d", id), result)
	names := make([]string, 0, len(output))
	for name := range output {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f.add(name, output.text(name))
	}
	return c.printFields(f)
}

// progress is a line of the engine's progress streams, which have the form of
// the Docker API's.
type progress struct {
	Status         string
	ID             string
	ProgressDetail struct{ Current, Total uint64 }
}

// percent is how far it is; false when that is not known.
func (p progress) percent() (uint64, bool) {
	d := p.ProgressDetail
	if d.Total == 0 {
		return 0, false
	}
	return uint64(100 * min(1, float64(d.Current)/float64(d.Total))), true
}

// display shows the progress of a job.
type display interface {
	show(p progress) error
	// end leaves the final state on the display.
	end() error
}

// showProgress shows what a job reports until it has finished. With --json the
// engine's lines are passed on as they are.
func (c *client) showProgress(j submitted, w io.Writer) error {
	var fd dbus.UnixFD
	if err := c.call(j.path, jobInterface+".OpenOutput", uint64(0)).Store(&fd); err != nil {
		return fmt.Errorf("cannot watch job %d: %w", j.id, err)
	}
	var d display = &lines{w: w, last: map[lineKey]uint64{}}
	if s := styleFor(w, c.color); s.tty {
		d = newBars(w, s)
	}
	err := c.follow(fd, func(line []byte) error {
		if c.asJSON {
			_, err := fmt.Fprintln(w, string(line))
			return err
		}
		var p progress
		if err := json.Unmarshal(line, &p); err != nil {
			return fmt.Errorf("cannot read the job's progress: %w", err)
		}
		if p.Status == "" && p.ID == "" {
			return nil // an error: it is the result, too
		}
		p.Status, p.ID = printable(p.Status), printable(p.ID)
		return d.show(p)
	})
	if eerr := d.end(); err == nil {
		err = eerr
	}
	return err
}

// follow reads a descriptor of the engine's line by line, until its end or
// until the command is interrupted, and closes it.
func (c *client) follow(fd dbus.UnixFD, each func([]byte) error) error {
	f, stop, err := c.open(fd)
	if err != nil {
		return err
	}
	defer stop()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if err := each(scanner.Bytes()); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("cannot read what the engine sends: %w", err)
	}
	return nil
}

// open makes a file of a descriptor that the engine has passed, whose reading
// ends when the command is interrupted. stop closes it.
func (c *client) open(fd dbus.UnixFD) (f *os.File, stop func(), err error) {
	// A read of a descriptor that blocks could not be interrupted.
	if err := syscall.SetNonblock(int(fd), true); err != nil {
		return nil, nil, fmt.Errorf("cannot use the engine's descriptor: %w", err)
	}
	f = os.NewFile(uintptr(fd), "engine")
	release := context.AfterFunc(c.ctx, func() { _ = f.SetDeadline(time.Unix(1, 0)) })
	return f, func() { release(); _ = f.Close() }, nil
}
