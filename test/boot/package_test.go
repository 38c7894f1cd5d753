// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPackage follows the package through its life, beside a container that
// runs: upgraded, removed, purged.
func TestPackage(t *testing.T) {
	require(t, "systemd-nspawn", "mmdebstrap", "ip", "nsenter", "busybox")
	tree, web := trees(t, "tree", "")
	files := provisions(t, web)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	delete(files, "/web.tar")
	files["/usr/local/bin/busybox"] = busybox
	g := boot(t, &nspawn{}, tree, files)
	g.must(`dpkg --install /davit.deb
mkdir -p /image/bin && cp /usr/local/bin/busybox /image/bin && tar -C /image -c . | docker import - tiny
docker run -d --name keep -p 8080:80 tiny busybox sleep 1000`)
	container := g.property("davit-keep.service", "MainPID")
	alive := func(when string) {
		t.Helper()
		if pid := g.property("davit-keep.service", "MainPID"); pid != container || pid == "0" {
			t.Fatalf("%s the container's monitor is %s, not %s", when, pid, container)
		}
	}

	daemon := g.property("davit.service", "MainPID")
	g.must("dpkg --install /davit.deb")
	alive("after an upgrade")
	if pid := g.property("davit.service", "MainPID"); pid == daemon || pid == "0" {
		t.Errorf("after an upgrade the daemon is %s, before it was %s", pid, daemon)
	}
	want(t, g.must("docker ps --format {{.Names}}"), "keep")

	if out := g.must("dpkg --remove davit"); !strings.Contains(out, "davit-keep.service") {
		t.Errorf("removal does not say what keeps running: %s", out)
	}
	alive("after removal")
	for _, unit := range []string{"davit.service", "davit.socket"} {
		want(t, g.property(unit, "ActiveState"), "inactive")
	}

	g.must("dpkg --purge davit")
	left := g.run(`ls -d /run/davit /var/lib/davit /etc/davit /usr/libexec/davit 2>/dev/null
ip -o link show davit0 2>/dev/null
iptables-save | grep DAVIT
systemctl list-units --all --plain --no-legend 'davit*'
find /etc/systemd/system /var/lib/systemd/deb-systemd-helper-enabled -name '*davit*'
find /sys/fs/cgroup -name 'davit*'
pgrep -a davit
true`)
	want(t, left.out, "")
}
