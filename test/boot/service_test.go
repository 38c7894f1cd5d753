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
