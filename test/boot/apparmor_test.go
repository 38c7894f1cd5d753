// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestAppArmorProfile compiles the profile, for the kernel that the parser knows
// best: nothing is loaded.
func TestAppArmorProfile(t *testing.T) {
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		if parser, err = exec.LookPath("/usr/sbin/apparmor_parser"); err != nil {
			t.Skip("needs apparmor_parser")
		}
	}
	const profile = "../../contrib/apparmor/davit-default"
	out := host(t, parser, "--skip-kernel-load", "--skip-cache", profile)
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "interface file missing") { // this kernel may not have AppArmor
			t.Errorf("apparmor_parser: %s", line)
		}
	}
	if names := strings.Split(host(t, parser, "--names", profile), "\n"); !slices.Contains(names, "davit-default") {
		t.Errorf("it has the profiles %q", names)
	}
}

// isConfined wants the package's profile in force, by default and only then. It
// needs a guest whose kernel has AppArmor.
func isConfined(t *testing.T, g *guest) {
	want(t, g.must("cat /sys/module/apparmor/parameters/enabled"), "Y")
	const current = " cat /proc/self/attr/current"
	const mount = " sh -c 'mkdir -p /m && busybox mount -t tmpfs none /m'"
	want(t, g.must("docker run --rm tiny"+current), "davit-default (enforce)")
	want(t, g.must("docker run --rm --privileged tiny"+current), "unconfined")
	want(t, g.must("docker run --rm --security-opt apparmor=unconfined tiny"+current), "unconfined")
	want(t, g.must("docker info --format '{{.SecurityOptions}}'"), "[name=apparmor name=seccomp,profile=builtin]")

	g.must("docker run -d --name armed tiny sleep 1000")
	want(t, g.inspect("armed", ".AppArmorProfile"), "davit-default")
	want(t, g.must("docker exec armed"+current), "davit-default (enforce)")
	want(t, g.must("docker exec --privileged armed"+current), "unconfined")
	if r := g.run("docker run --rm --cap-add SYS_ADMIN tiny" + mount); r.code == 0 || !strings.Contains(strings.ToLower(r.out), "denied") {
		t.Errorf("mount(2) is not denied: exit code %d, %s", r.code, r.out)
	}
	g.must("docker run --rm --cap-add SYS_ADMIN --security-opt apparmor=unconfined tiny" + mount)
	// Privileged, but for the profile: it alone denies.
	const strong, confined = "docker run --rm --privileged", " --security-opt apparmor=davit-default"
	for _, write := range []string{"echo 60 >/proc/sys/vm/swappiness", "echo 0 >/sys/kernel/mm/ksm/run"} {
		g.must(strong + " tiny sh -c '" + write + "'")
		if r := g.run(strong + confined + " tiny sh -c '" + write + "'"); r.code == 0 || !strings.Contains(strings.ToLower(r.out), "denied") {
			t.Errorf("%s: exit code %d, %s", write, r.code, r.out)
		}
	}
	if r := g.run(strong + confined + " tiny sh -c 'echo h >/proc/sysrq-trigger'"); r.code == 0 {
		t.Error("a container has written to /proc/sysrq-trigger")
	}
	g.must(strong + confined + " tiny sh -c 'echo 4096 >/proc/sys/kernel/shmmni; busybox mkdir /sys/fs/cgroup/own && busybox rmdir /sys/fs/cgroup/own'")
	// What a container needs is allowed: its own processes, stopped and killed.
	g.must("docker run --rm tiny sh -c 'sleep 100 & kill $! && wait $! || cat /proc/1/stat >/dev/null'")
	g.must("docker stop --time 0 armed && docker rm armed")

	if r := g.run("docker create --name other --security-opt apparmor=other tiny true"); r.code == 0 || !strings.Contains(r.out, `"other"`) {
		t.Errorf("a profile that is not loaded: exit code %d, %s", r.code, r.out)
	}
	want(t, g.must("docker ps --all --quiet --filter name=other"), "")

	// Not loaded, containers go without and the daemon says so; loaded again,
	// they do not, without a restart.
	g.must("printf davit-default >/sys/kernel/security/apparmor/.remove")
	want(t, g.must("docker run --name bare tiny"+current), "unconfined")
	want(t, g.inspect("bare", ".AppArmorProfile"), "unconfined")
	if out := g.must("docker info 2>&1"); !strings.Contains(out, "AppArmor profile davit-default is not loaded") {
		t.Errorf("nothing warns of it: %s", out)
	}
	g.must("apparmor_parser -r -T -W /etc/apparmor.d/davit-default")
	want(t, g.must("docker start --attach bare && docker rm bare >/dev/null"), "davit-default (enforce)")
}
