// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// nspawn boots a tree with systemd-nspawn: on this machine's kernel, with the
// cgroups that it has.
type nspawn struct {
	unified bool // only cgroup v2
	root    string
	init    int // the guest's PID 1, as seen from here
}

// hierarchies are the mounts of cgroup v1, and of the cgroup v2 beside them, on
// a machine that has them and no systemd to keep them.
func hierarchies() []string {
	if underSystemd() {
		return nil
	}
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for i := range dirs {
		dirs[i] = filepath.Dir(dirs[i])
	}
	return dirs
}

// underSystemd is sd_booted(3).
func underSystemd() bool {
	_, err := os.Lstat("/run/systemd/system")
	return err == nil
}

// boot runs systemd-nspawn until the guest's systemd is reached.
//
// The options, each found to be needed for a container engine inside:
//
//   - --capability=all, and @keyring and bpf: libcontainer joins a session
//     keyring and, on cgroup v2, loads device filters.
//   - A cgroup of the test's own in every hierarchy: the guest's cgroup
//     namespace begins there, so what it leaves is found and removed.
//   - --private-network, and one end of a link moved in afterwards:
//     --network-interface looks for it in /sys, which shows another namespace.
//   - --keep-unit where PID 1 is not systemd: nobody could make a scope.
func (m *nspawn) boot(g *guest) {
	t := g.t
	t.Helper()
	m.root, m.init = g.root, 0
	g.outside("ip", "link", "add", "outside0", "type", "veth", "peer", "name", "wan0")
	args := []string{
		"--quiet", "--directory=" + g.root, "--register=no", "--machine=" + g.netns,
		"--private-network", "--console=pipe", "--capability=all", "--system-call-filter=@keyring bpf",
	}
	if !underSystemd() {
		args = append(args, "--keep-unit")
	}
	script := `for d in ` + strings.Join(hierarchies(), " ") + `; do
	mkdir -p "$d/$NAME"
	case $d in */cpuset)
		cat "$d/cpuset.cpus" >"$d/$NAME/cpuset.cpus"
		cat "$d/cpuset.mems" >"$d/$NAME/cpuset.mems"
		echo 1 >"$d/$NAME/cgroup.clone_children" ;;
	esac
	echo $$ >"$d/$NAME/cgroup.procs"
done
exec systemd-nspawn "$@" --boot`
	cmd := exec.Command("sh", append([]string{"-euc", script, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "NAME="+g.netns)
	if m.unified {
		cmd.Env = append(cmd.Env, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	}
	t.Cleanup(func() {
		for _, dir := range hierarchies() {
			_ = exec.Command("find", filepath.Join(dir, g.netns), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
		}
		_ = os.Remove(filepath.Join("/run/systemd/nspawn/propagate", g.netns))
	})
	g.supervise(cmd, func() {
		if m.init > 0 {
			_ = unix.Kill(m.init, unix.SIGKILL)
		}
	})
	children := fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)
	g.eventually(20*time.Second, "systemd runs in the guest", func() bool {
		list, err := os.ReadFile(children)
		if err != nil {
			return false
		}
		for pid := range strings.FieldsSeq(string(list)) {
			comm, err := os.ReadFile("/proc/" + pid + "/comm")
			if err == nil && strings.TrimSpace(string(comm)) == "systemd" {
				m.init, err = strconv.Atoi(pid)
				return err == nil
			}
		}
		return false
	})
	g.outside("ip", "link", "set", "wan0", "netns", strconv.Itoa(m.init))
	g.network()
	// nspawn mounts v1 controllers read-only.
	g.must(`for d in /sys/fs/cgroup/*/tasks; do [ ! -e "$d" ] || mount -o remount,rw,bind "${d%/tasks}"; done`)
}

// exec enters the guest's namespaces.
func (m *nspawn) exec(script string) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	args := []string{"--target", strconv.Itoa(m.init), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"}
	args = append(args, strings.Fields(environment)...)
	out, err := exec.CommandContext(ctx, "nsenter", append(args, "/bin/bash", "-euc", script)...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return result{out: string(out), code: exit.ExitCode()}, nil
	}
	return result{out: string(out)}, err
}

func (m *nspawn) fetch(path string) (string, error) {
	where := filepath.Join(m.root, path)
	_, err := os.Stat(where)
	return where, err
}
