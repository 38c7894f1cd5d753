// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// operations are what the matrix is about, in the order of its letters: by a
// Docker client, and on the bus.
var operations = []struct{ name, docker, bus string }{
	{"pull", "docker pull 127.0.0.1:1/none", `Manager.PullImage 127.0.0.1:1/none '{}' 0`},
	{"run", "docker run --rm tiny true", `Manager.RunContainer tiny '' '["true"]' '{}' 0`},
	{"run privileged", "docker run --rm --privileged tiny true", `Manager.RunContainer tiny '' '["true"]' '{"Privileged": <true>}' 0`},
	{"inspect", "docker inspect told", "Container.Describe"},
	{"logs", "docker logs told", "Container.OpenLogs '{}' 0"},
	{"reload", "", "Manager.Reload"},
}

// matrix says who may what: a "y" for yes, a "-" for no, a "." for what the door
// does not have. It is the same with polkit and without.
var matrix = []struct{ user, bus, api, readOnly string }{
	{"root", "yyyyyy", "yyyyy.", "---yy."},
	{"member", "yy-yy-", "yy-yy.", "-----."}, // of group davit
	{"observer", "---yy-", "-----.", "---yy."},
	{"nobody", "------", "-----.", "-----."},
}

// TestAccess asks for everything as everybody, at every door.
func TestAccess(t *testing.T) {
	require(t, "systemd-nspawn", "mmdebstrap", "ip", "nsenter", "busybox")
	tree, _ := trees(t, "tree", "")
	g := boot(t, &nspawn{}, tree, tools(t))
	g.install()
	g.must(often)
	prepareAccess(g)
	g.step("with polkit", mayAsPolkitSays)
	g.step("without polkit", mayWithoutPolkit)
	g.step("descriptors do not add up", keepsDescriptors)
	g.step("the tools of the bus can read the interfaces", introspects)
	g.step("the daemon is sandboxed", sandboxed)
	g.step("davitctl shows and steers", controls)
	g.step("davitctl opens a shell", opensShell)
	g.step("davitctl watches and cancels a pull", watchesAndCancels)
	g.step("davitctl draws the start", plotsItsStart)
}

// prepareAccess makes the users and the container that the matrix is about.
func prepareAccess(g *guest) {
	g.t.Helper()
	g.must(`useradd --system --groups davit member
useradd --system --groups davit-observers observer
systemctl stop davit.service && systemctl start davit-ro.socket
docker run -d --name told tiny sh -c 'echo it was told; exec sleep 10000'`)
}

// as is what runs a command as a user.
func as(user string) string {
	if user == "root" {
		return ""
	}
	return "env HOME=/ setpriv --reuid=" + user + " --regid=$(id -g " + user + ") --init-groups "
}

// may tells whether a command was let through: whether it then succeeds is not
// the question of a pull, whose registry is not there.
func (g *guest) may(script string) string {
	g.t.Helper()
	r := g.run(script)
	out := strings.ToLower(r.out)
	for _, refusal := range []string{"permission denied", "accessdenied", "authorizationrequired", "read-only"} {
		if r.code != 0 && strings.Contains(out, refusal) {
			return "-"
		}
	}
	if r.code != 0 && !strings.Contains(out, "connection refused") {
		g.t.Errorf("neither done nor refused: %s\n%s", script, r.out)
	}
	return "y"
}

// wantMatrix asks every question, on the bus and, with docker, at the sockets,
// and compares.
func (g *guest) wantMatrix(docker bool) {
	g.t.Helper()
	container := strings.Trim(strings.Fields(g.must("busctl call " + manager + " GetContainer s told"))[1], `"`)
	var got, wanted strings.Builder
	for _, row := range matrix {
		bus, api, readOnly := "", "", ""
		for _, op := range operations {
			object := "/org/davit/Engine1"
			if strings.HasPrefix(op.bus, "Container.") {
				object = container
			}
			bus += g.may(as(row.user) + "gdbus call --system --dest org.davit.Engine1 --object-path " + object + " --method org.davit.Engine1." + op.bus)
			if op.docker == "" {
				api += "."
				readOnly += "."
			} else if docker {
				api += g.may(as(row.user) + op.docker)
				readOnly += g.may("export DOCKER_HOST=unix:///run/davit/davit-ro.sock; " + as(row.user) + op.docker)
			}
		}
		if !docker {
			api, readOnly = row.api, row.readOnly
		}
		fmt.Fprintf(&got, "%-8s bus %s api %s api-ro %s\n", row.user, bus, api, readOnly)
		fmt.Fprintf(&wanted, "%-8s bus %s api %s api-ro %s\n", row.user, row.bus, row.api, row.readOnly)
	}
	if got.String() != wanted.String() {
		var names []string
		for _, op := range operations {
			names = append(names, op.name)
		}
		g.t.Errorf("who may %s?\n%sbut it should be\n%s", strings.Join(names, ", "), &got, &wanted)
	}
}

// mayOnBus is the part of the matrix that takes no long time on a slow machine.
func mayOnBus(t *testing.T, g *guest) {
	prepareAccess(g)
	g.must("systemctl start polkit.service")
	g.wantMatrix(false)
	want(t, g.property("polkit.service", "ActiveState"), "active")
}

// nobodysRule opens one thing and closes another.
const nobodysRule = `polkit.addRule(function(action, subject) {
	if (action.id == "org.davit.Engine1.inspect" && subject.user == "nobody") return polkit.Result.YES;
	if (action.id == "org.davit.Engine1.manage-images" && subject.user == "member") return polkit.Result.NO;
});`

func mayAsPolkitSays(t *testing.T, g *guest) {
	g.must("systemctl start polkit.service")
	g.wantMatrix(true)
	want(t, g.property("polkit.service", "ActiveState"), "active")
	// An administrator's rule counts.
	g.must("echo '" + nobodysRule + "' >/etc/polkit-1/rules.d/10-nobody.rules && systemctl restart polkit.service")
	inspect := as("nobody") + "gdbus call --system --dest org.davit.Engine1 --object-path /org/davit/Engine1 --method org.davit.Engine1.Manager.ListContainers '{}' 0"
	want(t, g.may(inspect), "y")
	want(t, g.may(as("member")+"docker pull 127.0.0.1:1/none"), "-")
	g.must("rm /etc/polkit-1/rules.d/10-nobody.rules && systemctl restart polkit.service")
	want(t, g.may(inspect), "-")
}

func mayWithoutPolkit(t *testing.T, g *guest) {
	g.must("systemctl stop polkit.service && systemctl mask --runtime polkit.service")
	g.wantMatrix(true)
	g.must("systemctl unmask --runtime polkit.service")
	want(t, g.property("polkit.service", "ActiveState"), "inactive")
}

// keepsDescriptors counts the daemon's descriptors before and after.
func keepsDescriptors(t *testing.T, g *guest) {
	count := func() string {
		return g.must("ls /proc/" + g.property("davit.service", "MainPID") + "/fd | wc -l")
	}
	for _, script := range []string{
		"pester open 200 told", "pester hostile 200", as("nobody") + "pester hostile 200", as("member") + "pester hostile 200",
	} {
		g.must(script + " && docker ps") // what is opened once
		before := count()
		g.must(script + " && docker ps")
		g.eventually(10*time.Second, "the daemon has the "+before+" descriptors that it had before: "+script, func() bool {
			return count() == before
		})
	}
	want(t, g.property("davit.service", "NRestarts"), "0")
}

// introspects has the tools of systemd and of GLib read what is exported and
// what is installed.
func introspects(t *testing.T, g *guest) {
	g.must("busctl tree org.davit.Engine1")
	objects := strings.Fields(g.must("busctl tree --list org.davit.Engine1"))
	kinds := map[string]bool{}
	for _, object := range objects {
		kind, _, _ := strings.Cut(strings.TrimPrefix(object, "/org/davit/Engine1/"), "/")
		if kinds[kind] {
			continue // one of each
		}
		kinds[kind] = true
		g.must("busctl introspect org.davit.Engine1 " + object)
	}
	for _, kind := range []string{"container", "image", "job", "network"} {
		if !kinds[kind] {
			t.Errorf("busctl tree shows no %s: %v", kind, objects)
		}
	}
	files := strings.Fields(g.must("ls /usr/share/dbus-1/interfaces/org.davit.*.xml"))
	if len(files) < 6 {
		t.Fatalf("%d interfaces are installed", len(files))
	}
	require(t, "gdbus-codegen", "xmllint")
	for i, file := range files {
		files[i] = g.root + file
		host(t, "xmllint", "--noout", "--nonet", files[i])
	}
	for _, kind := range []string{"--generate-c-code=davit", "--generate-docbook=davit"} {
		args := []string{"gdbus-codegen", "--interface-prefix=org.davit.Engine1.", kind, "--output-directory=" + t.TempDir()}
		host(t, append(args, files...)...)
	}
}

// sandboxed: drop-ins and the manager's defaults count in a booted system.
func sandboxed(t *testing.T, g *guest) {
	out := g.must("systemd-analyze security --no-pager --threshold=50 davit.service")
	for line := range strings.Lines(out) {
		if strings.Contains(line, "Overall exposure level") {
			t.Log(strings.TrimSpace(line))
		}
	}
	verify := g.must("systemd-analyze verify --man=no /usr/lib/systemd/system/davit*.s* 2>&1")
	for line := range strings.Lines(verify) {
		if strings.Contains(line, "davit") {
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}
