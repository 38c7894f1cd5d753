// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
)

// run runs a tool on the fixture's bus and returns what it printed.
func (f *fixture) run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	needTool(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+f.address, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (f *fixture) busctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := f.run(t, "busctl", args...)
	if err != nil {
		t.Fatalf("busctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestBusctl drives the service with systemd's own tool.
func TestBusctl(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	mgr := []string{davit.BusName, string(root), manager}
	job2 := string(root) + "/job/_32"
	object := string(root) + "/container/_3" + containerID
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"tree", []string{"tree", "--list", davit.BusName}, []string{"/org/davit/Engine1\n", string(root) + "/job/_31\n", object + "\n", string(root) + "/volume/data\n", "/org/freedesktop/LogControl1\n"}},
		{"introspect", []string{"introspect", davit.BusName, string(root)}, []string{".PullImage", "sa{sv}t", "uo", ".JobRemoved", ".ListenSockets", `1 "api" "unix:///run/davit/davit.sock"`}},
		{"introspect container", []string{"introspect", davit.BusName, object}, []string{".OpenShell", "ssasas", "hso", ".InvocationID"}},
		{"introspect log", []string{"introspect", davit.BusName, "/org/freedesktop/LogControl1"}, []string{".LogLevel", `"info"`, "writable", `"davitd"`}},
		{"introspect exec", []string{"introspect", davit.BusName, string(root) + "/exec/" + execID}, []string{".ExitStatus", "property  i"}},
		{"pull", append([]string{"call", "--"}, append(mgr, "PullImage", "sa{sv}t", "docker.io/library/alpine", "1", "Platform", "s", "linux/arm64/v8", "0")...), []string{`uo 2 "` + job2 + `"`}},
		{"wait", []string{"call", davit.BusName, job2, davit.BusName + ".Job", "Wait"}, []string{`sa{sv} "done" 3 `, `"Image" o "/org/davit/Engine1/image/c157`}},
		{"get-property", []string{"get-property", davit.BusName, job2, davit.BusName + ".Job", "Progress", "State", "Result", "Subject"}, []string{"d 1\ns \"finished\"\ns \"done\"\ns \"docker.io/library/alpine\"\n"}},
		{"list", append([]string{"call"}, append(mgr, "ListContainers", "a{sv}t", "1", "status", "as", "1", "running", "0")...), []string{`a(sssssto) 1 "` + containerID + `" "web" "busybox" "running" "davit-web.service" 1700000000000000 "` + object + `"`}},
		{"describe", []string{"call", davit.BusName, object, davit.BusName + ".Container", "Describe"}, []string{"SECRET=1"}},
		{"processes", []string{"call", davit.BusName, object, davit.BusName + ".Container", "GetProcesses"}, []string{`a(sus) 1 "/davit.slice/davit-web.service" 42 "httpd -f"`}},
		{"output", []string{"call", davit.BusName, job2, davit.BusName + ".Job", "OpenOutput", "t", "0"}, []string{"h "}},
		{"ping", []string{"call", davit.BusName, "/not/there", "org.freedesktop.DBus.Peer", "Ping"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := f.busctl(t, tt.args...)
			for _, w := range tt.want {
				if !strings.Contains(out, w) {
					t.Errorf("busctl %s\n%s\nlacks %q", strings.Join(tt.args, " "), out, w)
				}
			}
		})
	}
}

// TestMonitor watches a job's whole life as signals.
func TestMonitor(t *testing.T) {
	testutil.RequireRoot(t)
	needTool(t, "busctl")
	f := newFixture(t)
	cmd := exec.Command("busctl", "monitor", "--json=short", "--match=type='signal',path_namespace='/org/davit/Engine1'")
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+f.address)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	conn := f.client(t)
	// The monitor says nothing when it is ready, so it is asked by signals.
	testutil.Eventually(t, 10*time.Second, "busctl monitor sees a job end", func() bool {
		f.call(conn, "PullImage", "busybox", noOptions, uint64(0))
		return strings.Contains(out.String(), "JobRemoved")
	})
	for _, want := range []string{`"member":"JobNew"`, `"member":"ProgressUpdate"`, `"member":"PropertiesChanged"`, `"Result":{"type":"s","data":"done"}`, `"Pull complete","abc",4,4`} {
		testutil.Eventually(t, 10*time.Second, "busctl monitor sees "+want, func() bool { return strings.Contains(out.String(), want) })
	}
}

// TestGDBus proves that GLib's tools read the introspection too.
func TestGDBus(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	out, err := f.run(t, "gdbus", "introspect", "--system", "--recurse", "--dest", davit.BusName, "--object-path", string(root))
	if err != nil || !strings.Contains(out, "RunContainer(in  s image,") || !strings.Contains(out, "readonly s State = 'running'") {
		t.Errorf("gdbus introspect: %v\n%s", err, out)
	}
}

// TestXMLFiles proves that the files are what other tools make code of.
func TestXMLFiles(t *testing.T) {
	files, err := filepath.Glob("xml/*.xml")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	if _, err := exec.LookPath("xmllint"); err == nil {
		if out, err := exec.Command("xmllint", append([]string{"--noout"}, files...)...).CombinedOutput(); err != nil {
			t.Errorf("xmllint: %v: %s", err, out)
		}
	}
	if _, err := exec.LookPath("gdbus-codegen"); err == nil {
		for _, file := range files {
			var out bytes.Buffer
			cmd := exec.Command("gdbus-codegen", "--header", "--output", filepath.Join(t.TempDir(), "x.h"), file)
			cmd.Stderr = &out
			if err := cmd.Run(); err != nil {
				t.Errorf("gdbus-codegen %s: %v: %s", file, err, out.String())
			}
		}
	}
}

// TestOtherUsers calls as nobody: what is the same on every machine may be
// read, the rest is refused.
func TestOtherUsers(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	f.busctl(t, "call", davit.BusName, string(root), manager, "PullImage", "sa{sv}t", "busybox", "0", "0")
	object := string(root) + "/container/_3" + containerID
	tests := []struct {
		name    string
		args    []string
		allowed bool
	}{
		{"introspect", []string{"introspect", davit.BusName, string(root)}, true},
		{"ping", []string{"call", davit.BusName, string(root), "org.freedesktop.DBus.Peer", "Ping"}, true},
		{"version", []string{"get-property", davit.BusName, string(root), manager, "Version"}, true},
		{"pull", []string{"call", davit.BusName, string(root), manager, "PullImage", "sa{sv}t", "busybox", "0", "0"}, false},
		{"list", []string{"call", davit.BusName, string(root), manager, "ListJobs"}, false},
		{"container state", []string{"get-property", davit.BusName, object, davit.BusName + ".Container", "State"}, false},
		{"container that is not there", []string{"get-property", davit.BusName, object + "0", davit.BusName + ".Container", "State"}, false},
		{"job", []string{"call", davit.BusName, string(root) + "/job/_32", davit.BusName + ".Job", "Cancel"}, false},
		{"unknown object", []string{"call", davit.BusName, string(root) + "/volume/nothing", davit.BusName + ".Volume", "Describe"}, false},
		{"unknown method of an object", []string{"call", davit.BusName, string(root) + "/volume/data", davit.BusName + ".Volume", "Nothing"}, false},
		{"wrong arguments for an object", []string{"call", davit.BusName, string(root) + "/volume/data", davit.BusName + ".Volume", "Remove"}, false},
		{"introspect an object", []string{"introspect", davit.BusName, object}, false},
		{"job of another", []string{"call", davit.BusName, string(root), manager, "WaitJob", "u", "2"}, false},
		{"job that is not there", []string{"call", davit.BusName, string(root), manager, "WaitJob", "u", "99"}, false},
		{"types", []string{"call", davit.BusName, string(root), manager, "ListJobTypes"}, false},
		{"logs", []string{"call", davit.BusName, object, davit.BusName + ".Container", "OpenLogs", "a{sv}t", "0", "0"}, false},
		{"reload", []string{"call", davit.BusName, string(root), manager, "Reload"}, false},
		{"log level", []string{"get-property", davit.BusName, "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1", "LogLevel"}, true},
		{"set the log level", []string{"set-property", davit.BusName, "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1", "LogLevel", "s", "debug"}, false},
		{"enqueue", []string{"call", davit.BusName, string(root), manager, "EnqueueJob", "ssa{sv}t", "start", "web", "0", "0"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := f.run(t, "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "busctl"}, tt.args...)...)
			switch {
			case tt.allowed && err != nil:
				t.Errorf("refused: %v: %s", err, out)
			case !tt.allowed && (err == nil || !regexp.MustCompile("Access denied|permission denied|for root only").MatchString(out)):
				t.Errorf("not refused: %v: %s", err, out)
			}
		})
	}
	out, err := f.run(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "tree", "--list", davit.BusName)
	if err != nil || strings.Contains(out, containerID) || !strings.Contains(out, string(root)+"/container\n") {
		t.Errorf("tree of another user: %v\n%s", err, out)
	}
}
