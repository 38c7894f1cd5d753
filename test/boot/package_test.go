// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// built is the only file that matches below dist.
func built(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob("../../dist/" + pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files in dist match %s, not one: run make deb rpm", len(files), pattern)
	}
	return files[0]
}

// contents lists a package's files as "mode owner path", without directories.
func contents(t *testing.T, pattern string) []string {
	t.Helper()
	file := built(t, pattern)
	var out []string
	if strings.HasSuffix(file, ".rpm") {
		for line := range strings.Lines(host(t, "rpm", "--query", "--package", "--queryformat", "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]", file)) {
			out = append(out, strings.TrimSpace(line))
		}
	} else {
		for line := range strings.Lines(host(t, "dpkg-deb", "--contents", file)) {
			words := strings.Fields(line)
			if len(words) < 6 || strings.HasPrefix(line, "d") {
				continue
			}
			out = append(out, words[0]+" "+words[1]+" "+strings.TrimPrefix(words[5], "."))
		}
	}
	slices.Sort(out)
	return out
}

// TestPackageContents holds the packages to what Debian's and Fedora's checkers
// would say, and to the tree: a unit that nobody put into the recipe is no unit.
func TestPackageContents(t *testing.T) {
	require(t, "dpkg-deb")
	files := contents(t, "davit_*.deb")
	var paths []string
	for _, line := range files {
		words := strings.Fields(line)
		mode, owner, path := words[0], words[1], words[2]
		paths = append(paths, path)
		wanted := "-rw-r--r--"
		switch {
		case strings.Contains(path, "bin/"), strings.HasPrefix(path, "/usr/libexec/"):
			wanted = "-rwxr-xr-x"
		case strings.HasPrefix(mode, "l"):
			wanted = mode // a link has none to speak of
		}
		if mode != wanted || owner != "root/root" {
			t.Errorf("%s is %s of %s, not %s of root/root", path, mode, owner, wanted)
		}
		if !strings.HasPrefix(path, "/usr/") && path != "/etc/apparmor.d/davit-default" {
			t.Errorf("%s: the package has one conffile, all else stays in /usr", path)
		}
	}
	for _, program := range []string{"/usr/sbin/davitd", "/usr/bin/davitctl"} {
		page := "/usr/share/man/man" + map[bool]string{true: "8", false: "1"}[strings.Contains(program, "sbin")] + "/" + filepath.Base(program)
		if !slices.ContainsFunc(paths, func(path string) bool { return strings.HasPrefix(path, page+".") }) {
			t.Errorf("%s has no manual page", program)
		}
	}
	recipe, err := os.ReadFile("../../packaging/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir("../../contrib", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(string(recipe), "src: "+strings.TrimPrefix(path, "../../")+"\n") {
			t.Errorf("%s is not in the package", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPackagesAgree wants the same files in both packages, and scripts. Only
// the place of the functions of zsh is another.
func TestPackagesAgree(t *testing.T) {
	require(t, "dpkg-deb", "rpm")
	deb, rpm := contents(t, "davit_*.deb"), contents(t, "davit-*.rpm")
	for i, line := range deb {
		deb[i] = strings.Replace(line, "/usr/share/zsh/vendor-completions/", "/usr/share/zsh/site-functions/", 1)
	}
	slices.Sort(deb)
	if d := cmp.Diff(deb, rpm); d != "" {
		t.Errorf("the packages differ, deb (-) and rpm (+):\n%s", d)
	}
	scripts := host(t, "rpm", "--query", "--package", "--scripts", built(t, "davit-*.rpm"))
	for _, script := range []string{"postinstall", "preuninstall", "postuninstall"} {
		if !strings.Contains(scripts, script+" scriptlet") {
			t.Errorf("the rpm has no %s scriptlet:\n%s", script, scripts)
		}
	}
	host(t, "rpm", "--checksig", "--nosignature", built(t, "davit-*.rpm"))
}

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
ls /etc/apparmor.d/davit-default 2>/dev/null
true`)
	want(t, left.out, "")
}

// TestRPM runs the rpm's scripts in the order and with the numbers that rpm
// gives them, where its files were unpacked: Debian has no package for it to
// depend on.
func TestRPM(t *testing.T) {
	require(t, "systemd-nspawn", "mmdebstrap", "ip", "nsenter", "busybox", "rpm2archive")
	tree, _ := trees(t, "tree", "trixie")
	files := tools(t)
	delete(files, "/davit.deb")
	dir := t.TempDir()
	unpack := exec.Command("sh", "-euc", `rpm2archive - <"$1" >"$2/files.tgz"`, "sh", built(t, "davit-*.rpm"), dir)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("cannot read the rpm: %v\n%s", err, out)
	}
	files["/rpm/files.tgz"], files["/rpm/scripts"] = dir+"/files.tgz", "../../packaging/scripts/rpm"
	g := boot(t, &nspawn{unified: len(hierarchies()) > 0}, tree, files)
	const unpacked = "tar -C / --keep-directory-symlink -xzf /rpm/files.tgz"

	g.must(unpacked + " && sh -eu /rpm/scripts/post 1")
	want(t, g.property("davit.socket", "ActiveState"), "active")
	want(t, g.must("systemctl is-enabled davit.socket davit-restore.service"), "enabled\nenabled")
	want(t, g.run("systemctl is-enabled davit.service davit-ro.socket davit-tls.socket").out, "disabled\ndisabled\ndisabled\n")
	want(t, g.property("davit.service", "Type"), "notify-reload")
	g.tiny()
	g.must("docker run -d --name keep tiny sleep 1000")
	container, daemon := g.property("davit-keep.service", "MainPID"), g.property("davit.service", "MainPID")

	// An upgrade: the new package's post, then the old one's preun and postun.
	g.must(unpacked + " && cd /rpm/scripts && sh -eu post 2 && sh -eu preun 1 && sh -eu postun 1")
	want(t, g.property("davit-keep.service", "MainPID"), container)
	if pid := g.property("davit.service", "MainPID"); pid == daemon || pid == "0" {
		t.Errorf("after an upgrade the daemon is %s, before it was %s", pid, daemon)
	}
	want(t, g.must("docker ps --format {{.Names}}"), "keep")

	out := g.must("sh -eu /rpm/scripts/preun 0 && tar -tzf /rpm/files.tgz | (cd / && xargs rm -f) && sh -eu /rpm/scripts/postun 0")
	if !strings.Contains(out, "davit-keep.service") {
		t.Errorf("removal does not say what keeps running: %s", out)
	}
	want(t, g.property("davit-keep.service", "MainPID"), container)
	for _, unit := range []string{"davit.service", "davit.socket"} {
		want(t, g.property(unit, "ActiveState"), "inactive")
	}
	want(t, g.must("find /etc/systemd/system /usr/lib/systemd/system -name 'davit*.s*'"), "")
}
