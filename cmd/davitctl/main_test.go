// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	for _, name := range []string{"NO_COLOR", "LC_ALL", "LC_CTYPE", "COLUMNS"} {
		_ = os.Unsetenv(name)
	}
	_ = os.Setenv("LANG", "C.UTF-8")
	os.Exit(m.Run())
}

// result is what a command line has left.
type result struct {
	code     int
	out, err string
}

// try runs a command line.
func try(ctx context.Context, args ...string) result {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	now := func() time.Time { return fakeNow }
	code := run(ctx, args, stdio{strings.NewReader(""), &stdout, &stderr, now})
	return result{code, stdout.String(), stderr.String()}
}

func TestGolden(t *testing.T) {
	startBus(t)
	f := serve(t)
	for _, name := range []string{"busybox", "missing", "slow"} {
		j, err := f.eng.Submit(t.Context(), davit.Pull{Reference: name})
		if err != nil {
			t.Fatal(err)
		}
		if name != "slow" {
			<-j.Done()
		}
	}
	for _, tt := range []struct{ file, args string }{
		{"list-jobs.txt", "list-jobs"},
		{"list-jobs-color.txt", "list-jobs --color=always"},
		{"list-jobs-running.txt", "list-jobs --state=running --no-legend"},
		{"list-jobs.json", "list-jobs --json"},
		{"list.txt", "list"},
		{"list-color.txt", "list --color=always"},
		{"list-running.txt", "list --all=false"},
		{"list.json", "list --json"},
		{"images.txt", "images"},
		{"images.json", "images --json"},
		{"status-engine.txt", "status"},
		{"status-web.txt", "status web"},
		{"status-color.txt", "status --color=always web db"},
		{"watch.txt", "watch 1"},
		{"help.txt", "--help"},
		{"help-run.txt", "run --help"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			r := try(t.Context(), strings.Fields(tt.args)...)
			if r.code != 0 || r.err != "" {
				t.Errorf("exit status %d, %s", r.code, r.err)
			}
			testutil.Golden(t, tt.file, r.out)
		})
	}
	t.Setenv("LANG", "C")
	testutil.Golden(t, "status-ascii.txt", try(t.Context(), "status", "web").out)
}

func TestCommands(t *testing.T) {
	startBus(t)
	f := serve(t)
	ids := map[string]string{}
	for _, name := range []string{"busybox", "missing", "slow"} {
		j, err := f.eng.Submit(t.Context(), davit.Pull{Reference: name})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = itoa(j.ID())
		if name != "slow" {
			<-j.Done()
		}
	}
	const everything = "\x00"
	tests := []struct {
		args     string
		code     int
		out, err string
	}{
		{"watch " + ids["busybox"], 0, "abc: Downloading 50%\n", ""},
		{"watch " + ids["missing"], 1, "abc: Downloading 50%\n", "failed: no such image: missing?[2J"},
		{"cancel " + ids["slow"], 0, everything, ""},
		{"watch " + ids["slow"], 1, "", "canceled"},
		{"cancel 998 999", 1, "", "cannot cancel job 999: no such job: 999"},
		{"cancel x", 2, "", "not the number of a job"},
		{"watch", 2, "", "watch takes 1 argument, not 0: davitctl watch ID"},
		{"start", 2, "", "takes at least 1 argument"},
		{"nonsense", 2, "", `no command "nonsense"`},
		{"list --nonsense", 2, "", "unknown flag"},
		{"list --color=blue", 2, "", "not \"blue\""},
		{"list --filter x", 2, "", "NAME=VALUE"},
		{"list --filter name=db --no-legend", 0, "000000000002  db", ""},
		{"list --state=exited --no-legend", 0, "000000000002  db", ""},
		{"start db", 0, everything, ""},
		{"start db nosuch", 1, "", "no such container: nosuch"},
		{"stop -t 90 web", 0, everything, ""},
		{"stop -t never web", 2, "", `"never" is not a length of time`},
		{"restart --no-block web", 0, "\n", ""},
		{"kill -s USR1 web", 0, everything, ""},
		{"kill -s NONE web", 2, "", `"NONE" is not a signal`},
		{"remove --force web", 0, everything, ""},
		{"set-property web MemoryMax=512M CPUQuota=150% CPUShares=512 TasksMax=9 Restart=on-failure:3", 0, "", "Warning: the kernel has no word for it\n"},
		{"set-property --no-block web TasksMax=infinity", 0, "\n", ""},
		{"set-property web MemoryMax=much", 2, "", "MemoryMax=much: "},
		{"set-property web Network=none", 2, "", "Network is not known (known: CPUQuota, CPUShares, MemoryMax, Restart, TasksMax)"},
		{"set-property web MemoryMax", 2, "", "not of the form NAME=VALUE"},
		{"set-property nosuch TasksMax=9", 1, "", "cannot change nosuch: no such container"},
		{"set-property web MemoryMax=infinity", 1, "", "this limit can be changed, but not be taken away"},
		{"pull busybox", 0, "sha256:abab", "abc: Downloading 50%\n"},
		{"pull --platform linux busybox", 1, "", "Platform"},
		{"pull --json busybox", 0, `"Id": "sha256:abab`, "Downloading"},
		{"pull missing", 1, "", "no such image"},
		{"status nosuch web", 1, "● web", "cannot show nosuch: no such container"},
		{"status --json web", 0, `"Leader": 4711,`, ""},
		{"run --collect busybox", 2, "", "--wait"},
		{"run -p Nothing=1 busybox", 2, "", "Nothing is not known (known: After"},
		{"run missing", 1, "", "no such image"},
		{"completion tcsh", 2, "", "no completion for"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			r := try(t.Context(), strings.Fields(tt.args)...)
			if r.code != tt.code {
				t.Errorf("exit status %d, not %d", r.code, tt.code)
			}
			if tt.out == everything && r.out != "" || !strings.Contains(r.out, strings.Trim(tt.out, everything)) {
				t.Errorf("stdout: %q, want %q", r.out, tt.out)
			}
			if !strings.Contains(r.err, tt.err) || (tt.err == "" && r.err != "") {
				t.Errorf("stderr: %q, want %q", r.err, tt.err)
			}
		})
	}
	want := []string{"start 000000000002 ", "start 000000000002 ", "stop 000000000001 1m30s", "restart 000000000001 ", "kill 000000000001 10", "delete 000000000001 true",
		"update 000000000001 536870912 1500000000 512 9 on-failure", "update 000000000001 0 0 0 0 same policy"}
	done := f.done()
	slices.Sort(done) // a job that nobody waits for ends when it likes
	slices.Sort(want)
	if diff := cmp.Diff(want, done); diff != "" {
		t.Errorf("what the engine was asked for (-want +got):\n%s", diff)
	}
}

func TestRun(t *testing.T) {
	startBus(t)
	f := serve(t)
	t.Setenv("FROM_HERE", "yes")
	line := "run --name web -e A=b -e FROM_HERE --publish 8080:80 --bind /srv:/srv:ro --label a=b=c --uid 1 --network none --privileged -t " +
		"-p MemoryMax=1.5G -p TasksMax=10 -p CPUQuota=150% -p Restart=on-failure:3 -p BindReadOnlyPaths=/etc/x:/x busybox sh -c -- --name"
	r := try(t.Context(), strings.Fields(line)...)
	if r.code != 0 || r.out != fakeID(1)+"\n" || r.err != "abc: Downloading 50%\nWarning: mind the gap\nRunning as unit davit-web.service.\n" {
		t.Errorf("%+v", r)
	}
	got, err := json.MarshalIndent(f.created(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	testutil.Golden(t, "run.json", string(got)+"\n")

	if r := try(t.Context(), "run", "--wait", "busybox", "exit", "7"); r.code != 7 || r.out != fakeID(2)+"\n" {
		t.Errorf("--wait: %+v", r)
	}
	if r := try(t.Context(), "run", "--wait", "--collect", "busybox", "exit", "0"); r.code != 0 {
		t.Errorf("--wait --collect: %+v", r)
	}
	if done := f.done(); len(done) != 1 || done[0] != "delete "+fakeID(2)[:12]+" false" {
		t.Errorf("--collect: %v", done)
	}
	if r := try(t.Context(), "run", "--json", "busybox"); r.code != 0 || !json.Valid([]byte(r.out)) || !strings.Contains(r.out, `"Unit": "davit-web.service"`) {
		t.Errorf("--json: %+v", r)
	}
	if r := try(t.Context(), "run", "-e", "NOT_SET_HERE", "busybox"); r.code != exitUsage {
		t.Errorf("-e: %+v", r)
	}
}

// TestInterrupted interrupts commands once they have printed something: the
// job that a command has made is cancelled, one that it watches is not.
func TestInterrupted(t *testing.T) {
	startBus(t)
	f := serve(t)
	j, err := f.eng.Submit(t.Context(), davit.Pull{Reference: "slow"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args     string
		canceled bool
	}{
		{"watch " + itoa(j.ID()), false},
		{"pull slow-too", true},
		{"run slow-again", true},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		w := &lineWaiter{seen: cancel}
		code := run(ctx, strings.Fields(tt.args), stdio{strings.NewReader(""), w, w, time.Now})
		cancel()
		if code != exitInterrupted {
			t.Errorf("%s: exit status %d: %s", tt.args, code, w.String())
		}
		jobs := f.eng.Jobs()
		last := jobs[len(jobs)-1]
		if tt.canceled {
			select {
			case <-last.Done():
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: job %d goes on", tt.args, last.ID())
			}
		}
		if got := string(last.Snapshot().Result) == "canceled"; got != tt.canceled {
			t.Errorf("%s: the job is cancelled: %v, want %v", tt.args, got, tt.canceled)
		}
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

func TestNotRunning(t *testing.T) {
	startBus(t)
	for _, command := range []string{"status", "list", "list-jobs", "watch 1", "start web", "shell web", "logs web", "images", "pull x", "run x", "boot-plot"} {
		r := try(t.Context(), strings.Fields(command)...)
		if r.code != exitNotRunning || !strings.Contains(r.err, "no Davit engine is on the bus (org.davit.Engine1): start it") {
			t.Errorf("%s: %+v", command, r)
		}
	}
	if r := try(t.Context(), "cancel", "1"); r.code != exitNotRunning {
		t.Errorf("cancel: %+v", r)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
	if r := try(t.Context(), "list"); r.code != exitFailed || !strings.Contains(r.err, "cannot connect to the system bus") {
		t.Errorf("no bus: %+v", r)
	}
}

func TestCompletion(t *testing.T) {
	startBus(t)
	f := serve(t)
	j, err := f.eng.Submit(t.Context(), davit.Pull{Reference: "slow"})
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"stop ":                 "web\tbusybox:latest",
		"start ":                "db\t",
		"status web ":           "db\t",
		"cancel ":               itoa(j.ID()) + "\tpull slow",
		"run ":                  "busybox:latest\t",
		"run --property ":       "MemoryMax=",
		"kill --signal ":        "SIGKILL",
		"set-property ":         "db\t",
		"set-property db ":      "CPUQuota=",
		"list --state ":         "exited",
		"completion ":           "fish",
		"list-jobs --state fin": "finished",
	} {
		r := try(t.Context(), append([]string{"__complete"}, strings.Split(line, " ")...)...)
		if r.code != 0 || !strings.Contains("\n"+r.out, "\n"+want) {
			t.Errorf("%q completes to %+v, want %q", line, r, want)
		}
		if strings.HasPrefix(line, "status") && strings.Contains(r.out, "web") {
			t.Errorf("%q completes a name again: %s", line, r.out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		one, two := try(t.Context(), "completion", shell), try(t.Context(), "completion", shell)
		if one.code != 0 || !strings.Contains(one.out, "davitctl __complete") && !strings.Contains(one.out, "__complete") || one != two {
			t.Errorf("%s: %d, %d bytes, reproducible: %v", shell, one.code, len(one.out), one == two)
		}
	}
}

func TestBootPlotOfAnEngine(t *testing.T) {
	startBus(t)
	f := serve(t)
	if _, err := f.eng.Submit(t.Context(), davit.Pull{Reference: "busybox"}); err != nil {
		t.Fatal(err)
	}
	f.eng.Started(time.Now())
	r := try(t.Context(), "boot-plot")
	if r.code != 0 || !strings.Contains(r.out, "pull busybox") || !strings.Contains(r.out, "Ready after") {
		t.Errorf("%+v", r)
	}
	wellFormed(t, r.out)
	if r := try(t.Context(), "boot-plot", "--json"); r.code != 0 || !json.Valid([]byte(r.out)) || !strings.Contains(r.out, `"Type": "pull"`) {
		t.Errorf("--json: %+v", r)
	}
}
