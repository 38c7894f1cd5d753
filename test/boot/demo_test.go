// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDemo runs the demonstration where PID 1 is systemd: engine, socket and
// container are units, and none of them is left when it is stopped.
func TestDemo(t *testing.T) {
	require(t, "systemd-nspawn", "mmdebstrap", "ip", "nsenter", "busybox")
	tree, _ := trees(t, "tree", "")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	g := boot(t, &nspawn{}, tree, map[string]string{
		"/src/bin": "../../bin", "/src/test/demo": "../demo", "/src/contrib": "../../contrib", "/usr/local/bin/busybox": busybox,
	})
	r := g.run("/src/test/demo/demo.sh start")
	if out := r.out; r.code != 0 {
		t.Fatalf("exit %d\n%s\n%s", r.code, out, g.run("journalctl --no-pager --boot --unit=davit-demo.service").out)
	}
	out := r.out
	for _, text := range []string{
		"Hello from container", "Davit-Job:", "start                hello", "davit-hello", "active (running)",
		"export DOCKER_HOST=unix:///run/davit-demo/davit.sock",
	} {
		if !strings.Contains(out, text) {
			t.Errorf("the demonstration does not show %q", text)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
	want(t, g.property("davit-demo.service", "ActiveState"), "active")
	g.must("/src/test/demo/demo.sh stop")
	left := g.run(`ls -d /run/davit-demo /var/lib/davit-demo /etc/dbus-1/system.d/davit-demo.conf 2>/dev/null
ip -o link show davit-demo0 2>/dev/null
iptables-save | grep DAVIT
systemctl list-units --all --plain --no-legend 'davit*.s[eo]*'
pgrep -a davit
true`)
	want(t, left.out, "")
}
