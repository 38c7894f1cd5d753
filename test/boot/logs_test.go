// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"os"
	"strings"
	"testing"
)

// TestLogs is about the journal as the log of containers, which it is where
// systemd starts them.
func TestLogs(t *testing.T) {
	require(t, "systemd-nspawn", "mmdebstrap", "ip", "nsenter", "busybox")
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			tree, _ := trees(t, "tree", suite)
			// One with the host's hierarchies, one with cgroup v2 alone.
			logs(boot(t, &nspawn{unified: suite == "trixie" && len(hierarchies()) > 0}, tree, tools(t)))
		})
	}
}

// TestLogsVM has Debian's own kernel, and cgroup v2 alone.
func TestLogsVM(t *testing.T) {
	require(t, "qemu-system-x86_64", "mke2fs", "debugfs", "mmdebstrap", "ip", "nsenter", "busybox")
	tree, _ := trees(t, "vm", os.Getenv("DAVIT_BOOT_SUITE"))
	logs(boot(t, &vm{}, tree, tools(t)))
}

func logs(g *guest) {
	g.t.Helper()
	g.install()
	g.must(often)
	g.must(`mkdir -p /etc/davit && echo '{"log-driver": "auto"}' >/etc/davit/daemon.json && systemctl try-restart davit.service`)
	g.step("the journal has what docker logs shows", isInJournal)
	g.step("a flood loses no line", floods)
	g.step("what is read of it", readsJournal)
	g.step("a follower sees each line once, and leaves nothing", followsJournal)
	g.step("a journald that is restarted loses nothing", restartsJournald)
	g.step("a journald that does not read holds nobody up for ever", stopsJournald)
}

// printf in busybox's shell is a builtin: a line is one write.
func isInJournal(t *testing.T, g *guest) {
	want(t, g.must("docker info --format '{{.LoggingDriver}}'"), "journald")
	g.must(`docker run -d --name web --label team=red --env A=1 --log-opt labels=team --log-opt env=A --log-opt tag='{{.Name}}' tiny sh -c 'echo out; echo err >&2; printf half; sleep 1000'`)
	g.eventually(limit, "both lines are there", func() bool { return g.run("docker logs web 2>&1 | grep -c -e out -e err").out == "2\n" })
	want(t, g.must("docker inspect --format '{{.HostConfig.LogConfig.Type}} {{.LogPath}}.' web"), "journald .")
	want(t, g.must("journalctl --boot --output=cat --unit=davit-web.service _TRANSPORT=journal _COMM=davit-holder"), g.must("docker logs web 2>&1"))
	id := g.must("docker inspect --format '{{.Id}}' web")
	for match, message := range map[string]string{
		"CONTAINER_NAME=web PRIORITY=6 _COMM=davit-holder":                     "out",
		"CONTAINER_ID_FULL=" + id + " PRIORITY=3 _COMM=davit-holder":           "err",
		"CONTAINER_ID=" + id[:12] + " IMAGE_NAME=tiny PRIORITY=6 TEAM=red A=1": "out",
		"CONTAINER_TAG=web SYSLOG_IDENTIFIER=web PRIORITY=6":                   "out",
		"_SYSTEMD_UNIT=davit-web.service PRIORITY=3 _COMM=davit-holder _UID=0": "err",
	} {
		want(t, g.must("journalctl --boot --output=cat "+match), message)
	}
	want(t, g.must("docker logs --details web 2>/dev/null"), "A=1,TEAM=red out")
	g.must("docker rm -f web")
}

// floods writes 50,000 lines as quickly as it can; journald's own limit, for the
// other units, is 10,000 in 30 seconds.
func floods(t *testing.T, g *guest) {
	out := g.must(`docker run --name flood --log-driver journald tiny sh -c 'i=0; while [ $i -lt 50000 ]; do echo line $i; i=$((i+1)); done' >/dev/null
docker logs flood | awk '$2 != n { print "lost before", $0; exit 1 } { n++ } END { print n }'`)
	want(t, out, "50000")
	want(t, g.must("journalctl --boot --output=cat --unit=davit-flood.service CONTAINER_NAME=flood _COMM=davit-holder | wc -l"), "50000")
	if out := g.run("journalctl --boot --output=cat --unit=systemd-journald.service | grep -i -e suppressed -e missed").out; strings.Contains(out, "davit-flood") {
		t.Errorf("journald says %s", out)
	}
	t.Log(g.must(`docker run --rm tiny true; TIMEFORMAT=%R; time docker run --name flood2 tiny sh -c 'i=0; while [ $i -lt 50000 ]; do echo $i; i=$((i+1)); done' >/dev/null`))
	want(t, g.must("docker logs flood2 | wc -l"), "50000")
	g.must("docker rm flood2")
}

func readsJournal(t *testing.T, g *guest) {
	want(t, g.must("docker logs --tail 2 flood"), "line 49998\nline 49999")
	want(t, g.must("docker logs --tail 0 flood"), "")
	stamp, _, _ := strings.Cut(g.must("docker logs --tail 1 --timestamps flood"), " ")
	want(t, g.must("docker logs --since "+stamp+" flood | tail -n 1"), "line 49999")
	want(t, g.must("docker logs --until 2020-01-01T00:00:00Z flood"), "")
	g.must("systemctl restart davit.service")
	want(t, g.must("docker logs --tail 1 flood"), "line 49999")
	g.must("docker rm flood")
	want(t, g.must("docker run --rm --name short tiny echo short"), "short")
	want(t, g.must("journalctl --boot --output=cat --unit=davit-short.service CONTAINER_NAME=short _COMM=davit-holder"), "short")
	// A line of more than 16 KiB is one again, and a last one without its newline.
	want(t, g.must(`docker run --name long tiny sh -c 'i=0; while [ $i -lt 2000 ]; do printf 0123456789; i=$((i+1)); done; echo; printf end' >/dev/null; docker logs long | wc -lc | tr -s ' '`), "1 20004")
	g.must("docker rm long")
}

func followsJournal(t *testing.T, g *guest) {
	out := g.must(`docker run -d --name count tiny sh -c 'i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done; sleep 1; echo last' >/dev/null
docker logs --follow count >/tmp/all
awk '$1 != n && $1 != "last" { print "lost before", $0; exit 1 } { n++ } END { print n, $0 }' /tmp/all
docker rm count >/dev/null`)
	want(t, out, "5001 last")
	g.must("docker run -d --name quiet tiny sleep 1000")
	g.run("timeout 1 docker logs --follow quiet")
	g.eventually(limit, "no journalctl is left", func() bool { return g.run("pgrep -x journalctl").code != 0 })
	g.must("docker rm -f quiet")
}

func restartsJournald(t *testing.T, g *guest) {
	out := g.must(`docker run -d --name steady tiny sh -c 'i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done' >/dev/null
systemctl restart systemd-journald.service
docker wait steady >/dev/null
docker logs steady | awk '$1 != n { print "lost before", $0; exit 1 } { n++ } END { print n }'
docker rm steady >/dev/null`)
	want(t, out, "20000")
}

// stopsJournald has journald not read: a container is held up once, and goes on.
func stopsJournald(t *testing.T, g *guest) {
	out := g.must(`docker run -d --name stuck tiny sh -c 'sleep 1; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done' >/dev/null
systemctl kill --signal=STOP systemd-journald.service
timeout 60 docker wait stuck
systemctl kill --signal=CONT systemd-journald.service`)
	want(t, out, "0")
	g.eventually(limit, "the monitor has complained", func() bool {
		return g.run("journalctl --boot --output=cat --unit=davit-stuck.service | grep -q 'cannot write the log, output is lost'").code == 0
	})
	g.must("docker rm stuck")
}
