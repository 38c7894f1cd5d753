// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// actions are those of the events of a container, up to now.
func (e *engine) actions(t testing.TB, id string) (out []string) {
	t.Helper()
	for _, m := range e.past(t, client.Filters{}.Add("container", id)) {
		out = append(out, string(m.Action))
	}
	return out
}

func TestStop(t *testing.T) {
	e := daemon(t)
	echo := `for s in TERM USR1 INT; do trap "echo $s; exit 3" $s; done; echo ready; while :; do sleep 0.05; done`
	ready := func(t *testing.T, s spec) string {
		t.Helper()
		id := e.start(t, s)
		testutil.Eventually(t, patience, "its handlers to be in place", func() bool {
			out, _ := e.output(t, id, client.ContainerLogsOptions{ShowStdout: true})
			return out == "ready\n"
		})
		return id
	}
	for _, row := range []struct {
		line string
		ask  func(*spec)
		how  client.ContainerStopOptions
		want string
	}{
		{"TERM", func(*spec) {}, client.ContainerStopOptions{}, "TERM"},
		{"the container's signal", func(s *spec) { s.StopSignal = "SIGUSR1" }, client.ContainerStopOptions{}, "USR1"},
		{"the request's signal", func(s *spec) { s.StopSignal = "SIGUSR1" }, client.ContainerStopOptions{Signal: "SIGINT"}, "INT"},
	} {
		t.Run(row.line, func(t *testing.T) {
			id := ready(t, sh(echo, row.ask))
			if _, err := e.cli.ContainerStop(t.Context(), id, row.how); err != nil {
				t.Fatalf("stop: %v", err)
			}
			out, _ := e.output(t, id, client.ContainerLogsOptions{ShowStdout: true})
			c := e.inspect(t, id)
			if out != "ready\n"+row.want+"\n" || c.State.ExitCode != 3 || c.State.Status != "exited" {
				t.Errorf("it wrote %q and exited %d", out, c.State.ExitCode)
			}
			if _, err := e.cli.ContainerStop(t.Context(), id, row.how); err != nil {
				t.Errorf("a second stop: %v", err) // 304
			}
		})
	}
	t.Run("KILL after the timeout", func(t *testing.T) {
		id := ready(t, sh(`trap "" TERM; echo ready; while :; do sleep 0.05; done`, func(s *spec) { s.StopTimeout = ptr(1) }))
		begin := time.Now()
		if _, err := e.cli.ContainerStop(t.Context(), id, client.ContainerStopOptions{}); err != nil {
			t.Fatalf("stop: %v", err)
		}
		if took := time.Since(begin); took < 900*time.Millisecond || e.inspect(t, id).State.ExitCode != 137 {
			t.Errorf("it took %v, exit code %d", took, e.inspect(t, id).State.ExitCode)
		}
	})
	t.Run("no container", func(t *testing.T) {
		if _, err := e.cli.ContainerStop(t.Context(), "nobody", client.ContainerStopOptions{}); statusOf(err) != 404 || !strings.Contains(err.Error(), "No such container: nobody") {
			t.Errorf("stop: %v", err)
		}
	})
}

func TestRestartByHand(t *testing.T) {
	e := daemon(t)
	id := e.start(t, idle())
	before := e.inspect(t, id).State
	if _, err := e.cli.ContainerRestart(t.Context(), id, client.ContainerRestartOptions{Timeout: ptr(5)}); err != nil {
		t.Fatalf("restart: %v", err)
	}
	c := e.inspect(t, id)
	if !c.State.Running || c.State.Pid == before.Pid || c.RestartCount != 0 {
		t.Errorf("it is %+v, restarted %d times", c.State, c.RestartCount)
	}
	stopped := e.create(t, idle())
	if _, err := e.cli.ContainerRestart(t.Context(), stopped, client.ContainerRestartOptions{}); err != nil || !e.inspect(t, stopped).State.Running {
		t.Errorf("restart of a container that did not run: %v", err)
	}
	if got := e.actions(t, id); !slices.Contains(got, "restart") {
		t.Errorf("its events are %v", got)
	}
}

func TestKill(t *testing.T) {
	e := daemon(t)
	id := e.start(t, sh(`trap "echo usr1" USR1; echo ready; while :; do sleep 0.05; done`))
	says := func(want string) {
		t.Helper()
		testutil.Eventually(t, patience, "it to say "+want, func() bool {
			out, _ := e.output(t, id, client.ContainerLogsOptions{ShowStdout: true})
			return strings.HasSuffix(out, want+"\n")
		})
	}
	says("ready")
	if _, err := e.cli.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "USR1"}); err != nil {
		t.Fatalf("kill: %v", err)
	}
	says("usr1")
	if _, err := e.cli.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "NOPE"}); statusOf(err) != 400 {
		t.Errorf("a signal that there is not: %v", err)
	}
	if _, err := e.cli.ContainerKill(t.Context(), id, client.ContainerKillOptions{}); err != nil {
		t.Fatalf("kill: %v", err)
	}
	if code := e.wait(t, id); code != 137 {
		t.Errorf("exit code %d", code)
	}
	if _, err := e.cli.ContainerKill(t.Context(), id, client.ContainerKillOptions{}); statusOf(err) != 409 || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("kill of a container that does not run: %v", err)
	}
}

func TestWaitForEachCondition(t *testing.T) {
	e := daemon(t)
	id := e.create(t, sh("exit 7", func(s *spec) { s.Host.AutoRemove = true }))
	next, removed := e.waitFor(t, id, container.WaitConditionNextExit), e.waitFor(t, id, container.WaitConditionRemoved)
	if code := e.wait(t, id); code != 0 {
		t.Errorf("a container that does not run yet ended with %d", code)
	}
	e.startAgain(t, id)
	if code := next(); code != 7 {
		t.Errorf("the next exit is %d", code)
	}
	if code := removed(); code != 7 {
		t.Errorf("the removed container's code is %d", code)
	}
	if _, err := e.cli.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{}); statusOf(err) != 404 {
		t.Errorf("inspect of a container that removes itself: %v", err)
	}
}

func TestRename(t *testing.T) {
	e := daemon(t)
	id := e.start(t, idle(func(s *spec) { s.Name = "name-a" }))
	e.create(t, idle(func(s *spec) { s.Name = "name-b" }))
	if _, err := e.cli.ContainerRename(t.Context(), id, client.ContainerRenameOptions{NewName: "name-b"}); statusOf(err) != 409 {
		t.Errorf("rename to a name that is taken: %v", err)
	}
	if _, err := e.cli.ContainerRename(t.Context(), "name-a", client.ContainerRenameOptions{NewName: "name-c"}); err != nil {
		t.Fatalf("rename: %v", err)
	}
	if got := e.inspect(t, "name-c"); got.ID != id || got.Name != "/name-c" {
		t.Errorf("name-c is %.12s %s", got.ID, got.Name)
	}
	e.create(t, idle(func(s *spec) { s.Name = "name-a" })) // it is free again
}

func TestRestartPolicies(t *testing.T) {
	e := daemon(t)
	policy := func(name string, n int) func(*spec) {
		return func(s *spec) {
			s.Host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyMode(name), MaximumRetryCount: n}
		}
	}
	t.Run("on-failure as often as it says, with Docker's back-off", func(t *testing.T) {
		id := e.start(t, sh("exit 9", policy("on-failure", 3)))
		c := e.until(t, id, "the last start to have ended", func(c container.InspectResponse) bool {
			return c.RestartCount == 3 && c.State.Status == "exited"
		})
		if c.State.ExitCode != 9 {
			t.Errorf("exit code %d", c.State.ExitCode)
		}
		var starts []time.Time
		for _, m := range e.past(t, client.Filters{}.Add("container", id).Add("event", "start")) {
			starts = append(starts, time.Unix(0, m.TimeNano))
		}
		if len(starts) != 4 {
			t.Fatalf("it was started %d times", len(starts))
		}
		for i, least := range []time.Duration{100, 200, 400} {
			if pause := starts[i+1].Sub(starts[i]); pause < least*time.Millisecond {
				t.Errorf("the start %d came after %v, want %v at least", i+1, pause, least*time.Millisecond)
			}
		}
	})
	t.Run("on-failure is not for success", func(t *testing.T) {
		id := e.start(t, sh("exit 0", policy("on-failure", 0)))
		if code := e.waitFor(t, id, container.WaitConditionNotRunning)(); code != 0 || e.inspect(t, id).RestartCount != 0 {
			t.Errorf("exit code %d, restarted %d times", code, e.inspect(t, id).RestartCount)
		}
	})
	for _, name := range []string{"always", "unless-stopped"} {
		t.Run(name+" until it is stopped", func(t *testing.T) {
			id := e.start(t, idle(policy(name, 0)))
			e.in(t, id, "kill -USR1 1; kill -9 -1 || true")
			if _, err := e.cli.ContainerKill(t.Context(), id, client.ContainerKillOptions{}); err != nil {
				t.Fatalf("kill: %v", err)
			}
			// By Docker's word, a container that was killed by hand is not started again.
			e.until(t, id, "the killed container to have ended", func(c container.InspectResponse) bool { return c.State.Status == "exited" })
			e.startAgain(t, id)
			testutil.Eventually(t, patience, "its handler to be in place", func() bool {
				return e.in(t, id, `pidof sleep >/dev/null && echo yes || echo no`) == "yes"
			})
			if _, err := e.cli.ContainerStop(t.Context(), id, client.ContainerStopOptions{Timeout: ptr(5)}); err != nil {
				t.Fatalf("stop: %v", err)
			}
			if c := e.inspect(t, id); c.State.Status != "exited" || c.State.ExitCode != 0 {
				t.Errorf("it is %+v", c.State)
			}
		})
	}
	t.Run("update of the policy ends the loop", func(t *testing.T) {
		id := e.start(t, sh("exit 1", policy("always", 0)))
		e.until(t, id, "the container to be restarted", func(c container.InspectResponse) bool { return c.RestartCount > 0 })
		if _, err := e.cli.ContainerUpdate(t.Context(), id, client.ContainerUpdateOptions{RestartPolicy: &container.RestartPolicy{Name: "no"}}); err != nil {
			t.Fatalf("update: %v", err)
		}
		c := e.until(t, id, "the container to stay ended", func(c container.InspectResponse) bool { return c.State.Status == "exited" })
		if p := c.HostConfig.RestartPolicy; p.Name != "no" {
			t.Errorf("its policy is %+v", p)
		}
	})
}

func TestHealthchecks(t *testing.T) {
	e := daemon(t)
	id := e.start(t, idle(func(s *spec) {
		s.Healthcheck = &container.HealthConfig{
			Test: []string{"CMD-SHELL", "echo looked; test -e /well"}, Interval: 100 * time.Millisecond, Timeout: 5 * time.Second, Retries: 2,
			StartPeriod: 0,
		}
	}))
	if h := e.inspect(t, id).State.Health; h == nil || h.Status != "starting" && h.Status != "unhealthy" {
		t.Errorf("its health begins as %+v", h)
	}
	is := func(want container.HealthStatus) container.InspectResponse {
		t.Helper()
		return e.until(t, id, "health "+string(want), func(c container.InspectResponse) bool { return c.State.Health != nil && c.State.Health.Status == want })
	}
	if h := is("unhealthy").State.Health; h.FailingStreak < 2 || h.Log[len(h.Log)-1].ExitCode != 1 || h.Log[len(h.Log)-1].Output != "looked\n" {
		t.Errorf("its health is %+v", h)
	}
	e.in(t, id, "touch /well")
	if h := is("healthy").State.Health; h.FailingStreak != 0 {
		t.Errorf("its health is %+v", h)
	}
	c := e.until(t, id, "the log of five checks", func(c container.InspectResponse) bool { return len(c.State.Health.Log) == 5 })
	for _, r := range c.State.Health.Log {
		if r.Start.IsZero() || r.End.Before(r.Start) {
			t.Errorf("a check from %v to %v", r.Start, r.End)
		}
	}
	list, err := e.cli.ContainerList(t.Context(), client.ContainerListOptions{Filters: client.Filters{}.Add("health", "healthy").Add("id", id)})
	if err != nil || len(list.Items) != 1 || !strings.HasSuffix(list.Items[0].Status, "(healthy)") {
		t.Errorf("the list has %+v, %v", list.Items, err)
	}
	got := e.actions(t, id)
	for _, want := range []string{"health_status: unhealthy", "health_status: healthy"} {
		if !slices.Contains(got, want) {
			t.Errorf("no event %q in %v", want, got)
		}
	}
}

func TestHealthcheckStartPeriod(t *testing.T) {
	e := daemon(t)
	id := e.start(t, idle(func(s *spec) {
		s.Healthcheck = &container.HealthConfig{
			Test: []string{"CMD", "false"}, Interval: time.Hour, StartPeriod: time.Hour, StartInterval: 50 * time.Millisecond, Retries: 1,
		}
	}))
	c := e.until(t, id, "three checks", func(c container.InspectResponse) bool { return c.State.Health != nil && len(c.State.Health.Log) >= 3 })
	if h := c.State.Health; h.Status != "starting" || h.FailingStreak != 0 {
		t.Errorf("in the start period it is %+v", h)
	}
	none := e.start(t, idle(func(s *spec) { s.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}} }))
	if h := e.inspect(t, none).State.Health; h != nil && h.Status != "none" {
		t.Errorf("without a check its health is %+v", h)
	}
}

func TestExitCodesAndErrors(t *testing.T) {
	e := daemon(t)
	for script, want := range map[string]int{"exit 0": 0, "exit 42": 42, "sh -c 'kill -9 $$'; exit $?": 137, "exit 255": 255} {
		if r := e.run(t, sh(script)); r.code != want {
			t.Errorf("%s: exit code %d, want %d", script, r.code, want)
		}
	}
	id := e.create(t, spec{Config: container.Config{Image: image, Cmd: []string{"/etc/passwd"}}})
	_, err := e.cli.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("start of what is not executable: %v", err)
	}
	if c := e.inspect(t, id); c.State.ExitCode != 126 {
		t.Errorf("exit code %d", c.State.ExitCode)
	}
}

func TestAutoRemove(t *testing.T) {
	e := daemon(t)
	id := e.create(t, sh("true", func(s *spec) {
		s.Host.AutoRemove, s.Volumes = true, map[string]struct{}{"/v": {}}
	}))
	removed := e.waitFor(t, id, container.WaitConditionRemoved)
	e.startAgain(t, id)
	removed()
	if left := volumeNames(t, e, nil); len(left) > 0 {
		t.Errorf("its volumes are left: %v", left)
	}
}
