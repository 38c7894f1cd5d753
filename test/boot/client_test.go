// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// suite are the files that the tests of test/client need in a guest: the same
// tests, compiled, and their tools.
func suite(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"test", "-c", "-o", dir + "/client.test", "../client"},
		{"build", "-o", dir + "/echod", "../client/echod"},
		{"test", "-c", "-o", dir + "/enter.test", "../../libcontainer-exec"},
	} {
		build := exec.Command("go", args...)
		build.Env = append(build.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("cannot build the client's tests: %v\n%s", err, out)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox")
	}
	return map[string]string{
		"/usr/local/bin/client.test": dir + "/client.test", "/usr/local/bin/echod": dir + "/echod", "/usr/local/bin/busybox": busybox,
		"/usr/local/bin/enter.test": dir + "/enter.test", "/usr/bin/busybox": busybox,
	}
}

// TestClient has the tests of test/client drive the daemon of a guest, where
// containers are units, with the hierarchies of cgroup v1. TestBootVM has
// cgroup v2: a guest on this machine's kernel would have few of its controllers.
func TestClient(t *testing.T) {
	require(t, "systemd-nspawn", "mmdebstrap", "ip", "nsenter")
	tree, _ := trees(t, "tree", "")
	files := suite(t)
	maps.Copy(files, tools(t))
	g := boot(t, &nspawn{}, tree, files)
	g.must("dpkg --install /davit.deb")
	g.must(often)
	drives(".", 4*time.Minute)(t, g)
	enters(t, g)
}

// TestClientVM has them drive the daemon of a virtual machine, with Debian's own
// kernel and cgroup v2: those that are about cgroups and namespaces. Without the
// help of the processor they take minutes.
func TestClientVM(t *testing.T) {
	require(t, "qemu-system-x86_64", "mke2fs", "debugfs", "mmdebstrap", "ip", "nsenter")
	tree, _ := trees(t, "vm", os.Getenv("DAVIT_BOOT_SUITE"))
	files := suite(t)
	maps.Copy(files, tools(t))
	g := boot(t, &vm{}, tree, files)
	g.must("dpkg --install /davit.deb")
	g.must(often)
	drives("^(TestLimit|TestUpdate|TestStats|TestPause|TestCreateNamespaces|TestHealthchecks$)", 8*time.Minute)(t, g)
	enters(t, g)
}

// enters has the tests of davit-enter run in a guest, with containers that are
// units, and the kernel's own AppArmor and cgroups.
func enters(t *testing.T, g *guest) {
	begin := time.Now()
	g.must(`rm -f /enter.*
(cd /tmp && TMPDIR=/var/tmp DAVIT_TEST_BINARIES=/usr/libexec/davit DAVIT_TEST_LAUNCHER=systemd setsid enter.test -test.v -test.timeout 5m -test.run '^Test(Exec|Enter)' >/enter.out 2>&1 && echo 0 >/enter.code || echo $? >/enter.code) >/dev/null 2>&1 </dev/null &`)
	g.eventually(5*time.Minute+30*time.Second, "the tests of davit-enter have ended", func() bool { return g.run("test -s /enter.code").code == 0 })
	out := g.must("cat /enter.out")
	t.Logf("davit-enter: %d tests and %d skipped in %v", strings.Count(out, "--- PASS"), strings.Count(out, "--- SKIP"), time.Since(begin).Round(time.Second))
	if code := g.must("cat /enter.code"); code != "0" || !strings.Contains(out, "--- PASS: TestExecIsLikeTheFirst") {
		t.Errorf("exit code %s\n%s", code, out)
	}
}

var failed = regexp.MustCompile(`(?m)^\s*(--- FAIL|test/client:|panic:)`)

// drives runs the tests of test/client that match, against the guest's daemon,
// whose containers are units.
func drives(run string, within time.Duration) func(t *testing.T, g *guest) {
	return func(t *testing.T, g *guest) {
		begin := time.Now()
		slow := ""
		if g.slow {
			slow = "yes"
		}
		g.must(`rm -f /client.*
(DAVIT_TEST_SLOW=` + slow + ` DAVIT_TEST_SOCKET=/run/davit/davit.sock DAVIT_TEST_ECHOD=/usr/local/bin/echod setsid client.test -test.v -test.timeout ` + within.String() + ` -test.run '` + run + `' >/client.out 2>&1 && echo 0 >/client.code || echo $? >/client.code) >/dev/null 2>&1 </dev/null &`)
		g.eventually(within+30*time.Second, "the client's tests have ended", func() bool { return g.run("test -s /client.code").code == 0 })
		out := g.must("cat /client.out")
		t.Logf("%d tests and %d skipped in %v", strings.Count(out, "--- PASS"), strings.Count(out, "--- SKIP"), time.Since(begin).Round(time.Second))
		if code := g.must("cat /client.code"); code != "0" || failed.MatchString(out) {
			t.Errorf("exit code %s\n%s", code, out)
		}
	}
}
