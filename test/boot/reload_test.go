// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"strconv"
	"strings"
	"testing"
)

// reloadsAtOnce looks for what a reload changes the moment that it returns: by a
// call on the bus or, where systemd is new enough, by Type=notify-reload.
func reloadsAtOnce(t *testing.T, g *guest) {
	labels := func() string { return g.must("docker info --format '{{.Labels}}'") }
	configure := func(text string) { g.must("mkdir -p /etc/davit && echo '" + text + "' >/etc/davit/daemon.json") }
	kind := "notify"
	if version, err := strconv.Atoi(g.must(`systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'`)); err != nil || version >= 253 {
		kind = "notify-reload"
	}
	want(t, g.property("davit.service", "Type"), kind)
	pid := g.property("davit.service", "MainPID")
	for _, label := range []string{"round=1", "round=2", "round=3"} {
		configure(`{"labels": ["` + label + `"]}`)
		g.must("systemctl reload davit.service")
		want(t, labels(), "["+label+"]")
	}
	for key, text := range map[string]string{
		"no-such-key": `{"labels": ["round=4"], "no-such-key": 1}`,
		"log-level":   `{"labels": ["round=4"], "log-level": "loud"}`,
		"daemon.json": `{"labels": ["round=4"]`,
		"data-root":   `{"labels": ["round=4"], "data-root": "/elsewhere"}`,
	} {
		configure(text)
		refused := g.run("systemctl reload davit.service")
		if refused.code == 0 && kind == "notify" { // the newer protocol cannot say that it failed
			t.Errorf("the reload of %s succeeds", text)
		}
		want(t, labels(), "[round=3]")
		want(t, g.property("davit.service", "ActiveState"), "active")
		if journal := g.must("journalctl --sync; journalctl --no-pager --boot --unit=davit.service --lines=20"); !strings.Contains(journal, key) {
			t.Errorf("the journal does not name %s:\n%s", key, journal)
		}
	}
	configure(`{}`)
	g.must("systemctl reload davit.service")
	want(t, labels(), "[]")
	want(t, g.property("davit.service", "MainPID"), pid)
	g.must("rm /etc/davit/daemon.json")
}

// tellsItsLevel changes the level by systemctl, which needs BusName= and
// org.freedesktop.LogControl1.
func tellsItsLevel(t *testing.T, g *guest) {
	want(t, g.must("systemctl service-log-level davit.service"), "info")
	debug := func() int {
		n, err := strconv.Atoi(g.must("docker ps >/dev/null; journalctl --sync; journalctl --boot --quiet --output=cat --unit=davit.service PRIORITY=7 | wc -l"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := debug()
	g.must("systemctl service-log-level davit.service debug")
	want(t, g.must("systemctl service-log-level davit.service"), "debug")
	if debug() == before {
		t.Error("a daemon that is told to has logged nothing with debug")
	}
	want(t, g.must("busctl get-property org.davit.Engine1 /org/freedesktop/LogControl1 org.freedesktop.LogControl1 SyslogIdentifier"), `s "davitd"`)
	g.must("systemctl service-log-level davit.service info")
}
