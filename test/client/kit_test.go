// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs/pkg/errhttp"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// daemon is the engine, or the test is skipped.
func daemon(t testing.TB) *engine {
	t.Helper()
	if eng == nil {
		testutil.RequireRoot(t)
		t.Fatal("there is no daemon")
	}
	return eng
}

// spec is what a container is to be.
type spec struct {
	container.Config
	Host container.HostConfig
	Net  *network.NetworkingConfig
	Name string
}

// sh is a container that runs a script.
func sh(script string, also ...func(*spec)) spec {
	s := spec{}
	s.Image, s.Cmd = image, []string{"sh", "-c", script}
	for _, f := range also {
		f(&s)
	}
	return s
}

// idle is a container that waits, and ends at once when it is told to.
func idle(also ...func(*spec)) spec {
	return sh(`trap "exit 0" TERM; sleep 1000 & wait`, also...)
}

// tryCreate makes a container, which goes with the test.
func (e *engine) tryCreate(t testing.TB, s spec) (string, []string, error) {
	t.Helper()
	made, err := e.cli.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config: &s.Config, HostConfig: &s.Host, NetworkingConfig: s.Net, Name: s.Name,
	})
	if err != nil {
		return "", nil, err
	}
	t.Cleanup(func() { e.remove(t, made.ID) })
	return made.ID, made.Warnings, nil
}

// remove removes a container that there may not be any more.
func (e *engine) remove(t testing.TB, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := e.cli.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && statusOf(err) != 404 && statusOf(err) != 409 { // removed, or being removed
		t.Errorf("cannot remove %.12s: %v", id, err)
	}
}

func (e *engine) create(t testing.TB, s spec) string {
	t.Helper()
	id, _, err := e.tryCreate(t, s)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return id
}

// start makes a container and starts it.
func (e *engine) start(t testing.TB, s spec) string {
	t.Helper()
	id := e.create(t, s)
	e.startAgain(t, id)
	return id
}

func (e *engine) startAgain(t testing.TB, id string) {
	t.Helper()
	if _, err := e.cli.ContainerStart(t.Context(), id, client.ContainerStartOptions{}); err != nil {
		t.Fatalf("start: %v", err)
	}
}

// ran is what a container, or a process in it, has left.
type ran struct {
	code           int
	stdout, stderr string
}

// run makes a container, starts it, and waits for its end.
func (e *engine) run(t testing.TB, s spec) ran {
	t.Helper()
	id := e.start(t, s)
	r := ran{code: e.wait(t, id)}
	r.stdout, r.stderr = e.output(t, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	return r
}

// wait waits for a container that runs, or has ended.
func (e *engine) wait(t testing.TB, id string) int {
	t.Helper()
	return e.waitFor(t, id, container.WaitConditionNotRunning)()
}

// waitFor begins to wait; what it returns returns the exit code.
func (e *engine) waitFor(t testing.TB, id string, condition container.WaitCondition) func() int {
	t.Helper()
	w := e.cli.ContainerWait(t.Context(), id, client.ContainerWaitOptions{Condition: condition})
	return func() int {
		t.Helper()
		select {
		case r := <-w.Result:
			if r.Error != nil {
				t.Fatalf("wait: %s", r.Error.Message)
			}
			return int(r.StatusCode)
		case err := <-w.Error:
			t.Fatalf("wait: %v", err)
		case <-time.After(patience):
			t.Fatalf("no end (%s) of %.12s in %v", condition, id, patience)
		}
		return 0
	}
}

// output is what a container without terminal wrote.
func (e *engine) output(t testing.TB, id string, o client.ContainerLogsOptions) (stdout, stderr string) {
	t.Helper()
	r, err := e.cli.ContainerLogs(t.Context(), id, o)
	if err != nil {
		t.Fatalf("logs: %v", err)
	}
	defer r.Close()
	return split(t, r)
}

func split(t testing.TB, r io.Reader) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, r); err != nil {
		t.Fatalf("streams: %v", err)
	}
	return out.String(), errs.String()
}

func (e *engine) inspect(t testing.TB, id string) container.InspectResponse {
	t.Helper()
	r, err := e.cli.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	return r.Container
}

// until polls a container's state.
func (e *engine) until(t testing.TB, id, what string, holds func(container.InspectResponse) bool) container.InspectResponse {
	t.Helper()
	var last container.InspectResponse
	testutil.Eventually(t, patience, what, func() bool {
		last = e.inspect(t, id)
		return holds(last)
	})
	return last
}

func running(c container.InspectResponse) bool { return c.State.Running && !c.State.Restarting }

// exec runs a command in a container.
func (e *engine) exec(t testing.TB, id string, o client.ExecCreateOptions) ran {
	t.Helper()
	o.AttachStdout, o.AttachStderr = true, true
	made, err := e.cli.ExecCreate(t.Context(), id, o)
	if err != nil {
		t.Fatalf("exec create: %v", err)
	}
	r, err := e.cli.ExecAttach(t.Context(), made.ID, client.ExecAttachOptions{TTY: o.TTY})
	if err != nil {
		t.Fatalf("exec start: %v", err)
	}
	defer r.Close()
	var left ran
	if o.TTY {
		data, err := io.ReadAll(r.Reader)
		if err != nil {
			t.Fatalf("exec: %v", err)
		}
		left.stdout = string(data)
	} else {
		left.stdout, left.stderr = split(t, r.Reader)
	}
	testutil.Eventually(t, patience, "the exec to have ended", func() bool {
		i, err := e.cli.ExecInspect(t.Context(), made.ID, client.ExecInspectOptions{})
		if err != nil {
			t.Fatalf("exec inspect: %v", err)
		}
		left.code = i.ExitCode
		return !i.Running
	})
	return left
}

// in is what a script prints in a container that runs.
func (e *engine) in(t testing.TB, id, script string) string {
	t.Helper()
	r := e.exec(t, id, client.ExecCreateOptions{Cmd: []string{"sh", "-c", script}})
	if r.code != 0 {
		t.Fatalf("exec of %s: exit code %d\n%s%s", script, r.code, r.stdout, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// statusOf is the status that the daemon answered with.
func statusOf(err error) int { return errhttp.ToHTTP(err) }

// group is a file of a container's cgroup: that of a controller, if there are
// hierarchies. The tests are on the daemon's machine.
func (e *engine) group(t testing.TB, id, controller, file string) string {
	t.Helper()
	if e.cgroup2 {
		controller = ""
	}
	pid := strconv.Itoa(e.inspect(t, id).State.Pid)
	lines, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if part[1] != controller {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, part[2], file))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	t.Fatalf("no cgroup of %q in\n%s", controller, lines)
	return ""
}

// check compares with what was wanted, which is a regular expression behind "~".
func check(t testing.TB, what, got, want string) {
	t.Helper()
	got = strings.TrimSpace(got)
	if pattern, ok := strings.CutPrefix(want, "~"); ok {
		if !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("%s: %q, want a match of %s", what, got, pattern)
		}
	} else if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func ptr[T any](v T) *T { return &v }

func itoa(n int) string { return strconv.Itoa(n) }
