// SPDX-License-Identifier: Apache-2.0

package script

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
)

// The groups of the host that the daemon sees, and the users of the test.
const (
	gidMembers, gidObservers = 54201, 54202
	refusal                  = "permission denied: "
)

var roles = map[string][]string{
	"root":     nil,
	"member":   {"--reuid", "54101", "--regid", "54101", "--groups", fmt.Sprint(gidMembers)},
	"observer": {"--reuid", "54102", "--regid", "54102", "--groups", fmt.Sprint(gidObservers)},
	"nobody":   {"--reuid", "54103", "--regid", "54103", "--clear-groups"},
}

// guardedHost is a host with the groups, whose socket everybody may open: what
// is refused is refused by the daemon.
func guardedHost(t *testing.T, config string) *host {
	t.Helper()
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("needs setpriv")
	}
	h := bareHost(t)
	groups, err := os.ReadFile("/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	groups = fmt.Appendf(groups, "davit:x:%d:\ndavit-observers:x:%d:\n", gidMembers, gidObservers)
	h.write(t, "group", string(groups))
	h.write(t, "daemon.json", config)
	if err := os.Chmod(h.dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(h.dir+"/docker", 0o755); err != nil {
		t.Fatal(err)
	}
	c := h.command("-H", "unix://"+h.socket(), "--config-file", h.dir+"/daemon.json")
	c.Args = append([]string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/group && exec "$@"`, h.dir + "/group"}, c.Args...)
	if c.Path, err = exec.LookPath("unshare"); err != nil {
		t.Skip("needs unshare")
	}
	h.launch(t, c)
	testutil.Eventually(t, patience, "the daemon to answer", func() bool {
		answer, err := h.ping()
		return err == nil && strings.HasPrefix(answer, "HTTP/1.0 200 ")
	})
	if err := os.Chmod(h.socket(), 0o666); err != nil {
		t.Fatal(err)
	}
	h.importBusybox(t)
	return h
}

func (h *host) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// as runs the docker CLI for a role.
func (h *host) as(role string, args ...string) (string, error) {
	if roles[role] != nil {
		args = append(append(append([]string{}, roles[role]...), "docker"), args...)
		c := exec.Command("setpriv", args...)
		c.Env = h.env()
		c.Dir = "/"
		out, err := c.CombinedOutput()
		return string(out), err
	}
	return h.docker(args...)
}

// TestWhoMayDoWhat is the matrix of roles and commands on the socket of a host
// without polkit, with the real docker CLI.
func TestWhoMayDoWhat(t *testing.T) {
	safe := inertDirectory(t)
	h := guardedHost(t, `{}`)
	h.mustDocker(t, "run", "-d", "--name", "plain", "busybox", "sh", "-c", "echo out; sleep 1000")
	h.mustDocker(t, "run", "-d", "--name", "strong", "--privileged", "-v", "shared:/v", "busybox", "sh", "-c", "echo out; sleep 1000")
	const manage, look, root = "root member", "root member observer", "root"
	for _, tc := range []struct {
		who  string // who may; the others are told that they may not
		args string
	}{
		{manage, "pull " + outsideAddress + ":5/none"}, // it fails: there is no registry
		{manage, "run --rm busybox true"},
		{manage, "create --cap-drop ALL --read-only --tmpfs /tmp busybox true"},
		{manage, "create -v anon:/v busybox true"},
		{root, "run --rm --privileged busybox true"},
		{root, "create --network host busybox true"},
		{root, "create -v /etc:/mnt:ro busybox true"},
		{root, "create -v " + safe + ":/mnt busybox true"},
		{root, "create --mount type=bind,source=/,target=/mnt busybox true"},
		{root, "create --cap-add SYS_ADMIN busybox true"},
		{root, "create --security-opt seccomp=unconfined busybox true"},
		{root, "create -v shared:/v busybox true"},
		{look, "ps -a"},
		{look, "inspect strong"},
		{look, "images"},
		{look, "logs strong"},
		{look, "info"},
		{manage, "exec plain true"},
		{root, "exec --privileged plain true"},
		{root, "exec strong true"},
		{manage, "cp plain:/etc/passwd -"},
		{root, "cp strong:/etc/passwd -"},
		{root, "cp " + h.dir + "/docker/. strong:/tmp"},
		{manage, "kill -s URG strong"},
		{manage, "tag busybox again"},
		{manage, "volume create v"},
		{root, "volume create --opt type=none --opt o=bind --opt device=/etc w"},
		{manage, "volume prune -f"},
	} {
		for role := range roles {
			out, err := h.as(role, strings.Fields(tc.args)...)
			refused := strings.Contains(out, refusal)
			if may := strings.Contains(" "+tc.who+" ", " "+role+" "); may == refused || (refused && err == nil) {
				t.Errorf("%s: docker %s: %v, want it to be possible: %v\n%s", role, tc.args, err, may, out)
			}
		}
	}
	out, _ := h.as("member", "run", "--privileged", "busybox", "true")
	if want := "needs org.davit.Engine1.run-privileged (it is privileged): group davit has everything else; ask root"; !strings.Contains(out, want) {
		t.Errorf("the message is %q, want %q in it", out, want)
	}
	// The CLI does not read the message of a refused upgrade.
	if out, _ := h.as("member", "attach", "--no-stdin", "strong"); !strings.Contains(out, "received 403") {
		t.Errorf("a member attaches to a privileged container: %s", out)
	}
}

// TestAccessFollowsReload changes who may do what while the daemon runs.
func TestAccessFollowsReload(t *testing.T) {
	safe := inertDirectory(t)
	h := guardedHost(t, `{}`)
	bind := []string{"run", "--rm", "-v", safe + "/data:/mnt", "busybox", "touch", "/mnt/x"}
	may := func(doing, role string, want bool, args ...string) {
		t.Helper()
		if out, err := h.as(role, args...); (err == nil) != want || strings.Contains(out, refusal) == want {
			t.Errorf("%s: %s: docker %s: %v, want it to be possible: %v\n%s", doing, role, strings.Join(args, " "), err, want, out)
		}
	}
	reload := func(config string, reloaded string) {
		t.Helper()
		h.write(t, "daemon.json", config)
		before := strings.Count(h.tail(), reloaded)
		if err := h.daemon.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, patience, "the reload", func() bool { return strings.Count(h.tail(), reloaded) > before })
	}
	const done, failed = "configuration reloaded", "reload failed"
	may("by default", "member", false, bind...)
	reload(`{"bind-allow": ["`+safe+`"]}`, done)
	may("with bind-allow", "member", true, bind...)
	may("with bind-allow", "nobody", false, bind...)
	if err := os.Symlink("/etc", safe+"/data/link"); err != nil {
		t.Fatal(err)
	}
	may("by a link", "member", false, "run", "--rm", "-v", safe+"/data/link:/mnt", "busybox", "true")
	may("of what is missing", "member", false, "run", "--rm", "-v", safe+"/data/missing:/mnt", "busybox", "true")
	may("before", "nobody", false, "ps")
	reload(`{"authorization": "docker"}`, done)
	may("as Docker", "nobody", true, "run", "--rm", "--privileged", "busybox", "true")
	reload(`{"authorization": "everybody"}`, failed)
	may("after a bad reload", "nobody", true, "ps")
	reload(`{"authorization": "group"}`, done)
	may("by group again", "nobody", false, "ps")
	may("by group again", "member", true, "ps")
	may("the list is empty again", "member", false, bind...)
}

// inertDirectory is one of the host that may be in bind-allow: only root can
// change what its path means, and nothing in it has power on the host.
func inertDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "davit-inert-") //nolint:usetesting // everybody can write to /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	command(t, "mount", "-t", "tmpfs", "-o", "mode=755,nosuid,nodev", "tmpfs", dir)
	t.Cleanup(func() { command(t, "umount", dir) })
	if err := os.Mkdir(dir+"/data", 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
