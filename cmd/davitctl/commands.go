// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
)

// job is a line of ListJobs, a(ussssdo).
type job struct {
	ID       uint32          `json:"id"`
	Type     string          `json:"type"`
	Subject  string          `json:"subject"`
	State    string          `json:"state"`
	Result   string          `json:"result"`
	Progress float64         `json:"progress"`
	Path     dbus.ObjectPath `json:"path"`
}

func (c *client) listJobs([]string) error {
	jobs := []job{}
	if err := c.call(rootPath, managerInterface+".ListJobs").Store(&jobs); err != nil {
		return fmt.Errorf("cannot list jobs: %w", err)
	}
	var rows []string
	for _, j := range jobs {
		progress := "-"
		if j.State == "running" && j.Progress > 0 {
			progress = fmt.Sprintf("%.0f%%", j.Progress*100)
		}
		rows = append(rows, fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s", j.ID, j.Type, dash(printable(j.Subject)), j.State, dash(j.Result), progress))
	}
	return c.table("ID\tTYPE\tSUBJECT\tSTATE\tRESULT\tPROGRESS", jobs, rows)
}

// container is a line of ListContainers, a(sssssto).
type container struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Image   string          `json:"image"`
	State   string          `json:"state"`
	Unit    string          `json:"unit"`
	Created uint64          `json:"created"` // microseconds since the epoch
	Path    dbus.ObjectPath `json:"path"`
}

func (c *client) list([]string) error {
	containers := []container{}
	err := c.call(rootPath, managerInterface+".ListContainers", map[string]dbus.Variant{}, uint64(0)).Store(&containers)
	if err != nil {
		return fmt.Errorf("cannot list containers: %w", err)
	}
	var rows []string
	for _, i := range containers {
		created := time.UnixMicro(int64(i.Created)).Format(time.DateTime)
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s",
			davit.ShortID(i.ID), printable(i.Name), printable(i.Image), i.State, created, dash(printable(i.Unit))))
	}
	return c.table("ID\tNAME\tIMAGE\tSTATE\tCREATED\tUNIT", containers, rows)
}

// status shows the Manager's properties. It does not start the engine.
func (c *client) status([]string) error {
	var values map[string]dbus.Variant
	err := c.conn.Object(davit.BusName, rootPath).CallWithContext(c.ctx, "org.freedesktop.DBus.Properties.GetAll",
		dbus.FlagNoAutoStart, managerInterface).Store(&values)
	if err != nil {
		return fmt.Errorf("cannot ask the engine: %w", err)
	}
	plain := map[string]any{}
	for name, v := range values {
		plain[name] = v.Value()
	}
	var sockets []struct{ Name, Address string }
	if v, ok := values["ListenSockets"]; ok {
		if err := v.Store(&sockets); err != nil {
			return fmt.Errorf("cannot read the engine's sockets: %w", err)
		}
	}
	rows := []string{
		fmt.Sprintf("Version:\t%v (Docker API %v to %v)", plain["Version"], plain["MinApiVersion"], plain["ApiVersion"]),
		fmt.Sprintf("Containers:\t%v, %v running, %v paused", plain["NContainers"], plain["NRunning"], plain["NPaused"]),
		fmt.Sprintf("Images:\t%v", plain["NImages"]),
		fmt.Sprintf("Jobs:\t%v, %v finished", plain["NJobs"], plain["NFinishedJobs"]),
		fmt.Sprintf("State:\t%v", plain["StateDirectory"]),
		fmt.Sprintf("Runtime:\t%v", plain["RuntimeDirectory"]),
		fmt.Sprintf("Storage:\t%v", plain["StorageDriver"]),
		fmt.Sprintf("Firewall:\t%v", dash(fmt.Sprint(plain["FirewallBackend"]))),
		fmt.Sprintf("Cgroups:\t%v", plain["ControlGroupMode"]),
	}
	for _, s := range sockets {
		rows = append(rows, fmt.Sprintf("Socket:\t%s (%s)", s.Address, s.Name))
	}
	return c.table("Engine:\t"+davit.BusName, plain, rows)
}

func (c *client) cancel(args []string) error {
	id, err := jobID(args[0])
	if err != nil {
		return err
	}
	if err := c.call(rootPath, managerInterface+".CancelJob", id).Err; err != nil {
		return fmt.Errorf("cannot cancel job %d: %w", id, err)
	}
	return nil
}

// watch prints a job's progress as it comes, and fails when the job did not
// end well.
func (c *client) watch(args []string) error {
	id, err := jobID(args[0])
	if err != nil {
		return err
	}
	var path dbus.ObjectPath
	if err := c.call(rootPath, managerInterface+".GetJob", id).Store(&path); err != nil {
		return fmt.Errorf("cannot watch job %d: %w", id, err)
	}
	var fd dbus.UnixFD
	if err := c.call(path, jobInterface+".OpenOutput", uint64(0)).Store(&fd); err != nil {
		return fmt.Errorf("cannot watch job %d: %w", id, err)
	}
	if err := c.follow(fd); err != nil {
		return err
	}
	var result string
	var output map[string]dbus.Variant
	if err := c.call(path, jobInterface+".Wait").Store(&result, &output); err != nil {
		return fmt.Errorf("cannot wait for job %d: %w", id, err)
	}
	if result != "done" && result != "skipped" {
		message, _ := output["ErrorMessage"].Value().(string)
		return fmt.Errorf("job %d: %s: %s", id, result, printable(message))
	}
	return c.result(id, result, output)
}

// result prints how a job ended and what it made.
func (c *client) result(id uint32, result string, output map[string]dbus.Variant) error {
	plain := map[string]any{"id": id, "result": result}
	var rows []string
	for name, v := range output {
		plain[name] = v.Value()
		rows = append(rows, fmt.Sprintf("%s:\t%v", name, v.Value()))
	}
	slices.Sort(rows)
	return c.table(fmt.Sprintf("Job %d:\t%s", id, result), plain, rows)
}

// follow prints the lines that the engine writes about a job until the job
// ends, and closes the descriptor. With --json they are passed on as they are.
func (c *client) follow(fd dbus.UnixFD) error {
	// A read of a descriptor that blocks could not be interrupted.
	if err := syscall.SetNonblock(int(fd), true); err != nil {
		return fmt.Errorf("cannot read the job's progress: %w", err)
	}
	f := os.NewFile(uintptr(fd), "progress")
	defer f.Close()
	stop := context.AfterFunc(c.ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Status, ID     string
			ProgressDetail struct{ Current, Total uint64 }
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("cannot read the job's progress: %w", err)
		}
		text := string(lines.Bytes())
		if !c.asJSON {
			text = progressText(line.Status, line.ID, line.ProgressDetail.Current, line.ProgressDetail.Total)
		}
		if text == "" {
			continue // an error: it is the result, too
		}
		if _, err := fmt.Fprintln(c.out, text); err != nil {
			return fmt.Errorf("cannot print: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the job's progress: %w", err)
	}
	return nil
}

func progressText(status, id string, current, total uint64) string {
	text := printable(status)
	if id != "" {
		text = printable(id) + ": " + text
	}
	if total > 0 {
		text += fmt.Sprintf(" %d%%", min(100, 100*current/total))
	}
	return text
}

// printable keeps a name from moving the cursor or the columns.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
