// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// dropIn changes davit.service until undo is called.
func (g *guest) dropIn(name, text string) (undo func()) {
	g.t.Helper()
	path := "/run/systemd/system/davit.service.d/" + name + ".conf"
	g.must("mkdir -p /run/systemd/system/davit.service.d && printf '" + text + "' >" + path + " && systemctl daemon-reload")
	return func() {
		g.t.Helper()
		g.must("rm " + path + " && systemctl daemon-reload && systemctl restart davit.service")
	}
}

// lastJob is the highest number of a job that the engine knows.
func (g *guest) lastJob() int {
	g.t.Helper()
	last := 0
	for word := range strings.FieldsSeq(g.must("busctl --json=short call " + manager + " ListJobs | tr -c '0-9a-zA-Z/_\"' ' '")) {
		if id, err := strconv.Atoi(word); err == nil {
			last = max(last, id)
		}
	}
	return last
}

// hangs has a job hang with the engine's lock: nothing works any more, and only
// systemd is left to see it.
func hangs(t *testing.T, g *guest) {
	within := "4s"
	if g.slow {
		within = "8s"
	}
	undo := g.dropIn("hang", `[Service]\nWatchdogSec=`+within+`\nEnvironment=DAVIT_FAILPOINT=hang\n`)
	g.must("systemctl restart davit.service && docker run --rm tiny true && docker start always >/dev/null")
	pid, payload, monitor := g.property("davit.service", "MainPID"), g.inspect("always", ".State.Pid"), g.property("davit-always.service", "MainPID")
	socket, last, before := g.must("stat --format=%i /run/davit/davit.sock"), g.lastJob(), g.starts()
	if last == 0 {
		t.Fatal("the engine knows no job")
	}
	g.must("kill -USR2 " + pid + " && (timeout 3 docker create tiny true || true) >/dev/null 2>&1")
	g.eventually(30*time.Second, "systemd restarts a daemon that hangs", func() bool {
		now := g.property("davit.service", "MainPID")
		return now != pid && now != "0" && g.property("davit.service", "ActiveState") == "active"
	})
	want(t, g.must("docker ps --format '{{.Names}} {{.State}}'"), "always running")
	want(t, g.must("stat --format=%i /run/davit/davit.sock"), socket)
	want(t, g.inspect("always", ".State.Pid"), payload)
	want(t, g.property("davit-always.service", "MainPID"), monitor)
	if n := g.starts() - before; n != 1 {
		t.Errorf("the daemon was started %d times, not once", n)
	}
	created := g.must("docker create --name next tiny true && docker rm next")
	if next := g.lastJob(); next <= last {
		t.Errorf("the last job is %d, before the restart it was %d (%s)", next, last, created)
	}
	journal := g.must("journalctl --sync; journalctl --no-pager --boot --output=cat --unit=davit.service")
	for _, text := range []string{"Watchdog timeout", "SIGABRT", "goroutine 1 [", "main.(*failpoint).newJob"} {
		if !strings.Contains(journal, text) {
			t.Errorf("the journal has no %q", text)
		}
	}
	undo()
}

// exitsWhenIdle has the daemon exit all the time, and callers that notice
// nothing of it.
func exitsWhenIdle(t *testing.T, g *guest) {
	g.must(`mkdir -p /etc/davit && echo '{"idle-exit": "100ms"}' >/etc/davit/daemon.json && systemctl restart davit.service`)
	payload, before := g.must("systemctl show --value --property=MainPID davit-always.service"), g.starts()
	g.must("pester alternate 200 100ms")
	if n := g.starts() - before; n < 10 {
		t.Errorf("in 200 calls the daemon was started %d times: nothing was shown", n)
	} else {
		t.Logf("200 calls, %d starts of the daemon", n)
	}
	g.eventually(10*time.Second, "an idle daemon exits", func() bool {
		return g.property("davit.service", "ActiveState") == "inactive"
	})
	want(t, g.property("davit.service", "Result"), "success")
	want(t, g.property("davit-always.service", "MainPID"), payload)
	// Somebody who follows is a reason to stay.
	g.must("(timeout 3 docker events >/dev/null 2>&1 &) ; docker ps")
	pid := g.property("davit.service", "MainPID")
	g.must("sleep 1")
	want(t, g.property("davit.service", "MainPID"), pid)
	g.must("rm /etc/davit/daemon.json && (systemctl stop davit.service; systemctl start davit.service)")
}

// isInspected does what takes another way on each version of cgroups, and where
// the daemon is in a sandbox: freezing is the holder's, measuring its own.
func isInspected(t *testing.T, g *guest) {
	g.must("docker run -d --name busy web sh -c 'echo new >/made; while :; do :; done'")
	g.eventually(20*time.Second, "docker diff to show what the container made", func() bool {
		return strings.Contains(g.run("docker diff busy").out, "A /made")
	})
	stats := g.must("docker stats --no-stream --format '{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}' busy")
	// A guest with nothing but cgroup v2 has the controllers that its host left it.
	counted := g.run("test -e /sys/fs/cgroup/memory || grep -qw memory /sys/fs/cgroup/cgroup.controllers").code == 0
	if strings.HasPrefix(stats, "0.00% ") || counted && (strings.Contains(stats, " 0B /") || strings.HasSuffix(stats, " 0")) {
		t.Errorf("a container that computes uses nothing: %s", stats)
	}
	ticks := "cut -d' ' -f14 /proc/$(docker inspect -f '{{.State.Pid}}' busy)/stat"
	g.must("docker pause busy")
	before := g.must(ticks)
	g.must("sleep 1")
	want(t, g.must(ticks), before)
	g.must("systemctl restart davit.service")
	want(t, g.must("docker ps --filter name=busy --format '{{.State}}'"), "paused")
	g.must("docker unpause busy")
	g.eventually(20*time.Second, "the container to compute again", func() bool { return g.must(ticks) != before })
	g.must("docker export busy | tar -t | grep -cx made")
	// What the bus tells of a container that is a unit.
	path := "/org/davit/Engine1/container/$(busctl --json=short call " + manager + " GetContainer s busy | grep -o '_[0-9a-f]*\\|container/[0-9a-f_]*' | head -1 | sed 's,container/,,')"
	props := g.must("busctl get-property org.davit.Engine1 " + path + " org.davit.Engine1.Container Unit Slice ControlGroup State")
	for _, p := range []string{`s "davit-busy.service"`, `s "davit.slice"`, "/davit.slice/davit-busy.service", `s "running"`} {
		if !strings.Contains(props, p) {
			t.Errorf("its properties lack %s:\n%s", p, props)
		}
	}
	g.must("docker pause busy && docker rm -f busy")
	want(t, g.must("systemctl list-units --no-legend --plain --all 'davit-busy*' | wc -l"), "0")
}
