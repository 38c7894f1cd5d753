// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"strings"
	"testing"
	"time"
)

// controls uses davitctl beside the container "told", as root and as others.
func controls(t *testing.T, g *guest) {
	holds := func(script string, texts ...string) {
		t.Helper()
		out := g.must(script)
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("%s does not say %q:\n%s", script, text, out)
			}
		}
	}
	holds("davitctl status", "org.davit.Engine1", "/run/davit/davit.sock")
	holds("davitctl status told", "told", "running", "davit-told.service")
	holds("davitctl list", "NAME", "told", "running")
	holds("davitctl list --json", `"name": "told"`)
	holds(as("member")+"davitctl list", "told")
	want(t, g.must("davitctl logs --lines 1 told"), "it was told")
	want(t, g.must("davitctl logs --lines 1 told | cat -A"), "it was told$")

	holds(`davitctl run --name ctl -p MemoryMax=64M -p Restart=always tiny sh -c 'trap "exit 0" TERM; echo begun; sleep 1000 & wait'`, "ctl")
	want(t, g.property("davit-ctl.service", "ActiveState"), "active")
	g.eventually(5*time.Second, "the container's output is there", func() bool { return g.run("davitctl logs ctl").out == "begun\n" })
	if r := g.run("davitctl run --wait --collect tiny sh -c 'exit 7'"); r.code != 7 {
		t.Errorf("davitctl run --wait of what exits with 7: exit %d, %s", r.code, r.out)
	}
	g.must("davitctl restart ctl && davitctl stop ctl")
	holds("davitctl list", "exited")
	g.must("davitctl remove ctl")
	holds("davitctl list-jobs", "ID", "run", "stop", "done")

	if r := g.run(as("nobody") + "davitctl --no-ask-password list"); r.code == 0 || !strings.Contains(r.out, "permission denied") {
		t.Errorf("davitctl list as nobody: exit %d, %s", r.code, r.out)
	}
}

// opensShell has a terminal, which script(1) makes.
func opensShell(t *testing.T, g *guest) {
	const typed = `test -t 0 && test -t 1 && echo it is a "termi"nal`
	out := g.must("(sleep 1; echo '" + typed + "'; echo 'echo $((6*7)) >/told; exit 3'; sleep 1) | script --quiet --return --command 'davitctl shell told' /dev/null || echo exit $?")
	for _, text := range []string{"it is a terminal", "exit 3"} {
		if !strings.Contains(out, text) {
			t.Errorf("the shell does not show %q:\n%q", text, out)
		}
	}
	want(t, g.must("docker exec told cat /told"), "42")
}

// watchesAndCancels pulls from a registry that never answers.
func watchesAndCancels(t *testing.T, g *guest) {
	g.must(`(sleep 60 | busybox nc -l -p 5999) >/dev/null 2>&1 &
(davitctl pull 127.0.0.1:5999/slow >/run/pull.out 2>&1 || echo exit $? >>/run/pull.out) >/dev/null 2>&1 &`)
	id := ""
	g.eventually(10*time.Second, "the pull is listed", func() bool {
		for line := range strings.Lines(g.run("davitctl list-jobs --no-legend --state running").out) {
			if words := strings.Fields(line); len(words) > 2 && words[1] == "pull" {
				id = words[0]
			}
		}
		return id != ""
	})
	g.must("(davitctl watch " + id + " >/run/watch.out 2>&1 || echo exit $? >>/run/watch.out) >/dev/null 2>&1 &")
	jobs := g.must("curl --silent --unix-socket /run/davit/davit.sock http://d/davit/jobs/" + id)
	if !strings.Contains(jobs, `"pull"`) {
		t.Errorf("the job of the bus is not on the socket: %s", jobs)
	}
	// Whoever made the job may cancel it, and who may manage jobs; nobody else.
	if r := g.run(as("observer") + "davitctl --no-ask-password cancel " + id); r.code == 0 {
		t.Error("an observer may cancel a job of root's")
	}
	g.must("davitctl cancel " + id)
	for _, file := range []string{"/run/pull.out", "/run/watch.out"} {
		g.eventually(10*time.Second, "davitctl ends with the job: "+file, func() bool {
			return strings.Contains(g.run("cat "+file).out, "\nexit ")
		})
		if out := g.must("cat " + file); !strings.Contains(out, "cancel") {
			t.Errorf("of a job that was cancelled %s says\n%s", file, out)
		}
	}
	if out := g.must("davitctl list-jobs --state running"); strings.Contains(out, "pull") {
		t.Errorf("the pull still runs:\n%s", out)
	}
}

// plotsItsStart draws the daemon's start.
func plotsItsStart(t *testing.T, g *guest) {
	require(t, "xmllint")
	g.must("systemctl restart davit.service && davitctl boot-plot >/srv/start.svg")
	host(t, "xmllint", "--noout", "--nonet", g.root+"/srv/start.svg")
	svg := host(t, "cat", g.root+"/srv/start.svg")
	for _, text := range []string{"<svg", "restore", "acceptconnections"} {
		if !strings.Contains(svg, text) {
			t.Errorf("the plot does not show %s:\n%s", text, svg)
		}
	}
}
