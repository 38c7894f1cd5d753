// SPDX-License-Identifier: Apache-2.0

// Command bench measures an engine through its socket, and two engines beside
// each other. bench.sh prepares what it needs.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// The aims: the ratio is Davit's time by dockerd's.
const (
	aimRatio      = 0.5
	aimMemory     = 30 << 20
	aimActivation = 150 * time.Millisecond
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
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

// An engine is a daemon behind a unix socket.
type engine struct {
	socket string
	client *http.Client
}

func newEngine(socket string) *engine {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &engine{socket: socket, client: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: time.Minute}}
}

// call makes one request and decodes the answer into result, unless that is nil.
func (e *engine) call(ctx context.Context, method, path string, body, result any) error {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://engine/v1.41"+path, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("cannot read the answer to %s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}

// cycle creates, starts, awaits and removes one container through the API.
func (e *engine) cycle(ctx context.Context, image string) error {
	var created struct{ ID string }
	if err := e.call(ctx, "POST", "/containers/create", map[string]any{"Image": image, "Cmd": []string{"true"}}, &created); err != nil {
		return err
	}
	if err := e.call(ctx, "POST", "/containers/"+created.ID+"/start", nil, nil); err != nil {
		return err
	}
	var exit struct{ StatusCode int }
	if err := e.call(ctx, "POST", "/containers/"+created.ID+"/wait", nil, &exit); err != nil {
		return err
	}
	if exit.StatusCode != 0 {
		return fmt.Errorf("the container of %s ended with %d", e.socket, exit.StatusCode)
	}
	return e.call(ctx, "DELETE", "/containers/"+created.ID, nil, nil)
}

// run is `docker run --rm IMAGE true`, as a user's shell would run it.
func (e *engine) run(ctx context.Context, image string) error {
	cmd := exec.CommandContext(ctx, "docker", "run", "--rm", image, "true")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.socket)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker run on %s: %w: %s", e.socket, err, out)
	}
	return nil
}

func timed(f func() error) (time.Duration, error) {
	begin := time.Now()
	err := f()
	return time.Since(begin), err
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// alternate measures both in turns, so that what else the machine does falls
// on both alike. Two rounds before are not counted.
func alternate(n int, a, b func() error) (ta, tb []time.Duration, err error) {
	for i := range n + 2 {
		da, err := timed(a)
		if err != nil {
			return nil, nil, err
		}
		db, err := timed(b)
		if err != nil {
			return nil, nil, err
		}
		if i >= 2 {
			ta, tb = append(ta, da), append(tb, db)
		}
	}
	return ta, tb, nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func verdict(ok bool, aim string) string {
	if ok {
		return "ok (" + aim + ")"
	}
	return "MISSED (" + aim + ")"
}

// compare prints the table, and fails when an aim is missed.
func compare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	davitSocket := flags.String("davit", "", "socket of davitd")
	dockerSocket := flags.String("docker", "", "socket of dockerd")
	pid := flags.Int("pid", 0, "process of davitd, whose memory is read")
	image := flags.String("image", "", "image that both have")
	n := flags.Int("n", 20, "measurements of each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	davit, docker := newEngine(*davitSocket), newEngine(*dockerSocket)
	idle, err := memory(*pid)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "\tdavit\tdockerd\tratio\t")
	missed := false
	for _, m := range []struct {
		name string
		do   func(e *engine) error
	}{
		{"docker run --rm IMAGE true", func(e *engine) error { return e.run(ctx, *image) }},
		{"API create+start+wait+remove", func(e *engine) error { return e.cycle(ctx, *image) }},
	} {
		ta, tb, err := alternate(*n, func() error { return m.do(davit) }, func() error { return m.do(docker) })
		if err != nil {
			return err
		}
		a, b := median(ta), median(tb)
		ratio := float64(a) / float64(b)
		missed = missed || ratio > aimRatio
		fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%s\n", m.name, milliseconds(a), milliseconds(b), ratio,
			verdict(ratio <= aimRatio, fmt.Sprintf("<= %.2f", aimRatio)))
	}
	after, err := memory(*pid)
	if err != nil {
		return err
	}
	missed = missed || idle > aimMemory
	fmt.Fprintf(table, "davitd resident, idle\t%.1f MB\t\t\t%s\n", mega(idle), verdict(idle <= aimMemory, fmt.Sprintf("< %.0f MB", mega(aimMemory))))
	fmt.Fprintf(table, "davitd resident, after all this\t%.1f MB\t\t\t\n", mega(after))
	if err := table.Flush(); err != nil {
		return err
	}
	if missed {
		return fmt.Errorf("an aim was missed")
	}
	return nil
}

func mega(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// memory reads a process's resident set (proc(5), status), in bytes.
func memory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kB int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kB); err == nil {
			return kB << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d has no resident set", pid)
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
	fmt.Printf("first connection on an idle socket to the answer: %s, median of %d   %s\n", milliseconds(m), *n,
		verdict(m <= aimActivation, "< "+milliseconds(aimActivation)))
	if m > aimActivation {
		return fmt.Errorf("an aim was missed")
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
	e := newEngine(socket)
	defer e.client.CloseIdleConnections()
	return timed(func() error { return e.call(ctx, "GET", "/_ping", nil, nil) })
}
