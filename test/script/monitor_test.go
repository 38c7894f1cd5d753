// SPDX-License-Identifier: Apache-2.0

package script

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
)

// inspect returns what docker inspect says of a container, or the error.
func (h *host) inspect(name, format string) string {
	out, _ := h.docker("inspect", "--format", format, name) // the text tells
	return strings.TrimSpace(out)
}

// holder returns the pid of a container's holder: the parent of its first
// process.
func (h *host) holder(t *testing.T, name string) string {
	t.Helper()
	status, err := os.ReadFile("/proc/" + h.inspect(name, "{{.State.Pid}}") + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "PPid:")
	pid := strings.Fields(rest)[0]
	if comm, err := os.ReadFile("/proc/" + pid + "/comm"); err != nil || string(comm) != "davit-holder\n" {
		t.Fatalf("the parent of %s is %q, %v", name, comm, err)
	}
	return pid
}

// TestHolderKilled kills the process that stays with a container. The container
// ends with it, and then its restart policy, --rm and its healthcheck apply.
func TestHolderKilled(t *testing.T) {
	h := newHost(t)
	loop := []string{"busybox", "sh", "-c", "echo up; while :; do sleep 0.1; done"}
	for name, flags := range map[string][]string{
		"plain": nil, "again": {"--restart", "always"}, "stubborn": {"--restart", "unless-stopped", "-v", "/data"}, "gone": {"--rm", "-v", "/data"},
		"probed": {"--restart", "on-failure", "--health-cmd", "true", "--health-interval", "100ms"},
	} {
		h.mustDocker(t, append(append([]string{"run", "-d", "--name", name}, flags...), loop...)...)
	}
	testutil.Eventually(t, patience, "the probe", func() bool { return h.inspect("probed", "{{.State.Health.Status}}") == "healthy" })
	pids := make(map[string]string)
	for _, name := range []string{"plain", "again", "stubborn", "gone", "probed"} {
		pids[name] = h.inspect(name, "{{.State.Pid}}")
		command(t, "kill", "-KILL", h.holder(t, name))
	}
	for name, want := range map[string]string{"plain": "exited 0", "again": "running 1", "stubborn": "running 1", "probed": "running 1 healthy", "gone": "no such"} {
		format := "{{.State.Status}} {{.RestartCount}}{{with .State.Health}} {{.Status}}{{end}}"
		testutil.Eventually(t, patience, name+" to be "+want, func() bool {
			got := strings.ToLower(h.inspect(name, format))
			if name == "gone" {
				return strings.Contains(got, want)
			}
			return strings.HasPrefix(got, strings.Fields(want)[0]) && strings.HasSuffix(want, "healthy") == strings.HasSuffix(got, "healthy") && h.inspect(name, "{{.State.Pid}}") != pids[name]
		})
		if stat, err := os.ReadFile("/proc/" + pids[name] + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") { // who reaps it is the host's affair
			t.Errorf("the process of %s outlived its holder: %s", name, stat)
		}
	}
	for _, name := range []string{"again", "stubborn", "probed"} {
		if out := h.mustDocker(t, "exec", name, "echo", "here"); out != "here" {
			t.Errorf("exec in %s: %s", name, out)
		}
		testutil.Eventually(t, patience, "the log of both runs of "+name, func() bool { return h.mustDocker(t, "logs", name) == "up\nup" })
	}
	if code := h.inspect("plain", "{{.State.ExitCode}}"); code == "0" {
		t.Error("the exit code of a container whose holder was killed is 0")
	}
	h.mustDocker(t, "start", "plain")
	h.mustDocker(t, "rm", "-f", "-v", "plain", "again", "stubborn", "probed")
	if left := h.mustDocker(t, "volume", "ls", "-q"); left != "" {
		t.Errorf("volumes were left: %s", left)
	}
}

// ownPrograms gives the host copies of the programs, which a test may replace.
func (h *host) ownPrograms(t *testing.T) {
	t.Helper()
	bin := filepath.Join(h.dir, "bin")
	command(t, "cp", "-a", h.bin, bin)
	h.bin = bin
}

// replace puts a program in the place of another as a package does: the old file
// stays with those who execute it.
func (h *host) replace(t *testing.T, name string, content []byte) {
	t.Helper()
	path := filepath.Join(h.bin, name)
	if err := os.WriteFile(path+".dpkg-new", content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".dpkg-new", path); err != nil {
		t.Fatal(err)
	}
}

func (h *host) program(t *testing.T, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(h.bin, name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMonitorKilledInAStart kills the program that makes containers, later in
// each round. A start that fails leaves nothing, and the next one succeeds.
func TestMonitorKilledInAStart(t *testing.T) {
	h := bareHost(t)
	h.ownPrograms(t)
	h.start(t)
	h.importBusybox(t)
	monitor := h.program(t, "davit-monitor")
	h.replace(t, "monitor-itself", monitor)
	failed := 0
	for round := range 24 {
		script := fmt.Sprintf("#!/bin/sh\n(exec 3>&- 4>&- 5>&- 6>&- 7>&-; sleep %.3f; kill -KILL $$) >/dev/null 2>&1 &\nexec %s \"$@\"\n",
			float64(3*round)/1000, filepath.Join(h.bin, "monitor-itself"))
		h.replace(t, "davit-monitor", []byte(script))
		name := "round" + strconv.Itoa(round)
		if out, err := h.docker("run", "-d", "--name", name, "-v", "/data", "busybox", "sleep", "1000"); err != nil {
			failed++
			if !strings.Contains(out, "monitor ended without a report") {
				t.Errorf("round %d: %s", round, out)
			}
			if got := h.inspect(name, "{{.State.Status}} {{.State.Pid}}"); got != "created 0" {
				t.Errorf("round %d: after the failure it is %s", round, got)
			}
		} else if out, err := h.docker("inspect", "--format", "{{.State.Running}}", name); err != nil || strings.TrimSpace(out) != "true" {
			t.Errorf("round %d: %s", round, out)
		}
		h.replace(t, "davit-monitor", monitor)
		h.mustDocker(t, "start", name) // of one that runs: it does
		h.mustDocker(t, "exec", name, "true")
		h.mustDocker(t, "rm", "-f", "-v", name)
	}
	t.Logf("%d of 24 starts failed", failed)
	if failed < 3 {
		t.Errorf("only %d starts were hit", failed)
	}
}

// TestProgramsReplaced replaces the programs under containers that run, as an
// upgrade does: what they do next is done by the old ones and the new together.
func TestProgramsReplaced(t *testing.T) {
	h := bareHost(t)
	h.ownPrograms(t)
	h.start(t)
	h.importBusybox(t)
	h.mustDocker(t, "run", "-d", "--name", "web", "--init", "--restart", "always", "--health-cmd", "echo well", "--health-interval", "100ms",
		"busybox", "sh", "-c", `trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done`)
	h.mustDocker(t, "run", "-d", "--name", "other", "-p", "8080:80", "busybox", "sleep", "1000")
	holder := h.holder(t, "web")
	for _, name := range []string{"davit-holder", "davit-monitor", "davit-enter", "davit-init"} {
		h.replace(t, name, append(h.program(t, name), "a later version"...)) // what follows an ELF file's end is not looked at
	}
	if out := h.mustDocker(t, "exec", "web", "echo", "here"); out != "here" {
		t.Errorf("exec: %s", out)
	}
	h.mustDocker(t, "update", "--pids-limit", "30", "--restart", "on-failure", "web")
	if got := limit(t, h.inspect("web", "{{.State.Pid}}"), "pids", "pids.max", "pids.max"); got != "30" {
		t.Errorf("after the update pids.max is %s", got)
	}
	probes := h.inspect("web", "{{(index .State.Health.Log 0).Start}}")
	testutil.Eventually(t, patience, "more probes", func() bool { return h.inspect("web", "{{(index .State.Health.Log 0).Start}}") != probes })
	if got := h.inspect("web", "{{.State.Health.Status}}"); got != "healthy" {
		t.Errorf("it is %s", got)
	}
	h.mustDocker(t, "exec", "web", "kill", "-TERM", "1") // its init passes it on, status 3: the holder starts it again, with the new monitor and init
	testutil.Eventually(t, patience, "the restart", func() bool { return h.inspect("web", "{{.State.Status}} {{.RestartCount}}") == "running 1" })
	if got := h.holder(t, "web"); got != holder {
		t.Errorf("another holder than %s has it: %s", holder, got)
	}
	h.mustDocker(t, "pause", "web")
	h.mustDocker(t, "unpause", "web")
	if out := h.mustDocker(t, "exec", "web", "readlink", "/proc/1/exe"); !strings.Contains(out, "docker-init") {
		t.Errorf("its first process is %s", out)
	}
	if out := h.mustDocker(t, "logs", "web"); out != "up\nbye\nup" {
		t.Errorf("its log is %q", out)
	}
	h.mustDocker(t, "restart", "-t", "1", "web", "other") // new holders
	if got := h.holder(t, "web"); got == holder {
		t.Errorf("after docker restart its holder is still %s", got)
	}
	h.mustDocker(t, "stop", "-t", "1", "web", "other")
	if got := h.inspect("web", "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 3" {
		t.Errorf("stopped, it is %s", got)
	}
}
