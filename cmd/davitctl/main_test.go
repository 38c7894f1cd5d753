// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus"
	"github.com/davit-engine/davit/engine"
)

const busConfig = `<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/></policy></busconfig>`

// startBus runs a private bus and makes it the system bus of this process.
func startBus(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("needs dbus-daemon")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: the engine serves no other user")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(busConfig, "SOCKET", filepath.Join(dir, "bus"))), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", strings.TrimSpace(address))
}

// serve puts an engine on the bus that knows one container and pulls images.
func serve(t *testing.T) *engine.Engine {
	t.Helper()
	eng := engine.New(slog.New(slog.DiscardHandler))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(engine.Register(eng, engine.Type[davit.Info]{Class: engine.Query}, func(context.Context, *engine.Job, davit.Info) (davit.EngineInfo, error) {
		return davit.EngineInfo{Containers: 2, Running: 1}, nil
	}))
	must(engine.Register(eng, engine.Type[davit.Containers]{Class: engine.Query}, func(context.Context, *engine.Job, davit.Containers) ([]davit.ContainerInfo, error) {
		c := davit.ContainerInfo{Container: davit.Container{ID: strings.Repeat("ab", 32), Name: "web", ImageRef: "busybox"}}
		c.State.Status = davit.StatusRunning
		return []davit.ContainerInfo{c}, nil
	}))
	pull := engine.Type[davit.Pull]{Subject: func(q davit.Pull) (string, string) { return q.Reference, q.Reference }}
	must(engine.Register(eng, pull, func(ctx context.Context, j *engine.Job, q davit.Pull) (davit.Image, error) {
		j.Report(engine.Progress{Phase: "Downloading", Item: "abc", Current: 1, Total: 2})
		switch q.Reference {
		case "missing":
			return davit.Image{}, davit.Errorf(davit.NoSuchImage, "no such image: missing\x1b[2J")
		case "slow":
			<-ctx.Done()
			return davit.Image{}, ctx.Err()
		}
		return davit.Image{ID: "sha256:ab"}, nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	server := dbus.New(eng, dbus.Options{Properties: dbus.Properties{Sockets: [][2]string{{"api", "unix:///s"}}}})
	go func() { done <- server.Serve(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("the bus is not served after 10 s")
	}
	return eng
}

func itoa(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

func TestCommands(t *testing.T) {
	startBus(t)
	eng := serve(t)
	ids := map[string]string{}
	for _, name := range []string{"busybox", "missing", "slow"} {
		j, err := eng.Submit(t.Context(), davit.Pull{Reference: name})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = itoa(j.ID())
		if name != "slow" {
			<-j.Done()
		}
	}
	tests := []struct {
		args string
		code int
		out  []string
		err  string
	}{
		{"list-jobs", 0, []string{"ID  TYPE  SUBJECT  STATE     RESULT  PROGRESS\n", "1   pull  busybox  finished  done    -\n", "3   pull  slow     running   -       50%\n"}, ""},
		{"list", 0, []string{"abababababab  web   busybox  running"}, ""},
		{"status", 0, []string{"Containers:  2, 1 running", "Socket:      unix:///s (api)"}, ""},
		{"watch " + ids["busybox"], 0, []string{"abc: Downloading 50%\n", "done\n", "Id:", "sha256:ab"}, ""},
		{"watch " + ids["missing"], 1, []string{"abc: Downloading 50%\n"}, "failed: no such image: missing?[2J"},
		{"cancel " + ids["slow"], 0, nil, ""},
		{"watch " + ids["slow"], 1, nil, "canceled"},
		{"cancel 999", 1, nil, "no such job: 999"},
		{"cancel x", 2, nil, "not the number of a job"},
		{"watch", 2, nil, "takes 1 arguments"},
		{"nonsense", 2, nil, `no command "nonsense"`},
		{"list --nonsense", 2, nil, "unknown flag"},
		{"--help", 0, []string{"list-jobs"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr); code != tt.code {
				t.Errorf("exit status %d, not %d", code, tt.code)
			}
			for _, w := range tt.out {
				if !strings.Contains(stdout.String(), w) {
					t.Errorf("stdout lacks %q:\n%s", w, stdout.String())
				}
			}
			if !strings.Contains(stderr.String(), tt.err) || (tt.err == "" && stderr.Len() > 0) {
				t.Errorf("stderr: %q, want %q", stderr.String(), tt.err)
			}
		})
	}
	for _, args := range []string{"list", "list-jobs", "status", "watch " + ids["busybox"]} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append(strings.Fields(args), "--json"), &stdout, &stderr); code != 0 {
			t.Errorf("%s --json: %d %s", args, code, stderr.String())
		}
		for dec := json.NewDecoder(&stdout); dec.More(); {
			var v any
			if err := dec.Decode(&v); err != nil {
				t.Errorf("%s --json: %v\n%s", args, err, stdout.String())
				break
			}
		}
	}
}

func TestNotRunning(t *testing.T) {
	startBus(t)
	for _, command := range []string{"status", "list", "list-jobs", "watch 1", "cancel 1"} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(command), &stdout, &stderr)
		if code != exitNotRunning || !strings.Contains(stderr.String(), "no Davit engine is on the bus (org.davit.Engine1): start it") {
			t.Errorf("%s: %d %s", command, code, stderr.String())
		}
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"list"}, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "cannot connect to the system bus") {
		t.Errorf("no bus: %d %s", code, stderr.String())
	}
}

func TestInterrupted(t *testing.T) {
	startBus(t)
	eng := serve(t)
	j, err := eng.Submit(t.Context(), davit.Pull{Reference: "slow"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var stdout lineWaiter
	stdout.seen = cancel
	if code := run(ctx, []string{"watch", itoa(j.ID())}, &stdout, &stdout); code != exitInterrupted {
		t.Errorf("exit status %d: %s", code, stdout.String())
	}
	if err := j.Cancel(); err != nil {
		t.Error(err)
	}
}

// lineWaiter tells when something was printed.
type lineWaiter struct {
	bytes.Buffer
	seen func()
}

func (l *lineWaiter) Write(p []byte) (int, error) {
	defer l.seen()
	return l.Buffer.Write(p)
}
