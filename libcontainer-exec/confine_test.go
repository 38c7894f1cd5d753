// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
)

const cdiSpec = `{
  "cdiVersion": "0.6.0", "kind": "example.com/thing",
  "containerEdits": {"env": ["THINGS=yes"]},
  "devices": [
    {"name": "one", "containerEdits": {
      "env": ["ONE=1"],
      "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/zero"}],
      "mounts": [{"hostPath": "SOURCE", "containerPath": "/opt/thing", "options": ["ro", "bind"]}]
    }}
  ]
}`

// TestCDI gives a container a device that a specification describes.
func TestCDI(t *testing.T) {
	h := newHost(t)
	dir, source := filepath.Join(h.root, "cdi"), filepath.Join(h.root, "thing")
	h.must(os.MkdirAll(dir, 0o755))
	h.must(os.MkdirAll(source, 0o755))
	h.must(os.WriteFile(filepath.Join(source, "file"), []byte("of the vendor\n"), 0o644))
	h.must(os.WriteFile(filepath.Join(dir, "example.json"), []byte(strings.ReplaceAll(cdiSpec, "SOURCE", source)), 0o644))
	h.rt.opts.CDISpecDirs = []string{dir}
	request := func(driver string, names ...string) func(*davit.Launch) {
		return host1(func(c *davit.HostConfig) {
			c.DeviceRequests = []davit.DeviceRequest{{Driver: driver, DeviceIDs: names}}
		})
	}
	r := h.run(h.launch("echo $THINGS $ONE; head -c 3 /dev/thing | wc -c; cat /opt/thing/file; touch /opt/thing/x || echo ro", request("cdi", "example.com/thing=one")))
	if r.exit.Code != 0 || r.out != "yes 1\n3\nof the vendor\nro\n" {
		t.Errorf("code %d, stdout %q, stderr %q", r.exit.Code, r.out, r.err)
	}
	for driver, want := range map[string]string{"cdi": "unresolvable", "nvidia": `could not select device driver "nvidia" with capabilities: []`} {
		_, err := h.rt.Create(t.Context(), h.launch("true", request(driver, "example.com/thing=two")))
		if davit.CodeOf(err) != davit.InvalidConfiguration || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", driver, err)
		}
	}
}

// TestJoinsAgain has a container that its policy starts again join a new
// holder's namespaces: those of a container that was started anew meanwhile,
// without anybody telling.
func TestJoinsAgain(t *testing.T) {
	h := newHost(t)
	donor := h.launch("sleep 100")
	first := h.start(donor)
	// Another runtime than the test's would do: nobody is asked.
	user := h.launch("readlink /proc/self/ns/ipc; exec sleep 100", host1(func(c *davit.HostConfig) {
		c.IpcMode, c.RestartPolicy = "container:"+donor.Container.ID, davit.RestartPolicy{Name: "always"}
	}))
	p := h.start(user)
	h.must(first.Signal(t.Context(), 9, true))
	h.await(first)
	h.must(h.rt.Forget(donor.Container.ID))
	second := h.start(donor)
	h.must(p.Signal(t.Context(), 9, false))
	h.next(p, davit.StatusRestarting)
	u := h.next(p, davit.StatusRunning)
	ns := func(pid int) string {
		t.Helper()
		link, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns/ipc"))
		h.must(err)
		return link
	}
	if got, want := ns(u.Pid), ns(second.Pid()); got != want {
		t.Errorf("the container is in %s, the other in %s", got, want)
	}
	h.must(p.Signal(t.Context(), 9, true))
	h.await(p)
	h.must(second.Signal(t.Context(), 9, true))
	h.await(second)
}

// TestJoinsNobody is refused when the other has no process, and leaves nothing.
func TestJoinsNobody(t *testing.T) {
	h := newHost(t)
	for kind, change := range map[string]func(*davit.HostConfig){
		"pid":     func(c *davit.HostConfig) { c.PidMode = "container:" + newID() },
		"ipc":     func(c *davit.HostConfig) { c.IpcMode = "container:" + newID() },
		"network": func(c *davit.HostConfig) { c.NetworkMode = "container:" + newID() },
	} {
		_, err := h.rt.Create(t.Context(), h.launch("true", host1(change)))
		if davit.CodeOf(err) != davit.ContainerNotRunning || !strings.Contains(err.Error(), "is not running") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if ids, _ := h.rt.Known(); len(ids) != 0 {
		t.Errorf("left in the exec root: %v", ids)
	}
}
