// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// often lets the daemon be started more often than an administrator's would be.
const often = `mkdir -p /run/systemd/system/davit.service.d
printf '[Unit]\nStartLimitIntervalSec=0\n' >/run/systemd/system/davit.service.d/often.conf
mkdir -p /run/systemd/system/davit.socket.d
printf '[Socket]\nTriggerLimitIntervalSec=0\n' >/run/systemd/system/davit.socket.d/often.conf
systemctl daemon-reload`

// TestLife is about the daemon as a service: how it is started, told, watched,
// killed and ended, while containers run.
func TestLife(t *testing.T) {
	require(t, "systemd-nspawn", "mmdebstrap", "ip", "nsenter", "busybox")
	tree, _ := trees(t, "tree", "")
	g := boot(t, &nspawn{unified: len(hierarchies()) > 0}, tree, tools(t))
	g.install()
	g.must(often)

	g.step("bus and socket start one daemon at once", startsOnce)
	g.step("a killed payload has its exit code and its restart policy", killsPayload)
	g.step("a killed monitor takes its payload with it, and its restart policy holds", killsMonitor)
	g.step("a killed daemon comes back to its containers", killsDaemon)
	g.step("arguments are the same after daemon-reload and restart", keepsArguments)
	g.step("a daemon that hangs is restarted by its watchdog", hangs)
	g.step("systemctl changes the log level", tellsItsLevel)
	g.step("an idle daemon stops at once", stopsIdle)
	g.step("a daemon with a job refuses others and stops in time", stopsBusy)
	g.step("a daemon that exits when it is idle loses no call", exitsWhenIdle)
}

// tools are the provisions of a guest whose containers are small: the package,
// the docker CLI, busybox for the image, and pester.
func tools(t *testing.T) map[string]string {
	t.Helper()
	files := provisions(t, "")
	delete(files, "/web.tar")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox")
	}
	files["/usr/local/bin/busybox"] = busybox
	files["/usr/local/bin/pester"] = t.TempDir() + "/pester"
	build := exec.Command("go", "build", "-o", files["/usr/local/bin/pester"], "./pester")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build pester: %v\n%s", err, out)
	}
	return files
}

// install installs the package and makes the small image.
func (g *guest) install() {
	g.t.Helper()
	g.must("dpkg --install /davit.deb")
	g.tiny()
}

// tiny makes the image "tiny", of busybox alone.
func (g *guest) tiny() {
	g.t.Helper()
	g.must(`mkdir -p /image/bin && cp /usr/local/bin/busybox /image/bin
for tool in sh sleep cat echo kill true; do ln -s busybox /image/bin/$tool; done
tar -C /image -c . | docker import - tiny`)
}

// inspect is one field of a container's description.
func (g *guest) inspect(container, field string) string {
	g.t.Helper()
	return g.must("docker inspect --format '{{" + field + "}}' " + container)
}

// cmdline is the arguments of a process of the guest, each in Go's quotes.
func (g *guest) cmdline(pid string) string {
	g.t.Helper()
	return strconv.Quote(g.must("cat /proc/" + pid + "/cmdline | tr '\\0' '\\1'"))
}

// starts counts how often systemd has started the daemon (SD_MESSAGE_UNIT_STARTED).
func (g *guest) starts() int {
	g.t.Helper()
	n, err := strconv.Atoi(g.must("journalctl --sync; journalctl --boot --quiet --output=cat UNIT=davit.service MESSAGE_ID=39f53479d3a045ac8e11786248231fbf | wc -l"))
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

func startsOnce(t *testing.T, g *guest) {
	for range 5 {
		g.must("systemctl stop davit.service")
		before := g.starts()
		g.must("pester together 4")
		if n := g.starts() - before; n != 1 {
			t.Errorf("%d daemons were started, not one", n)
		}
		want(t, g.must("pgrep -c -x davitd"), "1")
	}
	want(t, g.must("systemctl list-units --failed --plain --no-legend 'davit*'"), "")
	want(t, g.property("davit.service", "NRestarts"), "0")
}

func killsPayload(t *testing.T, g *guest) {
	g.must("docker run -d --name once tiny sleep 1000 && docker run -d --restart always --name always tiny sleep 1000")
	g.must("kill -9 " + g.inspect("once", ".State.Pid"))
	want(t, g.must("docker wait once"), "137")
	want(t, g.inspect("once", ".State.Status"), "exited")
	g.eventually(10*time.Second, "the unit of a container that has ended is gone", func() bool {
		return g.property("davit-once.service", "ActiveState") != "active"
	})

	payload, monitor := g.inspect("always", ".State.Pid"), g.property("davit-always.service", "MainPID")
	g.must("kill -9 " + payload)
	g.eventually(10*time.Second, "the restart policy starts the container again", func() bool {
		now := g.run("docker inspect --format '{{.State.Status}} {{.State.Pid}} {{.RestartCount}}' always").out
		pid, ok := strings.CutPrefix(strings.TrimSpace(now), "running ")
		pid, restarted := strings.CutSuffix(pid, " 1")
		return ok && restarted && pid != payload
	})
	want(t, g.property("davit-always.service", "MainPID"), monitor)

	g.must("docker run -d --restart on-failure:2 --name twice tiny sh -c 'exit 7'")
	g.eventually(10*time.Second, "a container that fails is started again twice", func() bool {
		return g.run("docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' twice").out == "exited 7 2\n"
	})
	g.must("docker rm -f once twice")
}

func killsMonitor(t *testing.T, g *guest) {
	g.must("docker run -d --name once tiny sleep 1000")
	payload := g.inspect("once", ".State.Pid")
	g.must("kill -9 " + g.property("davit-once.service", "MainPID"))
	g.eventually(10*time.Second, "the container is known to have ended", func() bool {
		return g.run("docker inspect --format {{.State.Status}} once").out == "exited\n"
	})
	if code := g.inspect("once", ".State.ExitCode"); code == "0" {
		t.Error("a container whose monitor was killed has exit code 0")
	}
	if r := g.run("kill -0 " + payload); r.code == 0 {
		t.Error("the payload runs without its monitor")
	}
	want(t, g.must("docker start once && docker inspect --format {{.State.Status}} once"), "once\nrunning")

	payload = g.inspect("always", ".State.Pid")
	g.must("kill -9 " + g.property("davit-always.service", "MainPID"))
	g.eventually(20*time.Second, "the restart policy starts the container again", func() bool {
		now := strings.TrimSpace(g.run("docker inspect --format '{{.State.Status}} {{.State.Pid}}' always").out)
		pid, ok := strings.CutPrefix(now, "running ")
		return ok && pid != payload && pid != "0"
	})
	want(t, g.property("davit-always.service", "ActiveState"), "active")
	g.must("docker rm -f once")
}

func killsDaemon(t *testing.T, g *guest) {
	pid, payload := g.property("davit.service", "MainPID"), g.inspect("always", ".State.Pid")
	g.must("kill -9 " + pid)
	want(t, g.must("docker ps --format '{{.Names}} {{.State}}'"), "always running")
	want(t, g.inspect("always", ".State.Pid"), payload)
	if now := g.property("davit.service", "MainPID"); now == pid || now == "0" {
		t.Errorf("after kill -9 of %s the daemon is %s", pid, now)
	}
}

// keepsArguments: systemd 252 escapes ";" in the ExecStart= of a transient unit
// when it writes it down, and reads it back as something else.
func keepsArguments(t *testing.T, g *guest) {
	g.must(`docker run -d --restart always --name words tiny sh -c 'trap "exit 0" TERM; sleep 1000 & wait' ` +
		`';' 'a; b' "it's" '"quoted"' '$HOME ${HOME} $$' '%n %% %i' 'back\slash \n \x41' $'two\nlines\ttab' '' ' ' '*' '@/x' '-' 'ünïcode'`)
	first := g.inspect("words", ".State.Pid")
	argv := g.cmdline(first)
	for _, word := range []string{`\x01;\x01`, `\x01it's\x01`, `$HOME ${HOME} $$`, `%n %% %i`, `two\nlines\ttab\x01\x01 \x01*`} {
		if !strings.Contains(argv, word) {
			t.Errorf("the container's arguments lack %s: %s", word, argv)
		}
	}
	again := func(how, script string) {
		t.Helper()
		before := g.inspect("words", ".State.Pid")
		g.must("systemctl daemon-reload")
		g.must(script)
		g.eventually(20*time.Second, "the container runs again after "+how, func() bool {
			now := strings.TrimSpace(g.run("docker inspect --format '{{.State.Status}} {{.State.Pid}}' words").out)
			pid, ok := strings.CutPrefix(now, "running ")
			return ok && pid != before && pid != "0"
		})
		if now := g.cmdline(g.inspect("words", ".State.Pid")); now != argv {
			t.Errorf("after %s the arguments are\n%s, before they were\n%s", how, now, argv)
		}
	}
	again("docker restart", "docker restart words")
	again("the kill of the payload", "kill -9 "+g.inspect("words", ".State.Pid"))
	again("the kill of the monitor", "kill -9 "+g.property("davit-words.service", "MainPID"))
	again("systemctl stop and docker start", "systemctl stop davit-words && docker start words")
	g.must("docker rm -f words")
}

func stopsIdle(t *testing.T, g *guest) {
	g.must("docker ps")
	begin := time.Now()
	g.must("systemctl stop davit.service")
	if took := time.Since(begin); took > time.Second && !g.slow {
		t.Errorf("an idle daemon took %v to stop", took)
	}
	want(t, g.property("davit.service", "Result"), "success")
}

// stopsBusy stops the daemon in the middle of an import whose sender is slow.
func stopsBusy(t *testing.T, g *guest) {
	g.must("(sleep 20 | docker import - slow) >/run/slow.out 2>&1 &")
	g.eventually(10*time.Second, "the import runs", func() bool {
		return strings.Contains(g.run("busctl call "+manager+" ListJobs").out, `"import" "slow" "running"`)
	})
	begin := time.Now()
	g.must("systemctl stop --no-block davit.service")
	refused := false
	g.eventually(2*time.Second, "a new job is refused", func() bool {
		r := g.run("busctl --auto-start=no --timeout=1 call " + manager + " StartContainer st always 0")
		refused = refused || strings.Contains(r.out, "shutting down") || strings.Contains(r.out, "ShuttingDown")
		return refused
	})
	g.eventually(15*time.Second, "the daemon has stopped", func() bool {
		return g.property("davit.service", "ActiveState") == "inactive"
	})
	t.Logf("stopped in %v", time.Since(begin).Round(10*time.Millisecond))
	want(t, g.property("davit.service", "Result"), "success")
	want(t, g.must("docker ps --format '{{.Names}} {{.State}}'"), "always running")
	if r := g.run("docker image inspect slow"); r.code == 0 {
		t.Error("half an image was imported")
	}
}
